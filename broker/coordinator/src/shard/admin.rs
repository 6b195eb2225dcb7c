//! What administrators ask: DescribeGroups, ListGroups, DeleteGroups, OffsetDelete.

use protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::messages::list_groups_response::ListedGroup;
use protocol::{ErrorCode, Str};

use super::GroupShard;
use super::commit::key;
use crate::classic::{State, Turn};
use crate::group::Group;
use crate::machine::{Effects, Moment};
use crate::offsets::TopicPartition;
use crate::operation::Answer;
use crate::records;

impl GroupShard {
    /// A group that is not there is `Dead`; which versions call that an error is the handler's business.
    pub(super) fn describe(&self, id: &Str) -> DescribedGroup {
        let Some(Group::Classic(group)) = self.groups.get(id) else {
            let is_other = self.groups.contains_key(id);
            let why = if is_other { "is not a classic group" } else { "not found" };
            return DescribedGroup {
                error_code: ErrorCode::GroupIdNotFound.code(),
                error_message: Some(Str::from(format!("Group {id} {why}."))),
                group_id: id.clone(),
                group_state: Str::from_static("Dead"),
                ..Default::default()
            };
        };
        let protocol = group.protocol.as_deref().filter(|_| group.state == State::Stable);
        let members = group.members.values().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            // While a round is under way there is no protocol to tell it by; the assignment is that of the last round.
            member_metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
            ..Default::default()
        });
        DescribedGroup {
            group_id: id.clone(),
            group_state: Str::from_static(group.state.name()),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.map(Str::from).unwrap_or_default(),
            members: members.collect(),
            ..Default::default()
        }
    }

    /// `states` and `types` as filters, in any case of letters; empty ones let everything pass.
    pub(super) fn list(&self, states: &[Str], types: &[Str]) -> Vec<ListedGroup> {
        let passes = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let listed = self.groups.iter().filter(|(_, group)| passes(states, group.state_name()));
        let listed = listed.filter(|(_, group)| passes(types, group.kind()));
        let one = |(id, group): (&Str, &Group)| ListedGroup {
            group_id: id.clone(),
            protocol_type: group.protocol_type(),
            group_state: Str::from_static(group.state_name()),
            group_type: Str::from_static(group.kind()),
            ..Default::default()
        };
        listed.map(one).collect()
    }

    pub(super) fn delete_group(&mut self, now: Moment, id: &Str, effects: &mut Effects<Answer>) -> ErrorCode {
        match self.groups.get(id) {
            None => ErrorCode::GroupIdNotFound,
            Some(group) if !group.is_empty() => ErrorCode::NonEmptyGroup,
            Some(_) => {
                let all: Vec<TopicPartition> = self.offsets.of_group(id).map(|(p, _)| p.clone()).collect();
                self.forget_offsets(id, &all, effects);
                self.forget_group(now, id, effects);
                ErrorCode::None
            }
        }
    }

    /// One code for each partition, in their order.
    ///
    /// # Errors
    /// When the group is not there, or has members that might commit them again.
    pub(super) fn delete_offsets(
        &mut self,
        id: &Str,
        partitions: &[TopicPartition],
        effects: &mut Effects<Answer>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let group = self.groups.get(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.is_empty() && !group.has_consumers() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let code = |(topic, _): &TopicPartition| match !group.is_empty() && group.is_subscribed_to(topic) {
            true => ErrorCode::GroupSubscribedToTopic,
            false => ErrorCode::None,
        };
        let codes: Vec<ErrorCode> = partitions.iter().map(code).collect();
        let free = partitions.iter().zip(&codes).filter(|(_, code)| **code == ErrorCode::None);
        let free: Vec<TopicPartition> = free.map(|(partition, _)| partition.clone()).collect();
        self.forget_offsets(id, &free, effects);
        Ok(codes)
    }

    /// Writes tombstones for what is committed of these.
    pub(super) fn forget_offsets(
        &mut self,
        group: &Str,
        partitions: &[TopicPartition],
        effects: &mut Effects<Answer>,
    ) {
        for partition in partitions {
            if self.offsets.get(group, partition).is_some() {
                let key = key(group, partition);
                self.offsets.apply(&key, None, None);
                effects.entries.push(records::offset(key, None));
            }
        }
    }

    /// Writes what ends a group, if it is there.
    pub(super) fn forget_group(&mut self, now: Moment, id: &Str, effects: &mut Effects<Answer>) {
        if let Some(group) = self.groups.remove(id) {
            let (config, image) = (&self.config, &self.image);
            let mut turn = Turn { now, config, image, timers: &mut self.timers, effects };
            group.tombstones(&mut turn);
        }
    }
}
