//! One replica of a partition on this broker: its role, its epochs, its high watermark, and who waits for it.
//!
//! ```text
//!   log start      last stable      high watermark        log end
//!      |----------------|------------------|------------------|
//!      read_committed -->                   committed: every ISR has it
//!      read_uncommitted ------------------->                  followers read up to here
//! ```
//! The log is behind a mutex that is taken inside disk jobs only; the state is behind a second, short one. Who takes both
//! takes the log first. A change of role runs in the same queue as the appends, so no record is written under an epoch
//! that has ended.
//!
//! **Invariant:** log start <= last stable offset <= high watermark <= log end; the high watermark of a leader is the
//! smallest log end of its ISR and never goes back within a leader's time.

mod admin;
mod follower;
mod followers;
mod isr;
mod measure;
mod read;
mod role;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use host::{Clock, Disk, DiskGone, Fs};
use metadata::Image;
use protocol::batch::{AppendRules, Batch};
use protocol::config::Configs;
use protocol::ids::{LeaderEpoch, Offset, PartitionId};
use protocol::{Str, Uuid};
use storage::{Appended, Log};
use tokio::sync::{Notify, oneshot};

use crate::broken::Broken;
use crate::metrics::TopicMetrics;
use crate::topic_settings::TopicSettings;
use crate::waiters::{Commit, Isolation, Parked, Waiters};

pub use admin::{DeleteRecordsError, ReplayError};
pub use follower::{FollowError, Position, Replicated};
pub use followers::FollowerFetch;
pub use isr::{IsrChange, IsrOutcome};
pub use measure::{LogMeasure, Measure};
pub use read::{Fetched, LeaderError, OffsetError, OffsetQuery, ReadError, ReadRequest};
pub use role::{Registration, Role};

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("the ISR has {in_sync} members, and the topic wants {wanted}")]
    NotEnoughReplicas { in_sync: usize, wanted: usize },
    #[error(transparent)]
    Log(#[from] storage::AppendError),
    #[error("the log cannot be flushed: {0}")]
    Flush(std::io::Error),
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

/// What is appended, and under which settings.
#[derive(Debug)]
pub struct Produced {
    /// Checked by `validate_for_append`.
    pub batch: Batch,
    pub rules: AppendRules,
    pub settings: Arc<TopicSettings>,
    /// acks=all: there must be enough replicas in sync.
    pub wants_all: bool,
    /// The epoch under which this was decided; -1: any.
    pub leader_epoch: i32,
}

/// What a partition keeps its followers by.
#[derive(Clone, Debug)]
pub struct Keeping {
    pub clock: Clock,
    /// `replica.lag.time.max.ms`
    pub lag_max: Duration,
    pub broken: Broken,
}

/// See the module.
#[derive(Debug)]
pub struct Partition {
    pub id: PartitionId,
    pub topic: Str,
    /// The log dir that holds the log.
    pub log_dir: PathBuf,
    pub directory_id: Uuid,
    pub metrics: Arc<TopicMetrics>,
    disk: Disk,
    log: Mutex<Log>,
    state: Mutex<State>,
    /// A follower tells another log start.
    log_start_moved: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    role: Role,
    is_retired: bool,
    leader_epoch: i32,
    partition_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    /// A change of the ISR that is on its way.
    pending: Option<IsrChange>,
    node_id: i32,
    clock: Clock,
    /// `replica.lag.time.max.ms`
    lag_max: Duration,
    broken: Broken,
    log_start: Offset,
    log_end: Offset,
    flushed_end: Offset,
    high_watermark: Offset,
    /// What a follower has heard last.
    leader_high_watermark: Offset,
    last_stable: Offset,
    /// The high watermark counts flushed ends (`weir.flush.on.acknowledge`).
    counts_flushed: bool,
    /// `min.insync.replicas`: with fewer in sync nothing is committed.
    min_insync_replicas: usize,
    /// While this is the leader.
    followers: followers::Followers,
    /// Where the log ended when this leader's epoch began.
    epoch_start: Offset,
    /// The epoch of the last record, or -1.
    last_record_epoch: i32,
    /// A segment was finished: the sooner it is durable, the less is read after a crash.
    wants_flush: bool,
    /// Appended, but not readable yet.
    unreadable_bytes: u64,
    /// Where the log ended when it was cleaned up last.
    end_at_clean_up: Offset,
    /// Files of deleted segments that are to be removed some time.
    deleted: Vec<PathBuf>,
    waiters: Waiters,
    measured: LogMeasure,
    settings: Option<(Arc<metadata::Configs>, Arc<TopicSettings>)>,
}

/// The offsets of a partition at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
}

