//! What a leader accepts from a producer, and how it refuses: Kafka's order of checks and Kafka's error codes.
//!
//! ```text
//!  frame of batches -> header -> CRC -> counts and flags -> walk over every record -> a batch ready to be written
//!  CORRUPT_MESSAGE     TOO_LARGE  CORRUPT  INVALID_RECORD      INVALID_RECORD, INVALID_TIMESTAMP
//! ```
//! The walk reads lengths, deltas and timestamps and skips keys and values; compressed records are decompressed through a
//! small window to be walked, and stored as they came.
//!
//! Invariant: what is accepted, every consumer can read: structure, counts, offsets and compression are all checked.
//! Where Kafka checks less (offset deltas of uncompressed records, overlong integers), this is stricter.

use bytes::Bytes;

use super::compression::Decompressor;
use super::record::walk_record;
use super::varint::{Slice, Source, Window, failure};
use super::{Batch, BatchError, BatchHeader, Compression, NO_TIMESTAMP, TimestampType, batches};
use crate::ErrorCode;
use crate::bounds::{DECOMPRESSED_BATCH_BYTES_MAX, RECORD_ERRORS_MAX};
use crate::ids::Offset;

/// The settings that a produced batch is held against, most of them configs of its topic.
#[derive(Clone, Copy, Debug)]
pub struct AppendRules {
    /// Version of the produce request: zstd needs 7.
    pub produce_version: i16,
    /// `max.message.bytes`: of the batch, as compressed, header included.
    pub batch_bytes_max: usize,
    /// Whether `cleanup.policy` has `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// Wall clock.
    pub now_ms: i64,
    /// `compression.type`; None is `producer`: as it came.
    pub compression: Option<Compression>,
    /// `compression.<type>.level`.
    pub compression_level: Option<i32>,
    pub decompressed_bytes_max: usize,
}

impl Default for AppendRules {
    /// Kafka's defaults for a topic; `now_ms` is 0 and must be set where the limit to the future is.
    fn default() -> Self {
        AppendRules {
            produce_version: i16::MAX,
            batch_bytes_max: crate::bounds::BATCH_BYTES_MAX,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: i64::MAX,
            now_ms: 0,
            compression: None,
            compression_level: None,
            decompressed_bytes_max: DECOMPRESSED_BATCH_BYTES_MAX,
        }
    }
}

/// Why a produced batch is refused. [`AppendError::code`] is the answer on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("a partition of a produce request must carry exactly one record batch, not {0}")]
    BatchCount(usize),
    #[error("a produce request must carry record batches with magic 2, not {0}")]
    OldFormat(i8),
    #[error("the batch is corrupt: {0}")]
    Corrupt(BatchError),
    #[error("zstd needs version 7 of the produce request, not {0}")]
    ZstdBefore7(i16),
    #[error("unknown compression type {0}")]
    UnknownCompression(i8),
    #[error("the batch has {size} bytes, and the topic takes at most {max}")]
    TooLarge { size: usize, max: usize },
    #[error("the base offset of a produced batch must be 0, not {0}")]
    BaseOffset(i64),
    #[error("the batch announces {count} records and a last offset delta of {last_offset_delta}")]
    Counts { count: i32, last_offset_delta: i32 },
    #[error("clients may not write control records")]
    Control,
    #[error("a batch with a producer id needs a sequence number, not {0}")]
    Sequence(i32),
    #[error("{0}")]
    Malformed(BatchError),
    #[error("{} of the records are refused; the first: {}", .0.len(), .0[0].fault)]
    Records(Vec<RecordError>),
}

/// One record that is refused, by its index in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    pub index: i32,
    pub fault: RecordFault,
}

/// What is wrong with one record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("a compacted topic cannot take a record without key")]
    NoKey,
    #[error("the timestamp {timestamp} is out of range: it should be within [{min}, {max}]")]
    TimestampOutOfRange { timestamp: i64, min: i64, max: i64 },
    #[error("a producer should not set the timestamp type to LogAppendTime")]
    LogAppendTime,
    #[error("the offset delta is {found}, not {expected}")]
    OffsetDelta { expected: i32, found: i32 },
}

impl RecordFault {
    fn code(&self) -> ErrorCode {
        match self {
            RecordFault::NoKey | RecordFault::OffsetDelta { .. } => ErrorCode::InvalidRecord,
            RecordFault::TimestampOutOfRange { .. } | RecordFault::LogAppendTime => {
                ErrorCode::InvalidTimestamp
            }
        }
    }
}

impl AppendError {
    /// Kafka's error code for the partition's answer.
    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
            AppendError::ZstdBefore7(_) | AppendError::UnknownCompression(_) => {
                ErrorCode::UnsupportedCompressionType
            }
            AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            AppendError::Records(errors) => errors[0].fault.code(),
            AppendError::BatchCount(_)
            | AppendError::OldFormat(_)
            | AppendError::BaseOffset(_)
            | AppendError::Counts { .. }
            | AppendError::Control
            | AppendError::Sequence(_)
            | AppendError::Malformed(_) => ErrorCode::InvalidRecord,
        }
    }

    /// The records at fault, for `record_errors` of the answer; empty when it is the batch.
    pub fn record_errors(&self) -> &[RecordError] {
        if let AppendError::Records(errors) = self { errors } else { &[] }
    }
}

