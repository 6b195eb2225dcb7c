//! Committed offsets, whatever kind of group they belong to.
//!
//! ```text
//!  committed   group ─► (topic, partition) ─► offset, epoch, metadata, times
//!  pending     producer id ─► the same, until its transaction ends
//! ```

use std::collections::BTreeMap;

use protocol::messages::{OffsetCommitKey, OffsetCommitValue};
use protocol::{Str, Uuid};

/// A partition, as offsets know it.
pub type TopicPartition = (Str, i32);

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Str,
    pub commit_timestamp_ms: i64,
    /// Set by old clients that said how long it shall be kept.
    pub expire_timestamp_ms: Option<i64>,
    /// Zero: written before topics had ids, or by a client of a topic that was not known.
    pub topic_id: Uuid,
}

impl Committed {
    fn new(value: &OffsetCommitValue) -> Committed {
        Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.detached(),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }
}

type OfGroup = BTreeMap<TopicPartition, Committed>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    committed: BTreeMap<Str, OfGroup>,
    pending: BTreeMap<i64, BTreeMap<Str, BTreeMap<TopicPartition, Option<Committed>>>>,
}

impl Offsets {
    pub fn get(&self, group: &str, partition: &TopicPartition) -> Option<&Committed> {
        self.committed.get(group)?.get(partition)
    }

    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &Committed)> {
        self.committed.get(group).into_iter().flatten()
    }

    pub fn has_any(&self, group: &str) -> bool {
        self.committed.contains_key(group) || self.pending.values().any(|groups| groups.contains_key(group))
    }

    /// Whether an open transaction has a word to say about the partition's offset.
    pub fn is_unstable(&self, group: &str, partition: &TopicPartition) -> bool {
        let of_group = |groups: &BTreeMap<Str, BTreeMap<TopicPartition, _>>| {
            groups.get(group).is_some_and(|offsets| offsets.contains_key(partition))
        };
        self.pending.values().any(of_group)
    }

    pub fn groups(&self) -> impl Iterator<Item = &Str> {
        self.committed.keys()
    }

    pub fn apply(
        &mut self,
        key: &OffsetCommitKey,
        value: Option<&OffsetCommitValue>,
        transaction: Option<i64>,
    ) {
        let (group, partition) = (key.group.detached(), (key.topic.detached(), key.partition));
        let committed = value.map(Committed::new);
        match transaction {
            Some(producer_id) => {
                let of_producer = self.pending.entry(producer_id).or_default();
                of_producer.entry(group).or_default().insert(partition, committed);
            }
            None => self.set(group, partition, committed),
        }
    }

    pub fn end_transaction(&mut self, producer_id: i64, is_commit: bool) {
        let Some(groups) = self.pending.remove(&producer_id).filter(|_| is_commit) else { return };
        for (group, offsets) in groups {
            for (partition, committed) in offsets {
                self.set(group.clone(), partition, committed);
            }
        }
    }

    fn set(&mut self, group: Str, partition: TopicPartition, committed: Option<Committed>) {
        match committed {
            Some(committed) => {
                self.committed.entry(group).or_default().insert(partition, committed);
            }
            None => {
                if let Some(of_group) = self.committed.get_mut(&group) {
                    of_group.remove(&partition);
                    if of_group.is_empty() {
                        self.committed.remove(&group);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> OffsetCommitKey {
        OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 0 }
    }

    fn value(offset: i64) -> OffsetCommitValue {
        OffsetCommitValue { offset, ..Default::default() }
    }

    #[test]
    fn a_tombstone_forgets_and_the_last_one_forgets_the_group() {
        let mut offsets = Offsets::default();
        offsets.apply(&key(), Some(&value(5)), None);
        assert_eq!(offsets.get("g", &("t".into(), 0)).map(|c| c.offset), Some(5));
        offsets.apply(&key(), None, None);
        assert!(!offsets.has_any("g") && offsets == Offsets::default());
    }

    #[test]
    fn a_transactions_offsets_count_when_it_commits_and_never_when_it_aborts() {
        let mut offsets = Offsets::default();
        offsets.apply(&key(), Some(&value(1)), None);
        offsets.apply(&key(), Some(&value(2)), Some(70));
        assert_eq!(offsets.get("g", &("t".into(), 0)).map(|c| c.offset), Some(1));
        assert!(offsets.is_unstable("g", &("t".into(), 0)) && !offsets.is_unstable("g", &("t".into(), 1)));
        offsets.end_transaction(70, false);
        assert!(!offsets.is_unstable("g", &("t".into(), 0)));
        offsets.apply(&key(), Some(&value(3)), Some(70));
        offsets.end_transaction(71, true);
        offsets.end_transaction(70, true);
        assert_eq!(offsets.get("g", &("t".into(), 0)).map(|c| c.offset), Some(3));
    }
}
