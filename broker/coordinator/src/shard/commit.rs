//! OffsetCommit: how far a group has read.

use protocol::messages::{OffsetCommitKey, OffsetCommitValue};
use protocol::{ErrorCode, Str};

use super::GroupShard;
use crate::classic::{ClassicGroup, Deadline, State};
use crate::group::Group;
use crate::machine::{Effects, Entry, Moment};
use crate::offsets::TopicPartition;
use crate::operation::{Answer, Commit};
use crate::records;

impl GroupShard {
    /// One code for each offset, in their order.
    ///
    /// # Errors
    /// When nothing of it is accepted.
    pub(super) fn commit(
        &mut self,
        now: Moment,
        commit: &Commit,
        effects: &mut Effects<Answer>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.check_committer(commit)?;
        let metadata_bytes_max = self.config.metadata_bytes_max;
        let fits = |value: &OffsetCommitValue| value.metadata.len() <= metadata_bytes_max;
        let accepted: Vec<_> = commit.offsets.iter().filter(|(_, value)| fits(value)).collect();
        let entry = |(partition, value): &&(TopicPartition, OffsetCommitValue)| {
            records::offset(key(&commit.group, partition), Some(value.clone()))
        };
        let entries: Vec<Entry> = accepted.iter().map(entry).collect();
        if entries.iter().map(Entry::size_bytes).sum::<usize>() > self.config.batch_bytes_max {
            return Err(ErrorCode::InvalidCommitOffsetSize);
        }
        let id = commit.group.detached();
        let group =
            self.groups.entry(id.clone()).or_insert_with(|| Group::Classic(ClassicGroup::new(id.clone())));
        // A commit is a sign of life of a classic member.
        if let Group::Classic(group) = group
            && matches!(group.state, State::Stable | State::PreparingRebalance)
            && let Some(member) = group.members.get(&commit.member_id)
        {
            let deadline = now.timer_ms + i64::from(member.session_timeout_ms);
            self.timers.set(Deadline::Member(id, member.id.clone()), deadline);
        }
        effects.entries.extend(entries);
        for (partition, value) in accepted {
            self.offsets.apply(&key(&commit.group, partition), Some(value), None);
        }
        let code = |value: &OffsetCommitValue| match fits(value) {
            true => ErrorCode::None,
            false => ErrorCode::OffsetMetadataTooLarge,
        };
        Ok(commit.offsets.iter().map(|(_, value)| code(value)).collect())
    }

    /// Members commit in their generation; others only while the group has no members.
    fn check_committer(&self, commit: &Commit) -> Result<(), ErrorCode> {
        let Some(group) = self.groups.get(&commit.group) else {
            // Who manages its partitions itself makes a group by its first commit.
            return match commit.version {
                _ if commit.generation < 0 => Ok(()),
                // Older clients know of no group that is not there.
                ..9 => Err(ErrorCode::IllegalGeneration),
                9.. => Err(ErrorCode::GroupIdNotFound),
            };
        };
        let group = match group {
            Group::Classic(group) => group,
            Group::Consumer(group) => return group.check_commit(commit),
        };
        if commit.generation < 0 && group.is_empty() {
            return Ok(());
        }
        let names_itself =
            commit.generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some();
        if !names_itself {
            return Err(ErrorCode::UnknownMemberId);
        }
        group.check_member(&commit.member_id, commit.instance_id.as_ref())?;
        if commit.generation != group.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if group.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}

pub(super) fn key(group: &Str, (topic, partition): &TopicPartition) -> OffsetCommitKey {
    OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition: *partition }
}