impl Offsets {
    /// Up to where a reader of this isolation reads.
    pub fn readable_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable,
            Isolation::LogEnd => self.log_end,
        }
    }
}

impl Partition {
    /// A partition over an open log; it has no role yet.
    pub fn new(
        id: PartitionId,
        topic: Str,
        (log_dir, directory_id): (PathBuf, Uuid),
        disk: Disk,
        Keeping { clock, lag_max, broken }: Keeping,
        metrics: Arc<TopicMetrics>,
        log: Log,
    ) -> Partition {
        let state = State {
            role: Role::None,
            is_retired: false,
            leader_epoch: -1,
            partition_epoch: -1,
            replicas: Vec::new(),
            isr: Vec::new(),
            pending: None,
            node_id: -1,
            clock,
            lag_max,
            broken,
            log_start: log.log_start_offset(),
            log_end: log.log_end_offset(),
            flushed_end: log.recovery_point(),
            high_watermark: log.high_watermark(),
            leader_high_watermark: Offset::NONE,
            last_stable: log.last_stable_offset(),
            counts_flushed: false,
            min_insync_replicas: 1,
            followers: followers::Followers::default(),
            epoch_start: log.log_end_offset(),
            last_record_epoch: log.last_record_epoch().unwrap_or(-1),
            wants_flush: false,
            unreadable_bytes: 0,
            end_at_clean_up: Offset::NONE,
            deleted: Vec::new(),
            waiters: Waiters::default(),
            measured: LogMeasure::default(),
            settings: None,
        };
        let (log, state) = (Mutex::new(log), Mutex::new(state));
        let log_start_moved = Notify::new();
        Partition { id, topic, log_dir, directory_id, metrics, disk, log, state, log_start_moved }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code that holds this lock panics")
    }

