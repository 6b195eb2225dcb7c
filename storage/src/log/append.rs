//! The three appends: as leader, as follower, as mirror.

use std::io;

use bytes::Bytes;
use host::Fs;
use protocol::batch::{self, AppendRules, Batch, BatchError, BatchHeader, ControlRecord, TimestampType, batches};
use protocol::ids::{LeaderEpoch, Offset};

use super::{Log, LogConfig, TAIL_BATCHES};
use crate::producer_state::{Marker, ProducerError, Verdict};

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
    /// The time of the append if the topic says LogAppendTime, otherwise -1.
    pub log_append_time_ms: i64,
    pub log_start_offset: Offset,
    /// They were there already: nothing was written.
    pub duplicate: bool,
    /// `flush.messages` or `flush.ms` asks for a sync now.
    pub flush_due: bool,
}

impl Log {
    /// Appends one batch of a producer: it is checked, given its offsets and the leader's epoch, and written with one write.
    pub fn append_as_leader(
        &mut self,
        fs: &Fs,
        records: &Bytes,
        epoch: LeaderEpoch,
        rules: &AppendRules,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let batch = batch::validate_for_append(records, rules)?;
        self.append_batch_as_leader(fs, batch, epoch, rules, config)
    }

    /// Appends a batch that this node made itself: a coordinator's records, a transaction marker.
    pub fn append_own(
        &mut self,
        fs: &Fs,
        batch: Batch,
        epoch: LeaderEpoch,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let rules = AppendRules { now_ms, ..AppendRules::default() };
        self.append_batch_as_leader(fs, batch, epoch, &rules, config)
    }

    fn append_batch_as_leader(
        &mut self,
        fs: &Fs,
        mut batch: Batch,
        epoch: LeaderEpoch,
        rules: &AppendRules,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let marker = marker_of(&batch)?;
        match marker {
            Some(marker) => self.producers.decide_marker(&batch.header, marker)?,
            None => {
                if let Verdict::Duplicate { first_offset, last_offset, timestamp } = self.producers.decide(&batch.header)? {
                    return Ok(Appended {
                        first_offset: Offset(first_offset),
                        last_offset: Offset(last_offset),
                        log_append_time_ms: if is_append_time(rules) { timestamp } else { -1 },
                        log_start_offset: Offset(self.log_start_offset),
                        duplicate: true,
                        flush_due: false,
                    });
                }
            }
        }
        batch.header.base_offset = Offset(self.log_end_offset);
        batch.header.leader_epoch = epoch;
        if is_append_time(rules) {
            batch.header.set_timestamps(TimestampType::LogAppendTime, rules.now_ms, &batch.payload);
        }
        let log_append_time_ms = if is_append_time(rules) { rules.now_ms } else { -1 };
        let written = self.write(fs, &batch, marker, rules.now_ms, config)?;
        Ok(Appended { log_append_time_ms, ..written })
    }

