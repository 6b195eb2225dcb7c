//! One replica's log: an ordered run of segments, only the last of which is written.
//!
//!     00000.log         01200.log         02377.log   <- base offset names the file; the last one is active
//!     [ ....|------- ]  [ ------------ ]  [ -----|--- ]
//!           |                                    |    '- log end 02911: the next offset to be given
//!           '- log start 00431                   '- recovery point 02650: below it everything is durable
//!
//! A log is synchronous and is used inside a disk job. Its settings are an argument of each call, since a topic's config
//! may change at any time; so is the time. A failed write or sync is never tried again: the log refuses everything from
//! then on, with the reason.
//!
//! Invariant: knows nothing of leaders, requests or other replicas' high watermarks; never reads the clock. A segment's base
//! offset is where the one before it ends; the log end is the offset after the last batch.

mod append;
mod find;
mod flush;
mod open;
mod read;
mod recover;
mod retention;
mod transactions;
mod truncate;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Fs;
use protocol::Uuid;
use protocol::ids::Offset;

use crate::leader_epochs::LeaderEpochs;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::segment::Segment;

pub use append::{AppendError, Appended};
pub use find::FoundTimestamp;
pub use flush::Flush;
pub use open::{LogFiles, OpenError};
pub use read::{Read, ReadError, ReadLimits, Slice};
pub use retention::Retention;

/// The settings of a log, each of them a topic config of Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`: a segment is finished by up to so much earlier, so that not all logs do it at once.
    pub segment_jitter_ms: i64,
    /// `preallocate`: a new segment takes its room on the disk at once.
    pub preallocate: bool,
    /// `segment.index.bytes`
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u64,
    /// `flush.messages`: a sync after so many records.
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `producer.id.expiration.ms`
    pub producer_expiration_ms: i64,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            preallocate: false,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            producer_expiration_ms: 24 * 3600 * 1000,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Log {
    dir: Arc<Path>,
    topic_id: Option<Uuid>,
    /// Ascending by base offset, never empty. A list, since an idle log has one.
    segments: Vec<Segment>,
    log_start_offset: i64,
    /// The first offset that is on this disk; below it, down to the log start, records are in tiered storage.
    local_log_start_offset: i64,
    log_end_offset: i64,
    /// Everything below is durable.
    recovery_point: i64,
    high_watermark: i64,
    leader_epochs: LeaderEpochs,
    producers: ProducerState,
    /// Where the newest batches of the active segment stand (last offset, position): a consumer at the end needs no index.
    tail: VecDeque<(i64, u64)>,
    failed: Option<String>,
    last_flush_ms: i64,
    /// Counts files made, renamed or removed, and how many of these changes are durable.
    names_changed: u64,
    names_synced: u64,
    /// Counts cuts: a flush that began before one says nothing of what is written after it.
    cuts: u64,
    /// Bytes of log since the newest snapshot of the producers.
    bytes_since_snapshot: u64,
    recovered_bytes: u64,
    /// Files of deleted segments, under other names, that nobody has taken to remove them.
    deleted: Vec<PathBuf>,
}

/// Batches whose place is remembered.
const TAIL_BATCHES: usize = 32;

impl Log {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    pub fn log_start_offset(&self) -> Offset {
        Offset(self.log_start_offset)
    }

    /// The first offset on this disk; at the log start unless older segments are in tiered storage.
    pub fn local_log_start_offset(&self) -> Offset {
        Offset(self.local_log_start_offset)
    }

    /// The next offset to be given.
    pub fn log_end_offset(&self) -> Offset {
        Offset(self.log_end_offset)
    }

