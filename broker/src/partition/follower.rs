//! A replica that follows: where it goes on, what it takes over, and how it comes back to the leader's log.
//!
//! ```text
//!   leader   e1 [0 ..... 100] e3 [100 ........ 180]
//!   here     e1 [0 ..... 100] e2 [100 .. 120]         fetches at 120, last epoch 2
//!            answer: diverging, epoch 1 ends at 100   cut to 100, fetch at 100, last epoch 1
//! ```
//! **Invariant:** every job checks the leader epoch that its fetch was sent under, in the queue in which roles change: nothing
//! of a former leader is appended or cut once another one was heard of. The high watermark is the leader's, within this log.

use std::sync::Arc;

use bytes::Bytes;
use host::{DiskGone, Fs};
use protocol::batch::batches;
use protocol::ids::Offset;
use storage::Log;

use super::{Partition, Role, State};
use crate::topic_settings::TopicSettings;

/// Why a replica did not take over what its leader gave.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The answer is of another epoch, or not about where the log ends: it is dropped.
    #[error("this replica does not follow in that epoch any more")]
    Stale,
    #[error("the leader's records cannot be appended: {0}")]
    Append(#[from] storage::AppendError),
    #[error("the log cannot be written: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

/// Where a follower goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: Offset,
    /// The epoch of the last record here, or -1.
    pub last_epoch: i32,
    pub log_start: Offset,
    /// What is here should be durable before the leader is told of it, and is not: the epoch changed in between.
    pub must_flush: bool,
}

/// What a leader answered to a fetch.
#[derive(Clone, Debug)]
pub struct Replicated {
    /// Under which it was fetched.
    pub leader_epoch: i32,
    /// From where it was fetched.
    pub offset: Offset,
    pub records: Bytes,
    pub high_watermark: Offset,
    pub log_start: Offset,
    pub settings: Arc<TopicSettings>,
    pub now_ms: i64,
}

impl State {
    fn check_follower(&self, leader_epoch: i32) -> Result<(), FollowError> {
        let is_current = self.leader_epoch == leader_epoch || self.broken.ignores_epochs;
        let follows = self.role == Role::Follower && is_current;
        if follows { Ok(()) } else { Err(FollowError::Stale) }
    }
}

impl Partition {
    /// Where this replica goes on under an epoch; None if it does not follow in it.
    pub fn position(&self, leader_epoch: i32) -> Option<Position> {
        let state = self.state();
        state.check_follower(leader_epoch).ok()?;
        let (offset, log_start) = (state.log_end, state.log_start);
        let must_flush = state.counts_flushed && state.flushed_end < state.log_end;
        let last_epoch = if state.broken.never_truncates { -1 } else { state.last_record_epoch };
        Some(Position { offset, last_epoch, log_start, must_flush })
    }

    /// Whether this replica lacks records that it has heard to be committed, or has heard of nothing yet.
    pub fn lags(&self) -> bool {
        let state = self.state();
        state.leader_high_watermark < Offset::ZERO || state.leader_high_watermark > state.log_end
    }

    /// Whether an answer without records says anything new.
    fn is_news(&self, replicated: &Replicated) -> bool {
        let state = self.state();
        !replicated.records.is_empty()
            || replicated.high_watermark.min(state.log_end) > state.high_watermark
            || replicated.log_start > state.log_start
    }

    /// Takes over what the leader answered: records, high watermark, log start. Where the topic flushes on acknowledge, this
    /// returns when the records are durable, since the next fetch tells the leader that they are here.
    ///
    /// Cancellation is safe: the job runs whole or not at all, and records that are not durable yet are fetched over again.
    pub async fn append_as_follower(self: &Arc<Self>, replicated: Replicated) -> Result<(), FollowError> {
        if !self.is_news(&replicated) {
            return Ok(());
        }
        let (partition, settings) = (Arc::clone(self), Arc::clone(&replicated.settings));
        let end = self.disk.run(move |fs| partition.take_over(fs, replicated)).await??;
        if let Some((end, flush_due)) = end
            && (flush_due || settings.flush_on_acknowledge)
        {
            self.flush_to(end, true).await?;
        }
        Ok(())
    }

