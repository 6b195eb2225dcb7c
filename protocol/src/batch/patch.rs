//! What a leader changes in a batch before it writes it.
//!
//! Base offset and leader epoch lie before the CRC and change freely; timestamps lie under it, so it is computed again.

use super::header::{ATTRIBUTES_AT, BatchHeader, CRC_AT, HEADER_BYTES, LEADER_EPOCH_AT, LOG_OVERHEAD_BYTES};
use super::{BatchError, TimestampType};
use crate::ids::{LeaderEpoch, Offset};

/// The CRC32C that a batch with this header and payload must carry; `header.crc` itself does not count.
pub fn crc_of(header: &BatchHeader, payload: &[u8]) -> u32 {
    let head = header.to_bytes();
    crc32c::crc32c_append(crc32c::crc32c(&head[ATTRIBUTES_AT..]), payload)
}

/// Sets the base offset of the batch at the start of `batch`.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn set_base_offset(batch: &mut [u8], base_offset: Offset) {
    assert!(batch.len() >= HEADER_BYTES, "not a batch");
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
}

/// Sets the leader epoch of the batch at the start of `batch`.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn set_leader_epoch(batch: &mut [u8], leader_epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_BYTES, "not a batch");
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Sets timestamp type and largest timestamp of the batch that fills `batch`, and its CRC.
///
/// # Errors
/// Those of [`BatchHeader::read`], and `Incomplete`.
pub fn set_timestamps(batch: &mut [u8], kind: TimestampType, max_timestamp: i64) -> Result<(), BatchError> {
    let mut header = BatchHeader::read(batch)?;
    let size = header.size_bytes();
    if batch.len() < size {
        return Err(BatchError::Incomplete { needed: size, have: batch.len() });
    }
    header.set_timestamps(kind, max_timestamp, &batch[HEADER_BYTES..size]);
    batch[CRC_AT..HEADER_BYTES].copy_from_slice(&header.to_bytes()[CRC_AT..]);
    Ok(())
}

impl BatchHeader {
    /// Sets timestamp type and largest timestamp, and the CRC over this header and `payload` if that changed anything.
    pub fn set_timestamps(&mut self, kind: TimestampType, max_timestamp: i64, payload: &[u8]) {
        if self.timestamp_type() == kind && self.max_timestamp == max_timestamp {
            return;
        }
        self.attributes = self.attributes.with_timestamp_type(kind);
        self.max_timestamp = max_timestamp;
        self.crc = crc_of(self, payload);
    }
    /// Sets length and CRC for `payload`, once all other fields are as they shall be.
    ///
    /// # Panics
    /// When the batch would exceed 2 GiB.
    pub fn set_payload(&mut self, payload: &[u8]) {
        let length = HEADER_BYTES - LOG_OVERHEAD_BYTES + payload.len();
        self.length = i32::try_from(length).expect("a batch is smaller than 2 GiB");
        self.crc = crc_of(self, payload);
    }
}
