//! What administrators ask of a partition: where epochs end, who has written, and to forget the oldest records.

use std::sync::Arc;

use bytes::Bytes;
use host::{DiskGone, Fs};
use protocol::ids::Offset;
use storage::{Producer, Read, ReadLimits};

use super::{LeaderError, OffsetError, Partition};
use crate::topic_settings::TopicSettings;

/// Why records were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteRecordsError {
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("the offset is beyond the high watermark, or is none")]
    OutOfRange,
    #[error("the log cannot be shortened: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the log cannot be read: {0}")]
    Read(#[from] storage::ReadError),
    #[error("the log cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("a part of it is in tiered storage, which is not served yet")]
    Remote,
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

impl Partition {
    /// Batches from an offset on, up to the log end, whether they are committed or not: what a coordinator loads. The last
    /// one may be cut off; empty at the end.
    pub async fn replay_from(self: &Arc<Self>, from: Offset, bytes_max: u64) -> Result<Bytes, ReplayError> {
        let partition = Arc::clone(self);
        self.disk.run_slow(move |fs| partition.read_to_replay(fs, from, bytes_max)).await?
    }

    fn read_to_replay(&self, fs: &Fs, from: Offset, bytes_max: u64) -> Result<Bytes, ReplayError> {
        let mut log = self.log();
        let from = from.max(log.log_start_offset());
        let limits = ReadLimits { upper: log.log_end_offset(), bytes_max, at_least_one: true };
        let region = match log.read(fs, from, limits)? {
            Read::Local(slice) => slice.region,
            Read::Remote => return Err(ReplayError::Remote),
        };
        drop(log);
        let Some(region) = region else { return Ok(Bytes::new()) };
        let mut bytes = vec![0; region.length as usize];
        region.file.read_exact_at(&mut bytes, region.position)?;
        Ok(Bytes::from(bytes))
    }

    /// Where an epoch of the leader's log ends, with the largest epoch up to it; None if the log never had it.
    pub async fn end_of_epoch(
        self: &Arc<Self>,
        epoch: i32,
        current_leader_epoch: i32,
    ) -> Result<Option<(i32, Offset)>, OffsetError> {
        let partition = Arc::clone(self);
        let found = self.disk.read(move |_| {
            let log = partition.log();
            partition.state().check_leader(current_leader_epoch)?;
            Ok::<_, LeaderError>(log.end_of_leader_epoch(epoch))
        });
        Ok(found.await??)
    }

    /// The producers that the log remembers, by id.
    pub async fn producers(self: &Arc<Self>) -> Result<Vec<(i64, Producer)>, DiskGone> {
        let partition = Arc::clone(self);
        let all = move |_: &Fs| {
            partition.log().producers().producers().iter().map(|(id, p)| (*id, p.clone())).collect()
        };
        self.disk.read(all).await
    }

    /// Forgets records below `before` (-1: all that are committed), and returns the new log start.
    ///
    /// Cancellation is safe: the job runs whole or not at all.
    pub async fn delete_records(self: &Arc<Self>, before: i64) -> Result<Offset, DeleteRecordsError> {
        let partition = Arc::clone(self);
        self.disk.run_slow(move |fs| partition.advance_log_start(fs, before)).await?
    }

    /// Deletes the segments that need not be kept any more, forgets producers that were silent for too long, and lets a log
    /// rest that was not written since the last time. Returns how many segments went.
    ///
    /// Cancellation is safe: the job runs whole or not at all.
    pub async fn clean_up(
        self: &Arc<Self>,
        settings: Arc<TopicSettings>,
        now_ms: i64,
    ) -> std::io::Result<usize> {
        let partition = Arc::clone(self);
        let cleaned = self.disk.run_slow(move |fs| {
            let mut log = partition.log();
            log.expire_producers(now_ms, &settings.log);
            let is_idle = partition.is_idle(&log);
            let deleted = match settings.retention {
                Some(retention) => log.delete_old_segments(fs, retention, now_ms)?,
                None => 0,
            };
            partition.state().observe(&mut log);
            if is_idle {
                log.rest();
            }
            Ok(deleted)
        });
        cleaned.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone)))
    }

    /// Whether nothing was appended since the last call.
    fn is_idle(&self, log: &storage::Log) -> bool {
        let end = log.log_end_offset();
        std::mem::replace(&mut self.state().end_at_clean_up, end) == end
    }

    fn advance_log_start(&self, fs: &Fs, before: i64) -> Result<Offset, DeleteRecordsError> {
        let mut log = self.log();
        let high_watermark = {
            let state = self.state();
            state.check_leader(-1)?;
            state.high_watermark
        };
        let start = match before {
            -1 => high_watermark,
            before if before < 0 || Offset(before) > high_watermark => {
                return Err(DeleteRecordsError::OutOfRange);
            }
            before => Offset(before),
        };
        log.advance_log_start(fs, start)?;
        self.state().observe(&mut log);
        Ok(log.log_start_offset())
    }
}