    /// Returns the end of what was appended, and whether a flush is due.
    fn take_over(&self, fs: &Fs, replicated: Replicated) -> Result<Option<(Offset, bool)>, FollowError> {
        let Replicated { leader_epoch, offset, records, high_watermark, log_start, settings, now_ms } =
            replicated;
        let mut log = self.log();
        self.state().check_follower(leader_epoch)?;
        if log.log_end_offset() != offset {
            return Err(FollowError::Stale);
        }
        begin_within_batch(fs, &mut log, &records)?;
        let appended = log.append_as_follower(fs, records, now_ms, &settings.log);
        if appended.is_ok() {
            if high_watermark > log.high_watermark() {
                log.set_high_watermark(high_watermark);
            }
            if log_start > log.log_start_offset() && log_start <= log.log_end_offset() {
                log.advance_log_start(fs, log_start)?;
            }
        }
        let mut state = self.state();
        state.leader_high_watermark = high_watermark;
        let appended = appended.inspect(|appended| {
            state.wants_flush |= appended.is_some_and(|appended| appended.rolled);
        });
        state.observe(&mut log);
        Ok(appended?.map(|appended| (appended.last_offset.next(), appended.flush_due)))
    }

    /// The leader's log ends its largest epoch up to this replica's last one at `end`: what is beyond goes.
    pub async fn truncate_diverged(
        self: &Arc<Self>,
        leader_epoch: i32,
        (epoch, end): (i32, Offset),
    ) -> Result<(), FollowError> {
        self.cut(leader_epoch, move |log| {
            // Where this log has that epoch end earlier, the leader's records behind it are not here.
            let own = log.end_of_leader_epoch(epoch).map_or(end, |(_, own_end)| own_end);
            Some(own.min(end))
        })
        .await
    }

    /// The leader's log is from `start` to `end`, and this replica's position is not in it.
    pub async fn truncate_out_of_range(
        self: &Arc<Self>,
        leader_epoch: i32,
        (start, end): (Offset, Offset),
    ) -> Result<(), FollowError> {
        let begins_anew = start > self.offsets().log_end;
        if begins_anew {
            return self.restart_at(leader_epoch, start).await;
        }
        self.cut(leader_epoch, move |log| (end < log.log_end_offset()).then_some(end)).await
    }

    /// Cuts the log to where `target` says, if it says so.
    async fn cut(
        self: &Arc<Self>,
        leader_epoch: i32,
        target: impl FnOnce(&Log) -> Option<Offset> + Send + 'static,
    ) -> Result<(), FollowError> {
        let partition = Arc::clone(self);
        let cut = self.disk.run_slow(move |fs| {
            let mut log = partition.log();
            partition.state().check_follower(leader_epoch)?;
            if let Some(target) = target(&log) {
                if target < log.high_watermark() {
                    let (topic, index) = (&partition.topic, partition.id.partition);
                    let high_watermark = log.high_watermark();
                    tracing::warn!(%topic, index, %target, %high_watermark, "the leader lacks committed records");
                }
                log.truncate_to(fs, target)?;
            }
            partition.state().observe(&mut log);
            Ok(())
        });
        cut.await?
    }

    async fn restart_at(self: &Arc<Self>, leader_epoch: i32, start: Offset) -> Result<(), FollowError> {
        let partition = Arc::clone(self);
        let restarted = self.disk.run_slow(move |fs| {
            let mut log = partition.log();
            partition.state().check_follower(leader_epoch)?;
            log.truncate_fully_and_start_at(fs, start)?;
            partition.state().observe(&mut log);
            Ok(())
        });
        restarted.await?
    }
}

/// An empty log may have to begin before its start: the leader's log start can lie within a batch, which is given whole.
fn begin_within_batch(fs: &Fs, log: &mut Log, records: &Bytes) -> Result<(), FollowError> {
    let end = log.log_end_offset();
    if log.log_start_offset() != end {
        return Ok(());
    }
    let first = batches(records.clone()).next().and_then(Result::ok).map(|batch| batch.header);
    if let Some(header) = first
        && header.base_offset < end
        && header.last_offset() >= end
    {
        log.truncate_fully_and_start_at(fs, header.base_offset)?;
    }
    Ok(())
}