    /// The log; inside a disk job only.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no code that holds this lock panics")
    }

    /// The settings of the topic under an image; worked out once for each version of the configs.
    pub fn settings(&self, image: &Image, server: &Configs, node_id: i32) -> Arc<TopicSettings> {
        if let Some((of, settings)) = &self.state().settings
            && Arc::ptr_eq(of, &image.configs)
        {
            return Arc::clone(settings);
        }
        let settings = Arc::new(TopicSettings::of(image, server, node_id, &self.topic));
        self.set_settings(&image.configs, &settings);
        settings
    }

    /// Keeps the settings that were worked out from a version of the configs.
    pub fn set_settings(&self, of: &Arc<metadata::Configs>, settings: &Arc<TopicSettings>) {
        let mut state = self.state();
        state.min_insync_replicas = settings.min_insync_replicas;
        state.counts_flushed = settings.flush_on_acknowledge;
        state.settings = Some((Arc::clone(of), Arc::clone(settings)));
    }

    pub fn offsets(&self) -> Offsets {
        self.state().offsets()
    }

    /// Appends a batch as the leader. When this returns, its place in the log is fixed; whether it is committed is what
    /// `committed` tells, which is asked with the leader epoch that is returned.
    ///
    /// Cancellation is safe: the job runs whole or not at all.
    pub async fn append_as_leader(
        self: &Arc<Self>,
        produced: Produced,
    ) -> Result<(Appended, i32), AppendError> {
        let (partition, settings) = (Arc::clone(self), Arc::clone(&produced.settings));
        let (appended, leader_epoch) = self.disk.run(move |fs| partition.append(fs, produced)).await??;
        if appended.flush_due || settings.flush_on_acknowledge {
            self.flush_to(appended.last_offset.next(), appended.rolled).await.map_err(AppendError::Flush)?;
        }
        Ok((appended, leader_epoch))
    }

    fn append(&self, fs: &Fs, produced: Produced) -> Result<(Appended, i32), AppendError> {
        let Produced { batch, rules, settings, wants_all, leader_epoch } = produced;
        let mut log = self.log();
        let leader_epoch = {
            let state = self.state();
            state.check_leader(leader_epoch)?;
            let wanted = settings.min_insync_replicas.min(state.replicas.len());
            if wants_all && state.isr.len() < wanted {
                return Err(AppendError::NotEnoughReplicas { in_sync: state.isr.len(), wanted });
            }
            LeaderEpoch(state.leader_epoch)
        };
        let (bytes, records) = (batch.size_bytes() as u64, batch.header.record_count.max(0) as u64);
        let appended = log.append_validated(fs, batch, leader_epoch, &rules, &settings.log)?;
        if !appended.duplicate {
            self.metrics.messages_in.inc_by(records);
            self.metrics.bytes_in.inc_by(bytes);
        }
        let mut state = self.state();
        state.unreadable_bytes += if appended.duplicate { 0 } else { bytes };
        state.wants_flush |= appended.rolled;
        state.observe(&mut log);
        Ok((appended, leader_epoch.0))
    }

    /// Makes everything below `end` durable. The syncs run beside the jobs of the log dir: appends of others go on, and who
    /// waits for the same file at the same time is served by one fdatasync.
    ///
    /// Cancellation is safe: a sync that fails unseen is remembered by the disk, which fails every later one of its file.
    /// `has_finished`: with finished segments, whose last index entries are written in the queue.
    pub async fn flush_to(self: &Arc<Self>, end: Offset, has_finished: bool) -> std::io::Result<()> {
        let gone = std::io::Error::other;
        let (partition, began) = (Arc::clone(self), self.metrics.now());
        let prepare = move |fs: &Fs| {
            let mut log = partition.log();
            if log.recovery_point() < end {
                log.prepare_flush(fs).map(|f| Some(Arc::new(f)))
            } else {
                Ok(None)
            }
        };
        let prepared =
            if has_finished { self.disk.run_slow(prepare).await } else { self.disk.run(prepare).await };
        let Some(flush) = prepared.map_err(gone)?? else { return Ok(()) };
        let syncs = join_all(flush.files().map(|file| self.disk.sync(file.clone()))).await;
        let mut result = Ok(());
        for synced in syncs {
            result = result.and(synced.map_err(gone)?);
        }
        if result.is_ok() && flush.has_names() {
            // A new log, or new segments. Beside the jobs, too: a directory's sync waits for all that the file system has to write.
            let names = Arc::clone(&flush);
            result = self.disk.read_slow(move |fs| names.sync_names(fs)).await.map_err(gone)?;
        }
        let partition = Arc::clone(self);
        let finished = self.disk.run(move |_| {
            let mut log = partition.log();
            log.finish_flush(&flush, result)?;
            partition.state().observe(&mut log);
            Ok(())
        });
        let finished = finished.await.map_err(gone)?;
        self.metrics.flushed(began);
        finished
    }

    /// Makes finished segments durable, if there are any.
    pub async fn flush_finished(self: &Arc<Self>) -> std::io::Result<()> {
        let end = {
            let mut state = self.state();
            if !std::mem::take(&mut state.wants_flush) {
                return Ok(());
            }
            state.log_end
        };
        self.flush_to(end, true).await
    }

    /// Waits until the record at `last_offset`, appended under `leader_epoch`, is committed.
    pub fn committed(&self, last_offset: Offset, leader_epoch: i32) -> CommitWait {
        let mut state = self.state();
        if state.role != Role::Leader || state.leader_epoch != leader_epoch {
            // Another leader may have been there in between: at this offset may be something else.
            return CommitWait::Ready(Commit::Lost);
        }
        if last_offset < state.high_watermark {
            return CommitWait::Ready(Commit::Reached);
        }
        CommitWait::Waiting(state.waiters.wait_for_commit(last_offset))
    }

    /// Whether fewer replicas are in sync than the topic wants: asked after a commit.
    pub fn lacks_replicas(&self, settings: &TopicSettings) -> bool {
        let state = self.state();
        state.isr.len() < settings.min_insync_replicas.min(state.replicas.len())
    }

    /// Parks a fetch until more than what it saw is readable. If that is so already, it is woken. `place` is the number of
    /// this partition in the fetch.
    pub fn park(
        self: &Arc<Self>,
        (parked, place): (&Arc<Parked>, usize),
        isolation: Isolation,
        seen: &Offsets,
    ) -> Option<ParkedHere> {
        let mut state = self.state();
        let (now, beyond) = (state.offsets(), seen.readable_end(isolation));
        // Consumers wait at followers too.
        let may_wait =
            state.role == Role::Leader || state.role == Role::Follower && isolation != Isolation::LogEnd;
        if now != *seen || !may_wait {
            parked.note(place);
        }
        if !may_wait || now.readable_end(isolation) > beyond {
            parked.wake();
            return None;
        }
        let id = state.waiters.park((parked, place), isolation, beyond);
        Some(ParkedHere { partition: Arc::clone(self), id })
    }

    /// The files of segments that were deleted since the last call; see `deleted_files`.
    pub fn take_deleted(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.state().deleted)
    }

    /// What the checkpoints of the log dir say of this log.
    pub fn checkpoint(&self) -> storage::LogCheckpoint {
        // As it was observed last: asked for all logs every few seconds, so it must wait for no job.
        let state = self.state();
        storage::LogCheckpoint {
            recovery_point: state.flushed_end.0,
            log_start_offset: state.log_start.0,
            high_watermark: state.high_watermark.0,
        }
    }

    /// Closes the log: everything is durable then, and nothing can be appended. In a disk job.
    pub fn close(&self, fs: &Fs) -> std::io::Result<()> {
        let mut log = self.log();
        log.close(fs)?;
        self.state().observe(&mut log);
        Ok(())
    }
}

