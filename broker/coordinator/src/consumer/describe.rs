//! ConsumerGroupDescribe.

use std::collections::BTreeSet;

use metadata::Topics;
use protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as Described, TopicPartitions,
};
use protocol::{Str, Uuid};

use super::assignor::Assignor;
use super::member::{Partitions, partitions_of};
use super::{ConsumerGroup, Member};

/// Kafka's numbers of `MemberType`.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

impl ConsumerGroup {
    pub(crate) fn describe(&self, topics: &Topics, assignors: &[Assignor]) -> DescribedGroup {
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: Str::from_static(self.state().name()),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: Str::from_static(self.assignor(assignors).name()),
            members: self.members.values().map(|member| self.describe_member(member, topics)).collect(),
            ..Default::default()
        }
    }

    fn describe_member(&self, member: &Member, topics: &Topics) -> Described {
        let nothing = Partitions::new();
        Described {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            member_epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
            subscribed_topic_regex: member.subscribed_topic_regex.clone(),
            assignment: told(&partitions_of(&member.assigned), topics),
            target_assignment: told(self.target.get(&member.id).unwrap_or(&nothing), topics),
            member_type: if member.classic.is_some() { CLASSIC } else { CONSUMER },
            ..Default::default()
        }
    }
}

/// A topic that is gone has no name to be told by.
fn told(partitions: &Partitions, topics: &Topics) -> Assignment {
    let topic = |(id, partitions): (&Uuid, &BTreeSet<i32>)| {
        let topic_name = topics.by_id(*id)?.name.clone();
        let partitions = partitions.iter().copied().collect();
        Some(TopicPartitions { topic_id: *id, topic_name, partitions, ..Default::default() })
    };
    Assignment { topic_partitions: partitions.iter().filter_map(topic).collect(), ..Default::default() }
}
