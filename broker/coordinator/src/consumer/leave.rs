//! Members that go: by their own word, for a moment (static members), by silence, or by an administrator's word.

use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::messages::{GroupKey, GroupValue};
use protocol::{ErrorCode, Str};

use super::member::{EPOCH_AWAY, Held, Member, current_key, metadata_key};
use super::target::{epoch_key, target_epoch_key, target_key};
use super::{ConsumerGroup, Refusal};
use crate::classic::{Deadline, Turn};
use crate::records;

impl ConsumerGroup {
    /// A heartbeat with a negative epoch.
    pub(crate) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = match &request.instance_id {
            None => Some(&request.member_id).filter(|id| self.members.contains_key(*id)).cloned(),
            Some(instance) => self.instances.get(instance).cloned(),
        };
        let Some(id) = id else {
            let message = match &request.instance_id {
                None => format!("Member {} is not a member of group {}.", request.member_id, self.id),
                Some(instance) => format!("Instance id {instance} is unknown."),
            };
            return Err(Refusal::new(ErrorCode::UnknownMemberId, message));
        };
        if id != request.member_id {
            let instance = request.instance_id.clone().unwrap_or_default();
            let message = format!(
                "Static member {} with instance id {instance} was fenced by member {id}.",
                request.member_id
            );
            return Err(Refusal::new(ErrorCode::FencedInstanceId, message));
        }
        match request.member_epoch {
            EPOCH_AWAY => self.go_away(turn, &id),
            _ => self.fence(turn, &id),
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: request.member_epoch,
            ..Default::default()
        })
    }

    /// A static member that is restarted: what it has stays its own until its session ends.
    fn go_away(&mut self, turn: &mut Turn<'_>, id: &Str) {
        let member = Member {
            epoch: EPOCH_AWAY,
            previous_epoch: EPOCH_AWAY,
            pending_revocation: Held::new(),
            ..self.members[id].clone()
        };
        let (key, value) = member.to_current_assignment(&self.id);
        self.write(turn, key, Some(value));
    }

    /// Takes a member out; the others get what it had.
    pub(crate) fn fence(&mut self, turn: &mut Turn<'_>, id: &Str) {
        if !self.members.contains_key(id) {
            return;
        }
        let regex = self.members[id].regex().cloned();
        self.remove(turn, id);
        self.forget_regex(turn, regex.as_ref());
        self.bump_epoch(turn, self.seen_topics.upgrade().as_deref());
    }

    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &Str) {
        turn.timers.cancel(&Deadline::Member(self.id.clone(), id.clone()));
        turn.timers.cancel(&Deadline::Revocation(self.id.clone(), id.clone()));
        self.write(turn, current_key(&self.id, id), None);
        self.write(turn, target_key(&self.id, id), None);
        self.write(turn, metadata_key(&self.id, id), None);
    }

    /// What is wanted by LeaveGroup: an administrator removes members by their names or instances.
    pub(crate) fn leave_by_name(&mut self, turn: &mut Turn<'_>, asked: &MemberIdentity) -> ErrorCode {
        let id = match &asked.group_instance_id {
            Some(instance) => self.instances.get(instance).cloned(),
            None => Some(asked.member_id.clone()).filter(|id| self.members.contains_key(id)),
        };
        match id {
            None => ErrorCode::UnknownMemberId,
            Some(id) if !asked.member_id.is_empty() && asked.member_id != id => ErrorCode::FencedInstanceId,
            Some(id) => {
                self.fence(turn, &id);
                ErrorCode::None
            }
        }
    }

    /// The records that delete the group. What its members had goes with it.
    pub(crate) fn tombstones(&self, turn: &mut Turn<'_>) {
        let mut keys: Vec<GroupKey> = Vec::new();
        for id in self.members.keys() {
            keys.extend([current_key(&self.id, id), target_key(&self.id, id)]);
        }
        keys.push(target_epoch_key(&self.id));
        keys.extend(self.members.keys().map(|id| metadata_key(&self.id, id)));
        keys.extend(self.regex_keys());
        keys.push(epoch_key(&self.id));
        turn.effects.entries.extend(keys.iter().map(|key| records::modern(key, None::<&GroupValue>)));
    }
}
