//! OffsetFetch: how far a group had read.

use protocol::ErrorCode;

use super::GroupShard;
use crate::group::Group;
use crate::offsets::TopicPartition;
use crate::operation::{Fetch, Fetched};

impl GroupShard {
    /// A group that is not there has committed nothing; that is no error.
    ///
    /// # Errors
    /// When a member of a consumer group asks that is none any more, or in another epoch.
    pub(super) fn fetch(&self, fetch: &Fetch) -> Result<Vec<Fetched>, ErrorCode> {
        if let (Some((member, epoch)), Some(Group::Consumer(group))) =
            (&fetch.member, self.groups.get(&fetch.group))
        {
            group.check_fetch(member, *epoch)?;
        }
        let one = |partition: &TopicPartition| {
            let is_unstable = fetch.require_stable && self.offsets.is_unstable(&fetch.group, partition);
            let committed = match is_unstable {
                true => Err(ErrorCode::UnstableOffsetCommit),
                false => Ok(self.offsets.get(&fetch.group, partition).cloned()),
            };
            Fetched { partition: partition.clone(), committed }
        };
        Ok(match &fetch.partitions {
            Some(partitions) => partitions.iter().map(one).collect(),
            None => self.offsets.of_group(&fetch.group).map(|(partition, _)| one(partition)).collect(),
        })
    }
}
