//! Requests of members of consumer groups (KIP-848), brought to their group.

use protocol::messages::consumer_group_describe_response::DescribedGroup;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::messages::{ConsumerGroupHeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse};
use protocol::{ErrorCode, Str};

use super::GroupShard;
use crate::classic::Turn;
use crate::consumer::{ConsumerGroup, EPOCH_AWAY, Refusal};
use crate::group::Group;
use crate::machine::{Effects, Moment};
use crate::operation::{Answer, Beat};

impl GroupShard {
    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Moment,
        beat: &Beat,
        effects: &mut Effects<Answer>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let request = &beat.request;
        let id = request.group_id.detached();
        let is_new = self.prepare(&id, beat, now, effects)?;
        if request.member_epoch < 0 {
            return self.consumer_leave(now, &id, beat, effects);
        }
        let answer = self.on_consumer_group(now, effects, &id, |group, turn| group.heartbeat(turn, beat));
        let answer = answer.expect("it was prepared above");
        // Nothing is left of who was refused at the door.
        if answer.is_err() && is_new {
            self.groups.remove(&id);
        }
        answer
    }

    fn consumer_leave(
        &mut self,
        now: Moment,
        id: &Str,
        beat: &Beat,
        effects: &mut Effects<Answer>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let epoch = beat.request.member_epoch;
        let leaving = self.on_consumer_group(now, effects, id, |group, turn| {
            let member = group.leaving(&beat.request)?;
            if epoch == EPOCH_AWAY {
                group.go_away(turn, &member);
            }
            Ok(member)
        });
        let member = leaving.expect("it was prepared by the caller")?;
        if epoch != EPOCH_AWAY {
            self.fence(now, id, std::slice::from_ref(&member), effects);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(member),
            member_epoch: epoch,
            ..Default::default()
        })
    }

    /// LeaveGroup of a consumer group: members of the classic protocol go, or an administrator sends members away.
    pub(super) fn leave_consumers(
        &mut self,
        now: Moment,
        request: &LeaveGroupRequest,
        effects: &mut Effects<Answer>,
    ) -> LeaveGroupResponse {
        let Some(Group::Consumer(group)) = self.groups.get(&request.group_id) else {
            unreachable!("the caller has looked")
        };
        let found: Vec<_> = request.members.iter().map(|asked| (asked, group.named(asked))).collect();
        let mut leaving: Vec<Str> = found.iter().filter_map(|(_, found)| found.clone().ok()).collect();
        leaving.sort_unstable();
        leaving.dedup();
        let told = found.into_iter().map(|(asked, found)| MemberResponse {
            member_id: asked.member_id.clone(),
            group_instance_id: asked.group_instance_id.clone(),
            error_code: found.err().unwrap_or(ErrorCode::None).code(),
            ..Default::default()
        });
        let response = LeaveGroupResponse { members: told.collect(), ..Default::default() };
        self.fence(now, &request.group_id, &leaving, effects);
        response
    }

    /// Makes sure that the group is a consumer group; true if it had to be made. A classic group gives way when it is
    /// empty, and is led on as a consumer group when it can be.
    fn prepare(
        &mut self,
        id: &Str,
        beat: &Beat,
        now: Moment,
        effects: &mut Effects<Answer>,
    ) -> Result<bool, Refusal> {
        let is_joining = beat.request.member_epoch == 0;
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => return Ok(false),
            Some(Group::Classic(group)) if is_joining && !group.is_empty() => {
                return self.upgrade(now, id, &beat.request.member_id, effects).map(|()| false);
            }
            Some(group @ Group::Classic(_)) if is_joining => {
                let (config, image) = (&self.config, &self.image);
                group.tombstones(&mut Turn { now, config, image, timers: &mut self.timers, effects });
            }
            Some(Group::Classic(_)) => {
                let message = format!("Group {id} is not a consumer group.");
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, message));
            }
            None if !is_joining => {
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found.")));
            }
            None => {}
        }
        self.groups.insert(id.clone(), Group::Consumer(ConsumerGroup::new(id.clone())));
        Ok(true)
    }

    pub(super) fn consumer_describe(&self, id: &Str) -> DescribedGroup {
        let message = match self.groups.get(id) {
            Some(Group::Consumer(group)) => {
                return group.describe(&self.image.topics, &self.config.consumer_assignors);
            }
            Some(Group::Classic(_)) => format!("Group {id} is not a consumer group."),
            None => format!("Group {id} not found."),
        };
        DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound.code(),
            error_message: Some(message.into()),
            group_id: id.clone(),
            ..Default::default()
        }
    }
}
