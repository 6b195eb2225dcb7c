//! The three appends: as leader, as follower, as mirror.
//!
//!     leader      one batch, validated; gets its offsets and the leader's epoch; header and records go out in one write
//!     follower,   any number of batches, whose offsets and epochs are kept; those that go into one segment are one write
//!     mirror
//!
//! Invariant: what is refused changes nothing; what fails on the disk ends the log.

use std::io;
use std::path::Path;

use bytes::Bytes;
use host::Fs;
use protocol::batch::{
    self, AppendRules, Batch, BatchError, BatchHeader, ControlRecord, HEADER_BYTES, NO_TIMESTAMP,
    TimestampType, batches,
};
use protocol::ids::{LeaderEpoch, Offset};

use super::{Log, LogConfig, TAIL_BATCHES};
use crate::producer_state::{Marker, ProducerError, Verdict};
use crate::segment::SEGMENT_BYTES_MAX;

/// Why nothing was appended. After `Io` the log is offline.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Refused(#[from] batch::AppendError),
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error("the batch is corrupt: {0}")]
    Corrupt(#[from] BatchError),
    #[error("the batch has {size} bytes, and a segment takes {max}")]
    LargerThanSegment { size: u64, max: u64 },
    #[error("the batch begins at {found}, and the log ends at {expected}")]
    OffsetsOutOfOrder { expected: i64, found: i64 },
    #[error("the log has no offsets left")]
    OffsetsExhausted,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where records went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// The time of the append if the topic says LogAppendTime, otherwise -1. Of what was there already: its largest timestamp.
    pub log_append_time_ms: i64,
    pub log_start_offset: Offset,
    /// They were there already: nothing was written.
    pub duplicate: bool,
    /// `flush.messages` or `flush.ms` asks for a flush now.
    pub flush_due: bool,
    /// A segment was finished: flush when there is time, so that little is read after a crash.
    pub rolled: bool,
}

/// A batch that is given as it is: its header, where it lies in the records, and the marker in it, if it is one.
struct Given {
    header: BatchHeader,
    from: usize,
    to: usize,
    marker: Option<Marker>,
}