/// Checks the records of one partition of a produce request, and makes of them the batch to be written.
///
/// The batch that is returned has its timestamps and CRC as the topic wants them, and is recompressed if the topic says
/// so; base offset and leader epoch are left to the log. Unless recompressed, its payload is a slice of `records`.
/// A batch that is cut off at the end of `records` is ignored, as Kafka does, if a whole one comes before it.
///
/// # Errors
/// See [`AppendError`].
pub fn validate_for_append(records: &Bytes, rules: &AppendRules) -> Result<Batch, AppendError> {
    let mut batch = only_batch(records, rules)?;
    let header = batch.header;
    if header.base_offset != Offset::ZERO {
        return Err(AppendError::BaseOffset(header.base_offset.0));
    }
    let too_large = |size: usize| AppendError::TooLarge { size, max: rules.batch_bytes_max };
    if batch.size_bytes() > rules.batch_bytes_max {
        return Err(too_large(batch.size_bytes()));
    }
    batch.check_crc().map_err(AppendError::Corrupt)?;
    let compression = known_compression(&header)?;
    check_header(&header)?;
    let max_timestamp = walk(&batch, compression, rules)?;

    let max_timestamp = match rules.timestamp_type {
        TimestampType::CreateTime => max_timestamp,
        TimestampType::LogAppendTime => rules.now_ms,
    };
    batch.header.set_timestamps(rules.timestamp_type, max_timestamp, &batch.payload);
    if let Some(target) = rules.compression.filter(|target| *target != compression) {
        batch = recompress(&batch, target, rules).map_err(AppendError::Malformed)?;
        if batch.size_bytes() > rules.batch_bytes_max {
            return Err(too_large(batch.size_bytes()));
        }
    }
    Ok(batch)
}

/// The one batch of format 2 in `records`.
fn only_batch(records: &Bytes, rules: &AppendRules) -> Result<Batch, AppendError> {
    let mut all = batches(records.clone());
    let batch = match all.next() {
        Some(Ok(batch)) => batch,
        Some(Err(BatchError::Magic(magic @ 0..=1))) => return Err(AppendError::OldFormat(magic)),
        Some(Err(error)) => return Err(AppendError::Corrupt(error)),
        None => return Err(AppendError::BatchCount(0)),
    };
    if rules.produce_version < 7 && known_compression(&batch.header)? == Compression::Zstd {
        return Err(AppendError::ZstdBefore7(rules.produce_version));
    }
    match all.next() {
        None => Ok(batch),
        Some(Ok(_) | Err(BatchError::Magic(0..=1))) => Err(AppendError::BatchCount(2 + all.count())),
        Some(Err(error)) => Err(AppendError::Corrupt(error)),
    }
}

fn known_compression(header: &BatchHeader) -> Result<Compression, AppendError> {
    header.compression().map_err(|_| AppendError::UnknownCompression(header.attributes.compression_id()))
}

fn check_header(header: &BatchHeader) -> Result<(), AppendError> {
    let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(AppendError::Counts { count, last_offset_delta });
    }
    if header.is_control() {
        return Err(AppendError::Control);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(AppendError::Sequence(header.base_sequence));
    }
    Ok(())
}

/// Walks over the records; returns their largest timestamp.
fn walk(batch: &Batch, compression: Compression, rules: &AppendRules) -> Result<i64, AppendError> {
    match compression {
        Compression::None => walk_records(Slice::new(&batch.payload, 0), &batch.header, rules),
        compression => {
            let reader = Decompressor::new(compression, &batch.payload, rules.decompressed_bytes_max)
                .map_err(AppendError::Malformed)?;
            walk_records(Window::new(reader), &batch.header, rules)
        }
    }
}

fn walk_records<S: Source>(
    mut source: S,
    header: &BatchHeader,
    rules: &AppendRules,
) -> Result<i64, AppendError> {
    let append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    let mut max_timestamp = NO_TIMESTAMP;
    let mut errors = Vec::new();
    for index in 0..header.record_count {
        let shape = match walk_record(&mut source, |_, _| {}) {
            Ok(shape) => shape,
            Err(what) => return Err(AppendError::Malformed(failure(&mut source, index, what))),
        };
        let timestamp = if append_time {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(shape.timestamp_delta)
        };
        max_timestamp = max_timestamp.max(timestamp);
        let fault = if shape.offset_delta != index {
            Some(RecordFault::OffsetDelta { expected: index, found: shape.offset_delta })
        } else if rules.compacted && shape.key.is_none() {
            Some(RecordFault::NoKey)
        } else {
            rules.timestamp_fault(timestamp, append_time)
        };
        if let Some(fault) = fault
            && errors.len() < RECORD_ERRORS_MAX
        {
            errors.push(RecordError { index, fault });
        }
    }
    let count = header.record_count;
    match source.at_end() {
        Ok(true) if errors.is_empty() => Ok(max_timestamp),
        Ok(true) => Err(AppendError::Records(errors)),
        Ok(false) => Err(AppendError::Malformed(BatchError::LeftOver { count })),
        Err(what) => Err(AppendError::Malformed(failure(&mut source, count, what))),
    }
}

impl AppendRules {
    fn timestamp_fault(&self, timestamp: i64, append_time: bool) -> Option<RecordFault> {
        if self.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
            let min = self.now_ms.saturating_sub(self.timestamp_before_ms_max);
            let max = self.now_ms.saturating_add(self.timestamp_after_ms_max);
            let in_range = (min..=max).contains(&timestamp);
            return (!in_range).then_some(RecordFault::TimestampOutOfRange { timestamp, min, max });
        }
        append_time.then_some(RecordFault::LogAppendTime)
    }
}

/// The same records, producer and offsets in another compression.
fn recompress(batch: &Batch, target: Compression, rules: &AppendRules) -> Result<Batch, BatchError> {
    let mut header = batch.header;
    let records = super::decompress(header.compression()?, &batch.payload, rules.decompressed_bytes_max)?;
    let payload = super::compress(target, rules.compression_level, &records);
    header.attributes = header.attributes.with_compression(target);
    header.set_payload(&payload);
    Ok(Batch { header, payload: payload.into() })
}
