//! Requests of members of consumer groups (KIP-848), brought to their group.

use metadata::Topics;
use protocol::messages::ConsumerGroupHeartbeatResponse;
use protocol::messages::consumer_group_describe_response::DescribedGroup;
use protocol::{ErrorCode, Str};

use super::GroupShard;
use crate::classic::Turn;
use crate::consumer::{self, ConsumerGroup, Refusal};
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
        consumer::check_heartbeat(request, beat.version, &self.config.consumer_assignors)?;
        let id = request.group_id.detached();
        let is_new = self.prepare(&id, request.member_epoch == 0, now, effects)?;
        let mut turn = Turn { now, config: &self.config, timers: &mut self.timers, effects };
        let Some(Group::Consumer(group)) = self.groups.get_mut(&id) else {
            unreachable!("it was prepared above")
        };
        let answer = match request.member_epoch {
            0.. => group.heartbeat(&mut turn, beat),
            _ => group.leave(&mut turn, request),
        };
        // Nothing is left of who was refused at the door.
        if answer.is_err() && is_new {
            self.groups.remove(&id);
        }
        answer
    }

    /// Makes sure that the group is a consumer group; true if it had to be made. An empty group of another kind gives way.
    fn prepare(
        &mut self,
        id: &Str,
        is_joining: bool,
        now: Moment,
        effects: &mut Effects<Answer>,
    ) -> Result<bool, Refusal> {
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => return Ok(false),
            Some(group @ Group::Classic(_)) if is_joining && group.is_unused() => {
                let mut turn = Turn { now, config: &self.config, timers: &mut self.timers, effects };
                group.tombstones(&mut turn);
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

    pub(super) fn consumer_describe(&self, id: &Str, topics: &Topics) -> DescribedGroup {
        let message = match self.groups.get(id) {
            Some(Group::Consumer(group)) => return group.describe(topics, &self.config.consumer_assignors),
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