impl Log {
    /// Appends one batch of a producer: it is checked, given its offsets and the leader's epoch, and written with one write.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_as_leader(
        &mut self,
        fs: &Fs,
        records: &Bytes,
        epoch: LeaderEpoch,
        rules: &AppendRules,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let batch = batch::validate_for_append(records, rules)?;
        self.append_validated(fs, batch, epoch, rules, config)
    }

    /// Appends a producer's batch that has passed `protocol::batch::validate_for_append` with the same rules.
    ///
    /// # Errors
    /// See [`AppendError`]; never `Refused`.
    pub fn append_validated(
        &mut self,
        fs: &Fs,
        mut batch: Batch,
        epoch: LeaderEpoch,
        rules: &AppendRules,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        // Before it is judged: what a log refuses after a failed write is no gap in its producer's sequence, and a producer that
        // is told so begins a new epoch and sends again what is here already.
        self.check_failed()?;
        let is_append_time = rules.timestamp_type == TimestampType::LogAppendTime;
        if let Verdict::Duplicate { first_offset, last_offset, timestamp } =
            self.producers.decide(&batch.header)?
        {
            return Ok(Appended {
                first_offset: Offset(first_offset),
                last_offset: Offset(last_offset),
                // Whatever the topic says of times, as in Kafka.
                log_append_time_ms: timestamp,
                log_start_offset: Offset(self.log_start_offset),
                duplicate: true,
                flush_due: false,
                rolled: false,
            });
        }
        if is_append_time {
            batch.header.set_timestamps(TimestampType::LogAppendTime, rules.now_ms, &batch.payload);
        }
        let written = self.write_as_leader(fs, batch, None, epoch, rules.now_ms, config)?;
        let log_append_time_ms = if is_append_time { rules.now_ms } else { NO_TIMESTAMP };
        Ok(Appended { log_append_time_ms, ..written })
    }

    /// Appends a batch that this node made itself: a coordinator's records, or a marker of transactions of version 0 and 1.
    ///
    /// # Errors
    /// See [`AppendError`]; never `Refused`.
    pub fn append_own(
        &mut self,
        fs: &Fs,
        batch: Batch,
        epoch: LeaderEpoch,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        self.append_marker(fs, batch, 0, epoch, now_ms, config)
    }

    /// As `append_own`; `transaction_version` is the one that the coordinator used for a marker (KIP-890).
    ///
    /// # Errors
    /// See [`AppendError`]; never `Refused`.
    pub fn append_marker(
        &mut self,
        fs: &Fs,
        batch: Batch,
        transaction_version: i16,
        epoch: LeaderEpoch,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        self.check_failed()?;
        let marker = marker_of(&batch)?;
        if let Some(marker) = marker {
            self.producers.decide_marker(&batch.header, marker, transaction_version)?;
        }
        self.write_as_leader(fs, batch, marker, epoch, now_ms, config)
    }

    fn write_as_leader(
        &mut self,
        fs: &Fs,
        mut batch: Batch,
        marker: Option<Marker>,
        epoch: LeaderEpoch,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let size = batch.size_bytes() as u64;
        if size > config.segment_bytes {
            return Err(AppendError::LargerThanSegment { size, max: config.segment_bytes });
        }
        batch.header.base_offset = Offset(self.log_end_offset);
        batch.header.leader_epoch = epoch;
        let header = batch.header;
        check_offsets(&header)?;
        let rolled = self.guarded(|log| {
            let rolled = log.roll_is_due(fs, &header, 0, size, now_ms, config)?;
            if rolled {
                log.roll_at_end(fs)?;
            }
            log.begin_segment(fs, now_ms, config)?;
            log.active().write(fs, &[&header.to_bytes(), &batch.payload])?;
            log.note(fs, &header, marker, config)?;
            Ok(rolled)
        })?;
        Ok(self.appended(header.base_offset, rolled, now_ms, config))
    }

    /// Appends batches of the leader as they are: offsets and epochs are kept, gaps are allowed.
    ///
    /// Returns None if there was no whole batch in `records`; one that is cut off at their end is ignored.
    ///
    /// # Errors
    /// See [`AppendError`]; never `Refused`, `Producer` or `LargerThanSegment`.
    pub fn append_as_follower(
        &mut self,
        fs: &Fs,
        records: Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Option<Appended>, AppendError> {
        self.append_given(fs, &records, now_ms, config)
    }

    /// Appends batches of another cluster's log as they are. The same as a follower's append; who may call it differs.
    ///
    /// # Errors
    /// As `append_as_follower`.
    pub fn append_as_mirror(
        &mut self,
        fs: &Fs,
        records: Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Option<Appended>, AppendError> {
        self.append_given(fs, &records, now_ms, config)
    }

    fn append_given(
        &mut self,
        fs: &Fs,
        records: &Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Option<Appended>, AppendError> {
        let given = check_given(records, self.log_end_offset)?;
        let Some(first) = given.first() else { return Ok(None) };
        let first_offset = first.header.base_offset;
        let rolled = self.guarded(|log| {
            log.rebase_empty(fs, &first.header)?;
            log.begin_segment(fs, now_ms, config)?;
            let (mut rolled, mut run) = (false, 0);
            for at in 0..given.len() {
                let pending = (given[at].from - given[run].from) as u64;
                let size = (given[at].to - given[at].from) as u64;
                if log.roll_is_due(fs, &given[at].header, pending, size, now_ms, config)? {
                    log.write_run(fs, records, &given[run..at], config)?;
                    log.roll_at_end(fs)?;
                    log.begin_segment(fs, now_ms, config)?;
                    (rolled, run) = (true, at);
                }
            }
            log.write_run(fs, records, &given[run..], config)?;
            Ok(rolled)
        })?;
        Ok(Some(self.appended(first_offset, rolled, now_ms, config)))
    }

    /// Before the first batch that this life writes to a segment.
    fn begin_segment(&mut self, fs: &Fs, now_ms: i64, config: &LogConfig) -> io::Result<()> {
        let active = self.active();
        if active.written_since_ms.is_some() {
            return Ok(());
        }
        active.written_since_ms = Some(now_ms);
        if config.preallocate && active.size_bytes == 0 {
            active.reserve(fs, config.segment_bytes)?;
        }
        Ok(())
    }

    /// Batches that stand beside each other and go into the same segment: one write.
    fn write_run(&mut self, fs: &Fs, records: &Bytes, run: &[Given], config: &LogConfig) -> io::Result<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        self.active().write(fs, &[&records[first.from..last.to]])?;
        for given in run {
            self.note(fs, &given.header, given.marker, config)?;
        }
        Ok(())
    }

    /// An empty log whose first batch is too far away for its segment's index begins anew at that batch.
    fn rebase_empty(&mut self, fs: &Fs, first: &BatchHeader) -> io::Result<()> {
        let is_empty = self.segments.len() == 1 && self.segments[0].size_bytes == 0;
        let base = self.segments[0].base_offset;
        if !is_empty || first.last_offset().0 - base <= i64::from(i32::MAX) {
            return Ok(());
        }
        self.log_end_offset = first.base_offset.0;
        self.roll_at_end(fs)?;
        self.delete_segments_below(fs, first.base_offset.0)
    }

    /// Takes a batch that was written into everything that is known of the log.
    fn note(
        &mut self,
        fs: &Fs,
        header: &BatchHeader,
        marker: Option<Marker>,
        config: &LogConfig,
    ) -> io::Result<()> {
        let position = self.active().size_bytes;
        self.leader_epochs.assign(header.leader_epoch.0, header.base_offset.0);
        self.active().note(fs, header, config.index_interval_bytes)?;
        if self.tail.len() == TAIL_BATCHES {
            self.tail.pop_front();
        }
        self.tail.push_back((header.last_offset().0, position));
        self.log_end_offset = header.next_offset().0;
        self.bytes_since_snapshot += header.size_bytes() as u64;
        self.apply_to_producers(fs, header, marker)
    }

    fn appended(&mut self, first_offset: Offset, rolled: bool, now_ms: i64, config: &LogConfig) -> Appended {
        Appended {
            first_offset,
            last_offset: Offset(self.log_end_offset - 1),
            log_append_time_ms: NO_TIMESTAMP,
            log_start_offset: Offset(self.log_start_offset),
            duplicate: false,
            flush_due: self.flush_is_due(now_ms, config),
            rolled,
        }
    }

    /// Whether a batch must go into a new segment. `pending` bytes are about to be written before it.
    fn roll_is_due(
        &mut self,
        fs: &Fs,
        header: &BatchHeader,
        pending: u64,
        size: u64,
        now_ms: i64,
        config: &LogConfig,
    ) -> io::Result<bool> {
        let active = self.active();
        if header.last_offset().0 - active.base_offset > i64::from(i32::MAX) {
            return Ok(true);
        }
        let filled = active.size_bytes + pending;
        if filled == 0 {
            return Ok(false);
        }
        // Kafka counts the age of a segment in its records' own time, or in its own where the first batch tells none.
        let age = match active.first_timestamp.filter(|first| *first >= 0) {
            Some(first) => header.max_timestamp.saturating_sub(first),
            None => now_ms.saturating_sub(active.written_since_ms.unwrap_or(now_ms)),
        };
        let base_offset = active.base_offset;
        let age_max = config.segment_ms - jitter_ms(&self.dir, base_offset, config);
        let active = self.active();
        Ok(filled + size > config.segment_bytes.min(SEGMENT_BYTES_MAX)
            || age > age_max
            || active.index_is_full(fs, config.segment_index_bytes)?)
    }

    fn flush_is_due(&mut self, now_ms: i64, config: &LogConfig) -> bool {
        let unflushed = self.log_end_offset - self.recovery_point;
        let due = unflushed >= config.flush_messages
            || (config.flush_ms < i64::MAX && now_ms.saturating_sub(self.last_flush_ms) >= config.flush_ms);
        if due {
            self.last_flush_ms = now_ms;
        }
        due
    }
}

/// How much earlier than `segment.ms` a segment is finished: by its name, so that it is the same each time.
fn jitter_ms(dir: &Path, base_offset: i64, config: &LogConfig) -> i64 {
    let limit = config.segment_jitter_ms.min(config.segment_ms);
    if limit <= 0 {
        return 0;
    }
    let of_log = crc32c::crc32c(dir.as_os_str().as_encoded_bytes());
    let hash = crc32c::crc32c_append(of_log, &base_offset.to_be_bytes());
    i64::from(hash) % limit
}

/// The whole batches in `records`, each of them sound, in order, and not below `end`.
fn check_given(records: &Bytes, end: i64) -> Result<Vec<Given>, AppendError> {
    let (mut given, mut expected, mut from) = (Vec::new(), end, 0);
    for batch in batches(records.clone()) {
        let batch = batch?;
        batch.check_crc()?;
        check_offsets(&batch.header)?;
        let found = batch.header.base_offset.0;
        if found < expected {
            return Err(AppendError::OffsetsOutOfOrder { expected, found });
        }
        expected = batch.header.next_offset().0;
        let to = from + batch.size_bytes();
        given.push(Given { header: batch.header, from, to, marker: marker_of(&batch)? });
        from = to;
    }
    debug_assert!(given.iter().all(|g| g.to - g.from >= HEADER_BYTES));
    Ok(given)
}

/// Offsets must not run out within a batch, and its last must not be below its first.
fn check_offsets(header: &BatchHeader) -> Result<(), AppendError> {
    let delta = i64::from(header.last_offset_delta);
    if delta < 0 || header.base_offset.0.checked_add(delta + 1).is_none() {
        return Err(AppendError::OffsetsExhausted);
    }
    Ok(())
}

/// The end-of-transaction marker in a control batch; None for other batches.
pub(super) fn marker_of(batch: &Batch) -> Result<Option<Marker>, BatchError> {
    if !batch.header.is_control() {
        return Ok(None);
    }
    let mut records = batch.records(protocol::bounds::DECOMPRESSED_BATCH_BYTES_MAX)?;
    let Some(record) = records.next() else { return Ok(None) };
    let record = record?;
    let marker =
        |commit, coordinator_epoch| Marker { commit, coordinator_epoch, timestamp: record.timestamp };
    Ok(match ControlRecord::read(&record) {
        Ok(Some(ControlRecord::Commit(m))) => Some(marker(true, m.coordinator_epoch)),
        Ok(Some(ControlRecord::Abort(m))) => Some(marker(false, m.coordinator_epoch)),
        _ => None,
    })
}
