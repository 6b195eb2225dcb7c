//! The target: which member shall have which partitions at the group's epoch.

use std::collections::BTreeMap;

use metadata::Topics;
use protocol::messages::consumer_group_target_assignment_member_value::{
    ConsumerGroupTargetAssignmentMemberValue, TopicPartition,
};
use protocol::messages::{
    ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue, GroupKey,
    GroupValue,
};
use protocol::{Str, Uuid};

use super::assignor::{Assignor, Subscriber};
use super::{ConsumerGroup, ConsumerSettings, Partitions};
use crate::classic::Turn;

pub(super) fn epoch_key(group: &Str) -> GroupKey {
    GroupKey::ConsumerGroupMetadata(ConsumerGroupMetadataKey { group_id: group.clone() })
}

pub(super) fn target_epoch_key(group: &Str) -> GroupKey {
    let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: group.clone() };
    GroupKey::ConsumerGroupTargetAssignmentMetadata(key)
}

pub(super) fn target_key(group: &Str, member: &Str) -> GroupKey {
    let key = ConsumerGroupTargetAssignmentMemberKey { group_id: group.clone(), member_id: member.clone() };
    GroupKey::ConsumerGroupTargetAssignmentMember(key)
}

pub(super) fn target_value(partitions: &Partitions) -> GroupValue {
    let topic = |(topic_id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| TopicPartition {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    let topic_partitions = partitions.iter().map(topic).collect();
    let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions, ..Default::default() };
    GroupValue::ConsumerGroupTargetAssignmentMember(value)
}

impl ConsumerGroup {
    /// The group has changed: its next epoch.
    pub(super) fn bump_epoch(&mut self, turn: &mut Turn<'_>, topics: Option<&Topics>) {
        let metadata_hash = topics.map_or(self.metadata_hash, |topics| self.hash_of_topics(topics));
        let value = ConsumerGroupMetadataValue { epoch: self.epoch + 1, metadata_hash, ..Default::default() };
        self.write(turn, epoch_key(&self.id), Some(GroupValue::ConsumerGroupMetadata(value)));
    }

    /// Works the target of the group's epoch out, if it is not there yet and the last one is old enough.
    pub(super) fn assign(&mut self, turn: &mut Turn<'_>, settings: ConsumerSettings) {
        let topics = &turn.image.topics;
        let next_at_ms = self.target_timestamp_ms + i64::from(settings.assignment_interval_ms);
        if self.epoch <= self.target_epoch || turn.now.wall_ms < next_at_ms {
            return;
        }
        let nothing = Partitions::new();
        let subscriber = |(id, member): (&Str, &super::Member)| {
            let subscriber = Subscriber {
                instance: member.instance_id.clone(),
                topics: self.topics_of(member, topics),
                has: self.target.get(id).unwrap_or(&nothing).clone(),
            };
            (id.clone(), subscriber)
        };
        let subscribers: BTreeMap<Str, Subscriber> = self.members.iter().map(subscriber).collect();
        let count = |topic: Uuid| topics.by_id(topic).map_or(0, |topic| topic.partition_count());
        let target = self.assignor(&turn.config.consumer_assignors).assign(&subscribers, &count);
        for (member, partitions) in target {
            if self.target.get(&member) != Some(&partitions) {
                self.write(turn, target_key(&self.id, &member), Some(target_value(&partitions)));
            }
        }
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: self.epoch,
            assignment_timestamp: turn.now.wall_ms,
            ..Default::default()
        };
        let value = GroupValue::ConsumerGroupTargetAssignmentMetadata(value);
        self.write(turn, target_epoch_key(&self.id), Some(value));
    }

    /// The assignor that most members ask for; the first that is configured where none does.
    pub(super) fn assignor(&self, configured: &[Assignor]) -> Assignor {
        let default = configured.first().copied().unwrap_or(Assignor::Uniform);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.server_assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let winner = votes.into_iter().max_by_key(|(_, count)| *count);
        winner.and_then(|(name, _)| Assignor::named(name)).unwrap_or(default)
    }
}