    /// Appends batches of the leader as they are: offsets and epochs are kept, gaps are allowed.
    ///
    /// Returns None if there was no whole batch in `records`.
    pub fn append_as_follower(
        &mut self,
        fs: &Fs,
        records: Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Option<Appended>, AppendError> {
        self.append_given(fs, records, now_ms, config)
    }

    /// Appends batches of another cluster's log as they are. The same as a follower's append; who may call it differs.
    pub fn append_as_mirror(
        &mut self,
        fs: &Fs,
        records: Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Option<Appended>, AppendError> {
        self.append_given(fs, records, now_ms, config)
    }

    fn append_given(
        &mut self,
        fs: &Fs,
        records: Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Option<Appended>, AppendError> {
        let mut all: Option<Appended> = None;
        for batch in batches(records) {
            let batch = batch?;
            batch.check_crc()?;
            let (expected, found) = (self.log_end_offset, batch.header.base_offset.0);
            if found < expected {
                return Err(AppendError::OffsetsOutOfOrder { expected, found });
            }
            if self.segments.len() == 1 && self.active().size_bytes == 0 && self.log_end_offset == self.log_start_offset {
                // The first batch of an empty log may begin later: the log begins with it no earlier than it says.
                self.rebase_empty(fs, found)?;
            }
            let marker = marker_of(&batch)?;
            let written = self.write(fs, &batch, marker, now_ms, config)?;
            all = Some(match all {
                None => written,
                Some(first) => Appended { last_offset: written.last_offset, flush_due: first.flush_due || written.flush_due, ..first },
            });
        }
        Ok(all)
    }

    /// An empty log's segment takes the name of the first batch that comes, if that leaves no gap in its index's range.
    fn rebase_empty(&mut self, fs: &Fs, first: i64) -> io::Result<()> {
        let base = self.active().base_offset;
        if first - base <= i64::from(i32::MAX) {
            return Ok(());
        }
        self.guarded(|log| {
            log.log_end_offset = first;
            log.roll_at_end(fs)?;
            log.delete_segments_below(fs, first)
        })
    }

    fn write(
        &mut self,
        fs: &Fs,
        batch: &Batch,
        marker: Option<Marker>,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let size = batch.size_bytes() as u64;
        if size > config.segment_bytes {
            return Err(AppendError::LargerThanSegment { size, max: config.segment_bytes });
        }
        let header = batch.header;
        let first = header.base_offset.0;
        if first.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return Err(AppendError::OffsetsExhausted);
        }
        self.guarded(|log| {
            if log.roll_is_due(&header, size, now_ms, config) {
                log.roll_at_end(fs)?;
            }
            log.leader_epochs.assign(fs, header.leader_epoch.0, first)?;
            let position = log.active().size_bytes;
            log.active().append(fs, &header, &batch.payload, config.index_interval_bytes)?;
            log.tail.push_back((header.last_offset().0, position));
            if log.tail.len() > TAIL_BATCHES {
                log.tail.pop_front();
            }
            log.log_end_offset = header.last_offset().0 + 1;
            log.apply_to_producers(fs, &header, marker)
        })?;
        Ok(Appended {
            first_offset: Offset(first),
            last_offset: header.last_offset(),
            log_append_time_ms: -1,
            log_start_offset: Offset(self.log_start_offset),
            duplicate: false,
            flush_due: self.flush_is_due(now_ms, config),
        })
    }

    fn roll_is_due(&mut self, header: &BatchHeader, size: u64, now_ms: i64, config: &LogConfig) -> bool {
        let active = self.active();
        if active.size_bytes == 0 {
            // An empty segment is rolled only if the batch's offsets do not fit its index.
            return header.last_offset().0 - active.base_offset > i64::from(i32::MAX);
        }
        // Kafka counts the age in the records' own time where they have one.
        let clock = if header.max_timestamp >= 0 { header.max_timestamp } else { now_ms };
        let age = active.first_timestamp.filter(|t| *t >= 0).map_or(0, |first| clock.saturating_sub(first));
        active.size_bytes + size > config.segment_bytes
            || age > config.segment_ms
            || active.index_is_full(config.segment_index_bytes)
            || header.last_offset().0 - active.base_offset > i64::from(i32::MAX)
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

fn is_append_time(rules: &AppendRules) -> bool {
    rules.timestamp_type == TimestampType::LogAppendTime
}

/// The end-of-transaction marker in a control batch; None for other batches.
pub(super) fn marker_of(batch: &Batch) -> Result<Option<Marker>, BatchError> {
    if !batch.header.is_control() {
        return Ok(None);
    }
    let mut records = batch.records(protocol::bounds::DECOMPRESSED_BATCH_BYTES_MAX)?;
    let Some(record) = records.next() else { return Ok(None) };
    Ok(match ControlRecord::read(&record?) {
        Ok(Some(ControlRecord::Commit(m))) => Some(Marker { commit: true, coordinator_epoch: m.coordinator_epoch }),
        Ok(Some(ControlRecord::Abort(m))) => Some(Marker { commit: false, coordinator_epoch: m.coordinator_epoch }),
        _ => None,
    })
}
