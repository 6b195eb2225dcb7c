//! Reading a partition: records, and offsets by time.

use std::sync::Arc;

use host::{DiskGone, FileRegion, Fs};
use protocol::ids::Offset;
use storage::{AbortedTransaction, FoundTimestamp, Read, ReadLimits};

use super::followers::Follower;
use super::{Offsets, Partition, Role, State};
use crate::waiters::Isolation;

/// Why this replica does not answer for the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaderError {
    #[error("this broker does not lead the partition")]
    NotLeader,
    #[error("the leader epoch is {current} by now")]
    Fenced { current: i32 },
    #[error("the leader epoch known here is {current}")]
    UnknownEpoch { current: i32 },
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("broker {0} has no replica of the partition")]
    NotReplica(i32),
    #[error("the offset is outside of the log")]
    OutOfRange,
    #[error("the records are in tiered storage, which is not served yet")]
    Remote,
    #[error("the log cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

/// What a fetch asks of one partition.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub offset: Offset,
    /// -1: of any epoch.
    pub leader_epoch: i32,
    /// The epoch of the last record that the reader has, or -1 if it does not tell.
    pub last_fetched_epoch: i32,
    pub isolation: Isolation,
    /// The follower that reads, at isolation `LogEnd`; None for a consumer.
    pub follower: Option<i32>,
    /// Only the leader may answer; otherwise any replica (KIP-392).
    pub leader_only: bool,
    pub bytes_max: u64,
    /// Give the first batch even if it is larger.
    pub at_least_one: bool,
}

/// What a fetch gets of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub offsets: Offsets,
    pub region: Option<FileRegion>,
    /// For read_committed: the aborted transactions among the records.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// The reader's log is another one after this (epoch, end offset).
    pub diverging: Option<(i32, Offset)>,
}

/// What ListOffsets asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    Earliest,
    EarliestLocal,
    Latest,
    MaxTimestamp,
    At(i64),
}

/// What ListOffsets gets; None in both where there is no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: Option<i32>,
}

/// Why there is no answer to ListOffsets.
#[derive(Debug, thiserror::Error)]
pub enum OffsetError {
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// A new leader does not know yet how much of what it began with is committed.
    #[error("the high watermark is not known yet")]
    NotAvailable,
    #[error("the log cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

impl State {
    fn check_reader(&self, request: &ReadRequest) -> Result<(), LeaderError> {
        match self.check_leader(request.leader_epoch) {
            Err(LeaderError::NotLeader) if self.role == Role::Follower && !request.leader_only => Ok(()),
            checked => checked,
        }
    }
}

impl Partition {
    /// The replica from which a consumer should rather read an offset, as Kafka's `RackAwareReplicaSelector` chooses it: in
    /// sync, `near`, and of those the furthest one that has the offset. None where that is this leader, or nobody.
    pub fn preferred_reader(&self, offset: Offset, near: impl Fn(i32) -> bool) -> Option<i32> {
        let state = self.state();
        if state.role != Role::Leader || near(state.node_id) {
            return None;
        }
        let has_it = |(id, follower): &(i32, &Follower)| {
            let reaches = follower.log_start <= offset && follower.log_end.is_some_and(|end| end >= offset);
            reaches && state.isr.contains(id) && near(*id)
        };
        let furthest = state.followers.iter().filter(has_it).max_by_key(|(_, follower)| follower.log_end);
        furthest.map(|(id, _)| id)
    }

    /// Finds the records at an offset. They are not touched: what is returned is where they lie.
    pub async fn read(self: &Arc<Self>, request: ReadRequest) -> Result<Fetched, ReadError> {
        if let Some(nothing) = self.nothing_new(&request)? {
            return Ok(nothing);
        }
        let partition = Arc::clone(self);
        match self.disk.read(move |fs| partition.read_log(fs, &request)).await? {
            // A follower that lacks an offset says nothing of the log: a consumer would take it for lost, and start anew.
            Err(ReadError::OutOfRange) if self.role() != Role::Leader => Err(LeaderError::NotLeader.into()),
            read => read,
        }
    }

