//! LeaveGroup: members go, or are sent away by an administrator.

use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use protocol::{ErrorCode, Str};

use super::{ClassicGroup, Turn};

impl ClassicGroup {
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let mut response = LeaveGroupResponse::default();
        let mut has_left = false;
        for asked in &request.members {
            let found = self.leaving(asked);
            if let Ok(name) = &found {
                self.remove(name, turn);
                has_left = true;
            }
            response.members.push(MemberResponse {
                member_id: asked.member_id.clone(),
                group_instance_id: asked.group_instance_id.clone(),
                error_code: found.err().unwrap_or(ErrorCode::None).code(),
                ..Default::default()
            });
        }
        if has_left {
            self.after_removal(turn);
        }
        response
    }

    /// Whom a request names: a member, a name that is pending, or whoever has an instance id now.
    fn leaving(&self, asked: &MemberIdentity) -> Result<Str, ErrorCode> {
        let instance = asked.group_instance_id.as_ref();
        if asked.member_id.is_empty()
            && let Some(instance) = instance
        {
            return self.instances.get(instance).cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        if self.pending.contains(&asked.member_id) {
            return Ok(asked.member_id.detached());
        }
        self.check_member(&asked.member_id, instance)?;
        Ok(asked.member_id.detached())
    }
}