/// A commit that is there, or is waited for.
#[derive(Debug)]
pub enum CommitWait {
    Ready(Commit),
    Waiting(oneshot::Receiver<Commit>),
}

impl CommitWait {
    pub async fn wait(self) -> Commit {
        match self {
            CommitWait::Ready(commit) => commit,
            // The partition itself is gone: its topic was deleted.
            CommitWait::Waiting(receiver) => receiver.await.unwrap_or(Commit::Lost),
        }
    }
}

/// A fetch's place among the waiters; dropping it gives the place up.
#[derive(Debug)]
pub struct ParkedHere {
    partition: Arc<Partition>,
    id: u64,
}

impl Drop for ParkedHere {
    fn drop(&mut self) {
        self.partition.state().waiters.unpark(self.id);
    }
}

impl State {
    /// Up to where a reader of this isolation reads.
    fn readable_end(&self, isolation: Isolation) -> Offset {
        if self.broken.reads_ahead { self.log_end } else { self.offsets().readable_end(isolation) }
    }

    fn offsets(&self) -> Offsets {
        Offsets {
            log_start: self.log_start,
            last_stable: self.last_stable,
            high_watermark: self.high_watermark,
            log_end: self.log_end,
        }
    }

    /// Takes over what the log says, moves the high watermark if it may move, and wakes who can go on.
    fn observe(&mut self, log: &mut Log) {
        let before = self.offsets();
        self.log_start = log.log_start_offset();
        self.log_end = log.log_end_offset();
        self.flushed_end = log.recovery_point();
        if self.log_start != before.log_start {
            self.deleted.extend(log.take_deleted());
        }
        self.last_record_epoch = log.last_record_epoch().unwrap_or(-1);
        if self.role == Role::Leader
            && let Some(target) = self.commit_point()
            && target > log.high_watermark()
        {
            log.set_high_watermark(target);
        }
        self.high_watermark = log.high_watermark();
        self.last_stable = log.last_stable_offset();
        let readable = self.high_watermark == self.log_end;
        let bytes = match self.role {
            // What becomes readable on a follower is not counted: its readers look for themselves.
            Role::Follower => u64::from(u32::MAX),
            _ if readable => std::mem::take(&mut self.unreadable_bytes),
            _ => self.unreadable_bytes,
        };
        if self.offsets() != before {
            self.waiters.advance(&self.offsets(), bytes);
        }
    }

    /// Up to where everybody has the log whom commits wait for; None while too few are in sync to commit anything (KIP-966:
    /// who leaves such an ISR stays eligible, since nothing is committed without it).
    fn commit_point(&self) -> Option<Offset> {
        if self.isr.len() < self.min_insync_replicas.min(self.replicas.len()) {
            return None;
        }
        let own = if self.counts_flushed { self.flushed_end } else { self.log_end };
        let mut point = own;
        for (id, follower) in self.followers.iter() {
            // One that has not fetched since this leader began has nothing for certain.
            let end = follower.log_end.unwrap_or(Offset::ZERO);
            if end < point && self.is_waited_for(id) && !self.broken.commits_alone {
                point = end;
            }
        }
        Some(point)
    }
}
