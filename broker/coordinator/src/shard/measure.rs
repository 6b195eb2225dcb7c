//! What metrics ask of a shard: its groups as they are now, page by page.

use std::ops::Bound;

use protocol::Str;

use super::GroupShard;
use crate::offsets::TopicPartition;

/// A group of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMeasure {
    pub id: Str,
    /// Kafka's names of the kind and of the state.
    pub kind: &'static str,
    pub state: &'static str,
    pub members: usize,
    pub offsets: Vec<(TopicPartition, i64)>,
}

/// Some groups of a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredPage {
    pub groups: Vec<GroupMeasure>,
    /// There are more, behind the last one.
    pub has_more: bool,
}

impl GroupShard {
    /// Groups behind `after`, until `offsets_max` offsets or groups were told; one group at least.
    pub(super) fn measure(&self, after: Option<&Str>, offsets_max: usize) -> MeasuredPage {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = MeasuredPage::default();
        let mut told = 0;
        for (id, group) in self.groups.range::<Str, _>((behind, Bound::Unbounded)) {
            if told >= offsets_max {
                page.has_more = true;
                break;
            }
            let offsets = self.offsets.of_group(id).map(|(partition, c)| (partition.clone(), c.offset));
            let measure = GroupMeasure {
                id: id.clone(),
                kind: group.kind(),
                state: group.state_name(),
                members: group.member_count(),
                offsets: offsets.collect(),
            };
            told += measure.offsets.len() + 1;
            page.groups.push(measure);
        }
        page
    }
}