    /// Everything below survives a loss of power.
    pub fn recovery_point(&self) -> Offset {
        Offset(self.recovery_point)
    }

    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark)
    }

    /// Moves the high watermark, as the partition's leader tells; it stays within the log.
    pub fn set_high_watermark(&mut self, high_watermark: Offset) {
        self.high_watermark = high_watermark.0.clamp(self.log_start_offset, self.log_end_offset);
        self.producers.advance_high_watermark(self.high_watermark);
    }

    /// How far a consumer at read_committed may read: the high watermark, or the first unstable offset below it.
    pub fn last_stable_offset(&self) -> Offset {
        let unstable = self.producers.first_unstable_offset().unwrap_or(i64::MAX);
        Offset(unstable.max(self.log_start_offset).min(self.high_watermark))
    }

    pub fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// Forgets idle producers, `now_ms` being the wall clock.
    pub fn expire_producers(&mut self, now_ms: i64, config: &LogConfig) {
        self.producers.expire(now_ms, config.producer_expiration_ms);
    }

    /// Bytes of all segments' batches.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size_bytes).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of batches that were read and checked when the log was opened: 0 after a stop in order.
    pub fn recovered_bytes(&self) -> u64 {
        self.recovered_bytes
    }

    /// The files of segments that were deleted since the last call: out of the log already, to be removed by the caller when
    /// it likes (`file.delete.delay.ms`). The next opening removes what is left.
    pub fn take_deleted(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.deleted)
    }

    /// Why the log refuses everything, if it does.
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The newest leader epoch that has written here.
    pub fn latest_leader_epoch(&self) -> Option<i32> {
        self.leader_epochs.latest()
    }

    /// The leader epoch of the last record; None if there is none. What a follower tells with its fetches.
    pub fn last_record_epoch(&self) -> Option<i32> {
        if self.log_end_offset == self.log_start_offset {
            return None;
        }
        self.leader_epochs.epoch_of(self.log_end_offset - 1)
    }

    /// The leader epochs and where each began.
    pub fn leader_epochs(&self) -> &[(i32, i64)] {
        self.leader_epochs.entries()
    }

    pub fn leader_epoch_of(&self, offset: Offset) -> Option<i32> {
        self.leader_epochs.epoch_of(offset.0)
    }

    /// For OffsetForLeaderEpoch: the largest epoch that is not above `epoch`, and where it ended.
    pub fn end_of_leader_epoch(&self, epoch: i32) -> Option<(i32, Offset)> {
        self.leader_epochs.end_of(epoch, self.log_end_offset).map(|(e, o)| (e, Offset(o)))
    }

    /// Notes that a leader epoch begins at the end of the log. Written with the next flush: see `leader_epochs`.
    ///
    /// # Errors
    /// When the log has failed before.
    pub fn begin_leader_epoch(&mut self, _fs: &Fs, epoch: i32) -> io::Result<()> {
        let end = self.log_end_offset;
        self.guarded(|log| {
            log.leader_epochs.assign(epoch, end);
            Ok(())
        })
    }

    /// Lets go of what a log holds for its readers and writers, while it has none: open files, and the places of its newest
    /// batches. What is needed is made again.
    pub fn rest(&mut self) {
        self.tail = VecDeque::new();
        for segment in &mut self.segments {
            segment.release();
        }
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// The index in `segments` of the one that may hold an offset.
    fn segment_of(&self, offset: i64) -> usize {
        self.segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1)
    }

    fn check_failed(&self) -> io::Result<()> {
        match &self.failed {
            Some(reason) => Err(io::Error::other(format!("{} is offline: {reason}", self.dir.display()))),
            None => Ok(()),
        }
    }

    /// Runs what writes to the disk; its first failure ends the log.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Log) -> io::Result<T>) -> io::Result<T> {
        self.check_failed()?;
        act(self).inspect_err(|error| self.failed = Some(error.to_string()))
    }

    /// Begins a new segment at the end of the log. Does nothing if the active one is empty.
    ///
    /// # Errors
    /// When writing fails; the log has failed then.
    pub fn roll(&mut self, fs: &Fs) -> io::Result<()> {
        self.guarded(|log| log.roll_at_end(fs))
    }

    fn roll_at_end(&mut self, fs: &Fs) -> io::Result<()> {
        let end = self.log_end_offset;
        if self.active().size_bytes == 0 && self.active().base_offset == end {
            return Ok(());
        }
        // The state of the producers as of here, so that opening need not read what is before.
        self.write_snapshot(fs, false)?;
        self.active().retire(fs)?;
        let segment = Segment::create(fs, &self.dir, end)?;
        self.names_changed += 1;
        self.segments.push(segment);
        self.tail.clear();
        Ok(())
    }

    /// Writes the state of the producers at the log end.
    fn write_snapshot(&mut self, fs: &Fs, sync: bool) -> io::Result<()> {
        producer_snapshot::write(fs, &self.dir, self.log_end_offset, &self.producers, sync)?;
        self.bytes_since_snapshot = 0;
        self.names_changed += 1;
        Ok(())
    }

    /// Writes everything down, so that the next opening finds all in order. The log refuses appends afterwards.
    ///
    /// # Errors
    /// When writing fails, or the log has failed before.
    pub fn close(&mut self, fs: &Fs) -> io::Result<()> {
        self.guarded(|log| {
            log.active().finish_time_index(fs)?;
            log.write_snapshot(fs, true)?;
            log.drop_snapshots(fs)?;
            log.active().mark_dirty();
            log.active().give_back_reserve(fs)?;
            for segment in &mut log.segments {
                segment.sync(fs)?;
                segment.release();
            }
            Ok(())
        })?;
        self.flush(fs)?;
        self.failed = Some("it was closed".to_owned());
        Ok(())
    }

    /// Removes snapshots that nothing will be opened with: all but those at the beginning of a segment, and the newest.
    fn drop_snapshots(&mut self, fs: &Fs) -> io::Result<()> {
        let mut offsets = producer_snapshot::list(&fs.list(&self.dir)?);
        offsets.pop();
        for offset in offsets {
            if self.segments[self.segment_of(offset)].base_offset != offset {
                fs.remove_file(&producer_snapshot::path(&self.dir, offset))?;
                self.names_changed += 1;
            }
        }
        Ok(())
    }

    /// Moves the log start forward: what is below may be deleted. Segments that lie below it as a whole are deleted here.
    ///
    /// # Errors
    /// When deleting fails; the log has failed then.
    ///
    /// # Panics
    /// When `start` is beyond the log end.
    pub fn advance_log_start(&mut self, fs: &Fs, start: Offset) -> io::Result<()> {
        if start.0 <= self.log_start_offset {
            return Ok(());
        }
        assert!(start.0 <= self.log_end_offset, "the log start is within the log");
        self.guarded(|log| {
            log.log_start_offset = start.0;
            log.local_log_start_offset = log.local_log_start_offset.max(start.0);
            log.high_watermark = log.high_watermark.max(start.0);
            log.leader_epochs.truncate_from_start(start.0);
            log.producers.advance_high_watermark(start.0);
            log.delete_segments_below(fs, start.0)
        })
    }

    /// Moves the local log start forward: what is below is in tiered storage, and its segments are deleted here.
    ///
    /// # Errors
    /// When deleting fails; the log has failed then.
    ///
    /// # Panics
    /// When `start` is beyond the log end.
    pub fn advance_local_log_start(&mut self, fs: &Fs, start: Offset) -> io::Result<()> {
        if start.0 <= self.local_log_start_offset {
            return Ok(());
        }
        assert!(start.0 <= self.log_end_offset, "the local log start is within the log");
        self.guarded(|log| {
            log.local_log_start_offset = start.0;
            log.delete_segments_below(fs, start.0)
        })
    }

    fn delete_segments_below(&mut self, fs: &Fs, start: i64) -> io::Result<()> {
        let keep_from = self.segment_of(start);
        if keep_from == 0 {
            return Ok(());
        }
        let base_offset = self.segments[keep_from].base_offset;
        // What the producers did in the segments that go is in this snapshot alone; an older one is worth nothing then.
        if let Some(snapshot) = producer_snapshot::file(fs, &self.dir, base_offset)? {
            snapshot.sync()?;
        }
        fs.sync_dir(&self.dir)?;
        for offset in producer_snapshot::list(&fs.list(&self.dir)?).into_iter().filter(|o| *o < base_offset) {
            fs.remove_file(&producer_snapshot::path(&self.dir, offset))?;
        }
        let gone = self.segments.drain(..keep_from).collect();
        self.deleted.extend(Segment::mark_deleted(fs, &self.dir, gone)?);
        self.names_changed += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
