//! Record batches of format 2: the unit that producers send, logs store, followers copy and consumers read.
//!
//! ```text
//!  Bytes of a produce request, a segment, a fetch answer:
//!  | header 61 | records | header 61 | records | header 61 | rec...   <- the last one may be cut off
//!   \___ Batch { header, payload } ___/
//! ```
//! A batch is opaque on the hot path: header, CRC, and a walk over the records' lengths ([`validate_for_append`]).
//! Keys and values are looked at only where a topic's config or a reader asks ([`Batch::records`]).
//!
//! Invariant: no function here panics on any bytes, reserves memory by an unchecked number, or decompresses past a cap.
//!
//! Files: `header` the 61 bytes; `validate` what a leader accepts; `patch` what a leader changes; `record` reading
//! records; `compression` the five codecs; `build` writing batches; `control` markers and Raft records.

mod build;
mod compression;
mod control;
mod header;
mod patch;
mod record;
mod snappy;
mod validate;
mod varint;

use bytes::Bytes;

pub use build::{BatchBuilder, BatchOptions};
pub use compression::{Compression, compress, decompress};
pub use control::{ControlRecord, ControlRecordType, end_transaction_batch};
pub use header::{
    Attributes, BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC, NO_SEQUENCE, NO_TIMESTAMP,
    TimestampType, add_sequence,
};
pub use patch::{crc_of, set_base_offset, set_leader_epoch, set_timestamps};
pub use record::{Record, RecordHeader, RecordIter};
pub use validate::{AppendError, AppendRules, RecordError, RecordFault, validate_for_append};

/// Why bytes are not a batch, or its payload not records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the bytes end within a batch: {have} of {needed} bytes")]
    Incomplete { needed: usize, have: usize },
    #[error("a batch cannot have length {0}")]
    Length(i32),
    #[error("magic is {0}, not 2")]
    Magic(i8),
    #[error("the CRC should be {stored:#010x} and is {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    #[error("unknown compression type {0}")]
    Compression(i8),
    #[error("the records do not decompress: {0}")]
    Decompress(String),
    #[error("the records decompress to more than {cap} bytes")]
    Bomb { cap: usize },
    #[error("record {index} is malformed: {what}")]
    Record { index: i32, what: &'static str },
    #[error("the batch announces {count} records")]
    Count { count: i32 },
    #[error("bytes are left over after the last of {count} records")]
    LeftOver { count: i32 },
}

/// One batch: its header, decoded, and the bytes after it, shared and as they came.
///
/// `header.to_bytes()` followed by `payload` is the batch; a leader changes the header and writes both, so that records
/// are never copied. The CRC has been checked only if a function says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub header: BatchHeader,
    /// The records, or their compressed form.
    pub payload: Bytes,
}

impl Batch {
    /// The batch at the start of `bytes`, which may hold more.
    ///
    /// # Errors
    /// `Incomplete`, `Length`, `Magic`.
    pub fn read(bytes: &Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::read(bytes)?;
        let size = header.size_bytes();
        if bytes.len() < size {
            return Err(BatchError::Incomplete { needed: size, have: bytes.len() });
        }
        Ok(Batch { header, payload: bytes.slice(HEADER_BYTES..size) })
    }

    pub fn size_bytes(&self) -> usize {
        self.header.size_bytes()
    }

    /// # Errors
    /// `Crc` when the stored one does not match.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc_of(&self.header, &self.payload);
        if computed == self.header.crc {
            return Ok(());
        }
        Err(BatchError::Crc { stored: self.header.crc, computed })
    }

    /// Header and payload in one piece (a copy).
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.size_bytes());
        out.extend_from_slice(&self.header.to_bytes());
        out.extend_from_slice(&self.payload);
        out.into()
    }

    /// The records. Uncompressed ones are slices of the payload; compressed ones are decompressed here, all at once,
    /// to at most `decompressed_bytes_max` bytes.
    ///
    /// # Errors
    /// `Compression`, `Decompress`, `Bomb`, `Count`; the iterator itself yields `Record` and `LeftOver`.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<RecordIter, BatchError> {
        RecordIter::new(self, decompressed_bytes_max)
    }
}

/// The batches in `bytes`, in order. A batch that is cut off at the end is not an error: it ends the iteration, as in a
/// fetch answer or a segment after a crash ([`Batches::rest`] says what remained). After an error nothing follows.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// What has not been read: empty, or a batch that is cut off, or where an error was.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match Batch::read(&self.rest) {
            Ok(batch) => {
                let _ = self.rest.split_to(batch.size_bytes());
                Some(Ok(batch))
            }
            Err(BatchError::Incomplete { .. }) => None,
            Err(error) => {
                self.rest = Bytes::new();
                Some(Err(error))
            }
        }
    }
}
