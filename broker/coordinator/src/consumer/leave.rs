//! Members that go: by their own word, for a moment (static members), by silence, or by an administrator's word.

use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupPartitionMetadataKey, GroupKey, GroupValue,
};
use protocol::{ErrorCode, Str};

use super::member::{EPOCH_AWAY, Held, Member, current_key, metadata_key};
use super::target::{epoch_key, target_epoch_key, target_key};
use super::{ConsumerGroup, Refusal};
use crate::classic::{Deadline, Turn};
use crate::records;

impl ConsumerGroup {
    /// Who says by a heartbeat that it goes.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`
    pub(crate) fn leaving(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<Str, Refusal> {
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
        Ok(id)
    }

    /// A static member that is restarted: what it has stays its own until its session ends.
    pub(crate) fn go_away(&mut self, turn: &mut Turn<'_>, id: &Str) {
        let member = Member {
            epoch: EPOCH_AWAY,
            previous_epoch: EPOCH_AWAY,
            pending_revocation: Held::new(),
            ..self.members[id].clone()
        };
        let (key, value) = member.to_current_assignment(&self.id);
        self.write(turn, key, Some(value));
    }

    /// Takes members out; the others get what they had.
    pub(crate) fn fence(&mut self, turn: &mut Turn<'_>, ids: &[Str]) {
        let regexes: Vec<Str> = ids.iter().filter_map(|id| self.members.get(id)?.regex().cloned()).collect();
        for id in ids {
            self.remove(turn, id);
        }
        for regex in &regexes {
            self.forget_regex(turn, Some(regex));
        }
        self.bump_epoch(turn, Some(&turn.image.topics));
    }

    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &Str) {
        turn.timers.cancel(&Deadline::Member(self.id.clone(), id.clone()));
        turn.timers.cancel(&Deadline::Revocation(self.id.clone(), id.clone()));
        self.end_classic_waits(id, turn);
        self.write(turn, current_key(&self.id, id), None);
        self.write(turn, target_key(&self.id, id), None);
        self.write(turn, metadata_key(&self.id, id), None);
    }

    /// Whom a LeaveGroup names: a member, or whoever has an instance now.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`
    pub(crate) fn named(&self, asked: &MemberIdentity) -> Result<Str, ErrorCode> {
        let Some(instance) = &asked.group_instance_id else {
            let is_member = self.members.contains_key(&asked.member_id);
            return if is_member { Ok(asked.member_id.detached()) } else { Err(ErrorCode::UnknownMemberId) };
        };
        let id = self.instances.get(instance).ok_or(ErrorCode::UnknownMemberId)?;
        let is_it = asked.member_id.is_empty() || asked.member_id == *id;
        if is_it { Ok(id.clone()) } else { Err(ErrorCode::FencedInstanceId) }
    }

    /// The records that delete the group. What its members had goes with it.
    pub(crate) fn tombstones(&self, turn: &mut Turn<'_>) {
        let mut keys: Vec<GroupKey> = Vec::new();
        keys.extend(self.members.keys().map(|id| current_key(&self.id, id)));
        keys.extend(self.members.keys().map(|id| target_key(&self.id, id)));
        keys.push(target_epoch_key(&self.id));
        keys.extend(self.members.keys().map(|id| metadata_key(&self.id, id)));
        keys.extend(self.regex_keys());
        // Written by Kafka 4.0 and older only; a log of theirs may still hold it.
        let group_id = self.id.clone();
        keys.push(GroupKey::ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey { group_id }));
        keys.push(epoch_key(&self.id));
        turn.effects.entries.extend(keys.iter().map(|key| records::modern(key, None::<&GroupValue>)));
    }
}
