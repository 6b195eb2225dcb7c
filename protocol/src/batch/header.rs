//! The 61 bytes before the records of a batch, format 2 ("magic 2"). All integers are big-endian.
//!
//! ```text
//!  0            8       12       16  17     21    23       27          35         43
//!  | baseOffset | length | epoch | 2 | crc32c | attr | lastOff | baseTime | maxTime |
//! 43           51      53      57      61
//!  | producerId | epoch | seq   | count | records, or their compressed form ...
//!               `length` counts from byte 12 to the end; `crc32c` covers from byte 21 (attr) to the end
//! ```
//! Base offset and leader epoch lie outside the CRC: a leader sets them without touching the records.
//! Invariant: what `read` accepts, `to_bytes` writes back bit for bit.

use super::{BatchError, Compression};
use crate::ids::{LeaderEpoch, Offset, ProducerId};

/// Bytes of the header, up to the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes of base offset and length, which `length` does not count.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The only batch format that is stored.
pub const MAGIC: i8 = 2;
/// Kafka's "no timestamp".
pub const NO_TIMESTAMP: i64 = -1;
/// Kafka's "no sequence number": the producer is not idempotent.
pub const NO_SEQUENCE: i32 = -1;

pub(super) const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
/// Where the CRC begins to count.
pub(super) const ATTRIBUTES_AT: usize = 21;

/// The smallest length of magic 0: what is less is no batch of any format.
const OLD_FORMAT_LENGTH_MIN: i32 = 14;

const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The leader, one for the batch: `max_timestamp`.
    LogAppendTime,
}

/// The attribute bits of a batch; unknown bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// The number in the compression bits, which may name no known compression.
    pub fn compression_id(self) -> i8 {
        (self.0 & COMPRESSION_MASK) as i8
    }

    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// Whether `base_timestamp` holds the time after which tombstones may go (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !COMPRESSION_MASK | i16::from(compression.id()))
    }

    #[must_use]
    pub fn with_timestamp_type(self, kind: TimestampType) -> Self {
        self.with(LOG_APPEND_TIME, kind == TimestampType::LogAppendTime)
    }

    #[must_use]
    pub fn with_transactional(self, on: bool) -> Self {
        self.with(TRANSACTIONAL, on)
    }

    #[must_use]
    pub fn with_control(self, on: bool) -> Self {
        self.with(CONTROL, on)
    }

    #[must_use]
    pub fn with_delete_horizon(self, on: bool) -> Self {
        self.with(DELETE_HORIZON, on)
    }

    fn with(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// The header of a batch of format 2, decoded. `crc` is what was read; see [`super::crc_of`] for what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes after the length field: at least 49.
    pub length: i32,
    pub leader_epoch: LeaderEpoch,
    /// CRC32C from the attributes to the end of the batch.
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    /// Milliseconds; record timestamps are relative to it. With a delete horizon it holds that instead, and so does
    /// the arithmetic of the records.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may hold less or more than the batch.
    ///
    /// Checks what is needed to walk a log and nothing else: 61 bytes, magic 2, a length that covers the header.
    /// It does not check the CRC, nor that the counts make sense, nor that `bytes` holds the records.
    ///
    /// # Errors
    /// `Incomplete` for fewer than 61 bytes, `Length`, `Magic`.
    pub fn read(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let (length, magic) = length_and_magic(bytes)?;
        if length < OLD_FORMAT_LENGTH_MIN {
            return Err(BatchError::Length(length));
        }
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        if length < (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 {
            return Err(BatchError::Length(length));
        }
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Incomplete { needed: HEADER_BYTES, have: bytes.len() });
        };
        Ok(BatchHeader {
            base_offset: Offset(i64_at(head, 0)),
            length,
            leader_epoch: LeaderEpoch(i32_at(head, LEADER_EPOCH_AT)),
            crc: i32_at(head, CRC_AT) as u32,
            attributes: Attributes(i16_at(head, ATTRIBUTES_AT)),
            last_offset_delta: i32_at(head, 23),
            base_timestamp: i64_at(head, 27),
            max_timestamp: i64_at(head, 35),
            producer_id: ProducerId(i64_at(head, 43)),
            producer_epoch: i16_at(head, 51),
            base_sequence: i32_at(head, 53),
            record_count: i32_at(head, 57),
        })
    }

    /// The header as it stands in a log.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch, header included.
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + self.length as usize
    }

    /// Offset of the last record (or of the last one before compaction took it). Saturates on a header that lies.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// Sequence number of the last record, or -1; it wraps from 2^31-1 to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            NO_SEQUENCE
        } else {
            add_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    /// # Errors
    /// `Compression` when the bits name none that exists.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_id(self.attributes.compression_id())
            .ok_or(BatchError::Compression(self.attributes.compression_id()))
    }

    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 > -1
    }

    /// When tombstones and markers of this batch may be deleted, in ms, if compaction has decided (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }
}

/// The two fields that all of Kafka's batch formats share: bytes after the length field, and the format.
pub(super) fn length_and_magic(bytes: &[u8]) -> Result<(i32, i8), BatchError> {
    let Some(head) = bytes.first_chunk::<{ MAGIC_AT + 1 }>() else {
        return Err(BatchError::Incomplete { needed: MAGIC_AT + 1, have: bytes.len() });
    };
    let [.., a, b, c, d, _, _, _, _, magic] = *head;
    Ok((i32::from_be_bytes([a, b, c, d]), magic as i8))
}

/// Kafka's sequence arithmetic: numbers run from 0 to 2^31-1 and then from 0 again.
pub fn add_sequence(sequence: i32, increment: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(increment);
    if sum > i64::from(i32::MAX) { (sum - i64::from(i32::MAX) - 1) as i32 } else { sum as i32 }
}

fn array_at<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn i16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes(array_at(bytes, at))
}

fn i32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}