    /// The answer to a reader at the end, which needs no disk.
    fn nothing_new(&self, request: &ReadRequest) -> Result<Option<Fetched>, ReadError> {
        let state = self.state();
        state.check_reader(request)?;
        if let Some(follower) = request.follower
            && (!state.replicas.contains(&follower) || follower == state.node_id)
        {
            return Err(ReadError::NotReplica(follower));
        }
        let offsets = state.offsets();
        let readable_end = state.readable_end(request.isolation);
        // Logs whose last record is of one epoch and at one offset are the same up to there.
        let is_same_log = request.last_fetched_epoch < 0
            || (request.offset == offsets.log_end && request.last_fetched_epoch == state.last_record_epoch);
        let is_at_end = is_same_log
            && (readable_end..=offsets.log_end).contains(&request.offset)
            && request.offset >= offsets.log_start;
        let aborted = (request.isolation == Isolation::ReadCommitted).then(Vec::new);
        let nothing = Fetched { offsets, region: None, aborted, diverging: None };
        Ok(is_at_end.then_some(nothing))
    }

    fn read_log(&self, fs: &Fs, request: &ReadRequest) -> Result<Fetched, ReadError> {
        let mut log = self.log();
        let (offsets, readable_end) = {
            let state = self.state();
            state.check_reader(request)?;
            (state.offsets(), state.readable_end(request.isolation))
        };
        let mut fetched = Fetched { offsets, region: None, aborted: None, diverging: None };
        if request.last_fetched_epoch >= 0 {
            let (epoch, end) =
                log.end_of_leader_epoch(request.last_fetched_epoch).ok_or(ReadError::OutOfRange)?;
            if request.last_fetched_epoch > log.latest_leader_epoch().unwrap_or(-1) {
                return Err(ReadError::OutOfRange);
            }
            if epoch < request.last_fetched_epoch || end < request.offset {
                fetched.diverging = Some((epoch, end));
                return Ok(fetched);
            }
        }
        let limits = ReadLimits {
            upper: readable_end,
            bytes_max: request.bytes_max,
            at_least_one: request.at_least_one,
        };
        let slice = match log.read(fs, request.offset, limits) {
            Ok(Read::Local(slice)) => slice,
            Ok(Read::Remote) => return Err(ReadError::Remote),
            Err(storage::ReadError::OutOfRange { .. }) => return Err(ReadError::OutOfRange),
            Err(storage::ReadError::Io(error)) => return Err(ReadError::Io(error)),
        };
        if request.isolation == Isolation::ReadCommitted {
            // A superset of what the region covers: consumers filter by producer and offset.
            fetched.aborted = Some(match slice.region {
                Some(_) => log.aborted_transactions(fs, request.offset, readable_end)?,
                None => Vec::new(),
            });
        }
        fetched.region = slice.region;
        Ok(fetched)
    }

    /// Finds an offset by time or by name.
    pub async fn find_offset(
        self: &Arc<Self>,
        query: OffsetQuery,
        leader_epoch: i32,
        isolation: Isolation,
    ) -> Result<Option<OffsetFound>, OffsetError> {
        let partition = Arc::clone(self);
        self.disk.read(move |fs| partition.find_in_log(fs, query, leader_epoch, isolation)).await?
    }

    fn find_in_log(
        &self,
        fs: &Fs,
        query: OffsetQuery,
        leader_epoch: i32,
        isolation: Isolation,
    ) -> Result<Option<OffsetFound>, OffsetError> {
        let mut log = self.log();
        let (current_epoch, readable_end) = {
            let state = self.state();
            state.check_leader(leader_epoch)?;
            let is_known = isolation == Isolation::LogEnd || state.high_watermark >= state.epoch_start;
            if query == OffsetQuery::Latest && !is_known {
                return Err(OffsetError::NotAvailable);
            }
            (state.leader_epoch, state.offsets().readable_end(isolation))
        };
        // An empty log knows no epoch yet; its next record will have the current one.
        let named = |offset: Offset, epoch: Option<i32>| {
            Some(OffsetFound { timestamp: -1, offset, leader_epoch: epoch.or(Some(current_epoch)) })
        };
        let (start, local) = (log.log_start_offset(), log.local_log_start_offset());
        let found = match query {
            OffsetQuery::Earliest => return Ok(named(start, log.leader_epoch_of(start))),
            OffsetQuery::EarliestLocal => return Ok(named(local, log.leader_epoch_of(local))),
            OffsetQuery::Latest => return Ok(named(readable_end, Some(current_epoch))),
            OffsetQuery::MaxTimestamp => log.max_timestamp(fs)?,
            OffsetQuery::At(timestamp) => log.offset_of_timestamp(fs, timestamp)?,
        };
        Ok(found.filter(|f| f.offset < readable_end).map(
            |FoundTimestamp { timestamp, offset, leader_epoch }| OffsetFound {
                timestamp,
                offset,
                leader_epoch,
            },
        ))
    }
}
