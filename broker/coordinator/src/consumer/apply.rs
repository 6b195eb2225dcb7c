//! Taking over records: those that were just decided, and those of the log.
//!
//! ```text
//!  3  ConsumerGroupMetadata                  (group)          ─► epoch, hash of the subscribed topics
//!  4  ConsumerGroupPartitionMetadata         (group)             written by Kafka 4.0 and older; of no use any more
//!  5  ConsumerGroupMemberMetadata            (group, member)  ─► subscription, time-outs, instance, client
//!  6  ConsumerGroupTargetAssignmentMetadata  (group)          ─► epoch and time of the target
//!  7  ConsumerGroupTargetAssignmentMember    (group, member)  ─► the partitions it shall have
//!  8  ConsumerGroupCurrentMemberAssignment   (group, member)  ─► its epoch, state, the partitions it has
//!  16 ConsumerGroupRegularExpression         (group, regex)   ─► the topics it stands for
//! ```
//! **Invariant:** cannot fail. A compacted log may hold a tombstone without what it ends, and a partition that for a
//! while seems to be held by two: the later record holds.

use std::collections::BTreeSet;

use protocol::Str;
use protocol::messages::{GroupKey, GroupValue};

use super::member::{Held, Member, Partitions};
use super::{ConsumerGroup, Resolved};

impl ConsumerGroup {
    /// Takes over one record of this group. The tombstone of the group itself is the shard's business.
    pub(crate) fn apply(&mut self, key: &GroupKey, value: Option<&GroupValue>) {
        match (key, value) {
            (GroupKey::ConsumerGroupMetadata(_), Some(GroupValue::ConsumerGroupMetadata(value))) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            (GroupKey::ConsumerGroupMemberMetadata(key), value) => match value {
                Some(GroupValue::ConsumerGroupMemberMetadata(value)) => {
                    let member = self.member_to_change(&key.member_id);
                    let former = member.instance_id.take();
                    let names = std::mem::take(&mut member.subscribed_topic_names);
                    member.set_metadata(value);
                    let instance = member.instance_id.clone();
                    let now = member.subscribed_topic_names.clone();
                    self.count_names(&names, -1);
                    self.count_names(&now, 1);
                    self.rename_instance(&key.member_id, former, instance);
                }
                _ => self.remove_member(&key.member_id),
            },
            (GroupKey::ConsumerGroupTargetAssignmentMetadata(_), value) => match value {
                Some(GroupValue::ConsumerGroupTargetAssignmentMetadata(value)) => {
                    self.target_epoch = value.assignment_epoch;
                    self.target_timestamp_ms = value.assignment_timestamp;
                }
                _ => self.target_epoch = -1,
            },
            (GroupKey::ConsumerGroupTargetAssignmentMember(key), value) => match value {
                Some(GroupValue::ConsumerGroupTargetAssignmentMember(value)) => {
                    let topics = value.topic_partitions.iter();
                    let target: Partitions =
                        topics.map(|t| (t.topic_id, t.partitions.iter().copied().collect())).collect();
                    self.target.insert(key.member_id.detached(), target);
                }
                _ => drop(self.target.remove(&key.member_id)),
            },
            (GroupKey::ConsumerGroupCurrentMemberAssignment(key), value) => {
                self.apply_current_assignment(&key.member_id, value);
            }
            (GroupKey::ConsumerGroupRegularExpression(key), value) => match value {
                Some(GroupValue::ConsumerGroupRegularExpression(value)) => {
                    self.regexes.insert(key.regular_expression.detached(), Resolved::from_record(value));
                }
                _ => drop(self.regexes.remove(&key.regular_expression)),
            },
            _ => {}
        }
    }

    fn apply_current_assignment(&mut self, id: &Str, value: Option<&GroupValue>) {
        let Some(member) = self.members.get(id) else {
            // Its subscription was compacted away behind it: a member all the same, until its tombstone comes.
            if value.is_some() {
                self.member_to_change(id);
                self.apply_current_assignment(id, value);
            }
            return;
        };
        let former = [member.assigned.clone(), member.pending_revocation.clone()];
        former.iter().for_each(|held| self.release(id, held));
        let member = self.member_to_change(id);
        match value {
            Some(GroupValue::ConsumerGroupCurrentMemberAssignment(value)) => {
                member.set_current_assignment(value);
            }
            _ => member.clear_current_assignment(),
        }
        let now = [member.assigned.clone(), member.pending_revocation.clone()];
        for held in now {
            let of = |topic, partitions: std::collections::BTreeMap<i32, i32>| {
                partitions.into_keys().map(move |partition| ((topic, partition), id.detached()))
            };
            self.owners.extend(held.into_iter().flat_map(|(topic, partitions)| of(topic, partitions)));
        }
    }

    fn member_to_change(&mut self, id: &Str) -> &mut Member {
        self.members.entry(id.detached()).or_insert_with(|| Member::new(id.detached()))
    }

    fn remove_member(&mut self, id: &Str) {
        let Some(member) = self.members.remove(id) else { return };
        self.release(id, &member.assigned);
        self.release(id, &member.pending_revocation);
        self.count_names(&member.subscribed_topic_names, -1);
        self.rename_instance(id, member.instance_id.clone(), None);
    }

    fn count_names(&mut self, names: &BTreeSet<Str>, by: isize) {
        for name in names {
            let count = self.subscribed.entry(name.clone()).or_default();
            *count = count.checked_add_signed(by).expect("who is counted out was counted in");
            if *count == 0 {
                self.subscribed.remove(name);
            }
        }
    }

    fn rename_instance(&mut self, id: &Str, former: Option<Str>, instance: Option<Str>) {
        if let Some(former) = former
            && self.instances.get(&former) == Some(id)
        {
            self.instances.remove(&former);
        }
        if let Some(instance) = instance {
            self.instances.insert(instance, id.detached());
        }
    }

    /// Somebody else may hold a partition by a later record.
    fn release(&mut self, id: &Str, held: &Held) {
        for (topic, partitions) in held {
            for partition in partitions.keys() {
                let key = (*topic, *partition);
                if self.owners.get(&key) == Some(id) {
                    self.owners.remove(&key);
                }
            }
        }
    }
}
