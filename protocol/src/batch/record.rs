//! Reading the records of a batch.
//!
//! ```text
//! | length | attributes | timestampDelta | offsetDelta | keyLength | key | valueLength | value | count | headers ... |
//!   varint   1 byte       varlong          varint        varint            varint              varint
//! ```
//! Null is length -1. Keys, values and headers are arbitrary bytes: header keys that repeat, or that are not UTF-8, are
//! kept as they are.

use std::ops::Range;

use bytes::Bytes;

use super::varint::{Malformed, Slice, Source};
use super::{
    Batch, BatchError, BatchHeader, Compression, NO_SEQUENCE, TimestampType, add_sequence, decompress,
};
use crate::ids::Offset;

/// One record. Byte fields are slices of the batch (or of what it was decompressed to).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// Milliseconds, or -1; the batch's largest for LogAppendTime.
    pub timestamp: i64,
    /// The producer's sequence number of this record, or -1.
    pub sequence: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordHeader {
    /// Kafka's clients want UTF-8 here, its brokers do not ask.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// The records of one batch; see [`Batch::records`]. After an error nothing follows.
#[derive(Clone, Debug)]
pub struct RecordIter {
    header: BatchHeader,
    records: Bytes,
    position: usize,
    /// Records read so far; the announced count once an error occurred.
    read: i32,
    /// All records were read, and that nothing is left over has been looked at.
    ended: bool,
}

impl RecordIter {
    pub(super) fn new(batch: &Batch, decompressed_bytes_max: usize) -> Result<RecordIter, BatchError> {
        if batch.header.record_count < 0 {
            return Err(BatchError::Count { count: batch.header.record_count });
        }
        let records = match batch.header.compression()? {
            Compression::None => batch.payload.clone(),
            compression => decompress(compression, &batch.payload, decompressed_bytes_max)?.into(),
        };
        Ok(RecordIter { header: batch.header, records, position: 0, read: 0, ended: false })
    }

    fn record(&mut self) -> Result<Record, Malformed> {
        let mut spans = Vec::new();
        let mut source = Slice::new(&self.records, self.position);
        let shape = walk_record(&mut source, |key, value| spans.push((key, value)))?;
        self.position = source.position();
        let slice = |span: Option<Span>| span.map(|span| self.records.slice(span));
        let header = |(key, value): (Span, Option<Span>)| RecordHeader {
            key: self.records.slice(key),
            value: slice(value),
        };
        Ok(Record {
            offset: Offset(self.header.base_offset.0.wrapping_add(i64::from(shape.offset_delta))),
            timestamp: match self.header.timestamp_type() {
                TimestampType::LogAppendTime => self.header.max_timestamp,
                TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(shape.timestamp_delta),
            },
            sequence: match self.header.base_sequence {
                NO_SEQUENCE => NO_SEQUENCE,
                base => add_sequence(base, shape.offset_delta),
            },
            key: slice(shape.key),
            value: slice(shape.value),
            headers: spans.into_iter().map(header).collect(),
        })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.read == self.header.record_count {
            self.ended = true;
            let left_over = self.position < self.records.len();
            return left_over.then_some(Err(BatchError::LeftOver { count: self.read }));
        }
        let record = self.record().map_err(|what| BatchError::Record { index: self.read, what });
        self.read += 1;
        self.ended = record.is_err();
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.records.len() - self.position) / RECORD_BYTES_MIN + 1))
    }
}

/// Length, attributes, two deltas, two null fields and no headers.
const RECORD_BYTES_MIN: usize = 7;

/// Where a field lies, in bytes from the start of the records.
pub(super) type Span = Range<usize>;

/// What a walk over one record tells.
pub(super) struct Shape {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
}

/// Walks over one record and checks that its lengths fit into each other; `header` gets the place of each header.
///
/// The one place that knows the structure of a record: what it accepts, any consumer can read.
pub(super) fn walk_record<S: Source>(
    source: &mut S,
    mut header: impl FnMut(Span, Option<Span>),
) -> Result<Shape, Malformed> {
    let length = usize::try_from(source.varint()?).map_err(|_| "its length is negative")?;
    let end = source.position() + length;
    source.byte()?;
    let timestamp_delta = source.varlong()?;
    let offset_delta = source.varint()?;
    let key = nullable_span(source, end)?;
    let value = nullable_span(source, end)?;
    let headers = source.varint()?;
    if headers < 0 {
        return Err("its number of headers is negative");
    }
    for _ in 0..headers {
        let key = nullable_span(source, end)?.ok_or("a header has no key")?;
        header(key, nullable_span(source, end)?);
    }
    if source.position() != end {
        return Err("its fields do not fill its length");
    }
    Ok(Shape { timestamp_delta, offset_delta, key, value })
}

/// Passes over a length and as many bytes, which must lie before `end`; None for length -1.
#[inline]
fn nullable_span<S: Source>(source: &mut S, end: usize) -> Result<Option<Span>, Malformed> {
    let length = source.varint()?;
    if length < 0 {
        return if length == -1 { Ok(None) } else { Err("a field has a negative length") };
    }
    let start = source.position();
    let stop = start + length as usize;
    if stop > end {
        return Err("a field is longer than the record");
    }
    source.skip(length as usize)?;
    Ok(Some(start..stop))
}
