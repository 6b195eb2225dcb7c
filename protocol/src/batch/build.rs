//! Writing a batch: for our own clients, the metadata log, internal topics and compaction.

use super::header::{
    Attributes, BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
use super::{Batch, Compression, RecordHeader, compress, varint};
use crate::ids::{LeaderEpoch, Offset, ProducerId};

/// What a batch says apart from its records. The default is that of a plain producer.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub compression: Compression,
    /// Kafka's `compression.<type>.level`; None is the codec's default.
    pub compression_level: Option<i32>,
    /// Some: the batch is of type LogAppendTime, and every record reads as of this time; what the records themselves say
    /// is kept below it.
    pub log_append_time: Option<i64>,
    pub transactional: bool,
    pub control: bool,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            compression: Compression::None,
            compression_level: None,
            log_append_time: None,
            transactional: false,
            control: false,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            base_sequence: NO_SEQUENCE,
        }
    }
}

/// Gathers records and makes a batch of them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Uncompressed records.
    records: Vec<u8>,
    count: i32,
    /// Of the first record, once there is one.
    base_timestamp: i64,
    max_timestamp: i64,
    last_offset: Offset,
}

impl BatchBuilder {
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            records: Vec::new(),
            count: 0,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            last_offset: options.base_offset - 1,
        }
    }

    /// Adds a record at the next offset, which is returned.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Offset {
        self.append_at(self.last_offset.next(), timestamp, key, value, headers);
        self.last_offset
    }

    /// Adds a record at an offset of its own, as compaction leaves them.
    ///
    /// # Panics
    /// When the offset is not after the former one or 2^31 or more after the base offset; when the record would exceed
    /// 2 GiB.
    pub fn append_at(
        &mut self,
        offset: Offset,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) {
        assert!(offset > self.last_offset, "offsets of a batch grow");
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        let offset_delta = offset - self.options.base_offset;
        assert!(offset_delta <= i64::from(i32::MAX), "offsets of a batch lie within 2^31");
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);

        let body =
            1 + varint::len(timestamp_delta) + varint::len(offset_delta) + field_len(key) + field_len(value);
        let headers_len =
            headers.iter().map(|h| field_len(Some(&h.key)) + field_len(h.value.as_deref())).sum::<usize>();
        let body = body + varint::len(headers.len() as i64) + headers_len;
        assert!(i32::try_from(body).is_ok(), "a record is smaller than 2 GiB");

        varint::put(&mut self.records, body as i64);
        self.records.push(0);
        varint::put(&mut self.records, timestamp_delta);
        varint::put(&mut self.records, offset_delta);
        self.put_field(key);
        self.put_field(value);
        varint::put(&mut self.records, headers.len() as i64);
        for header in headers {
            self.put_field(Some(&header.key));
            self.put_field(header.value.as_deref());
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset = offset;
    }

    fn put_field(&mut self, field: Option<&[u8]>) {
        match field {
            None => varint::put(&mut self.records, -1),
            Some(bytes) => {
                varint::put(&mut self.records, bytes.len() as i64);
                self.records.extend_from_slice(bytes);
            }
        }
    }

    /// Makes the batch end at `offset`, as it did before compaction took its last records.
    ///
    /// # Panics
    /// When the last record lies behind it, or it lies 2^31 or more after the base offset.
    pub fn end_at(&mut self, offset: Offset) {
        assert!(offset >= self.last_offset, "a batch ends at its last record or later");
        assert!(
            offset - self.options.base_offset <= i64::from(i32::MAX),
            "offsets of a batch lie within 2^31"
        );
        self.last_offset = offset;
    }

    pub fn record_count(&self) -> i32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it were not compressed.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch.
    ///
    /// # Panics
    /// When no record was added.
    pub fn finish(self) -> Batch {
        assert!(self.count > 0, "a batch has records");
        let options = self.options;
        let kind = match options.log_append_time {
            None => TimestampType::CreateTime,
            Some(_) => TimestampType::LogAppendTime,
        };
        let payload = match options.compression {
            Compression::None => self.records,
            compression => compress(compression, options.compression_level, &self.records),
        };
        let mut header = BatchHeader {
            base_offset: options.base_offset,
            length: (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32,
            leader_epoch: options.leader_epoch,
            crc: 0,
            attributes: Attributes::default()
                .with_compression(options.compression)
                .with_timestamp_type(kind)
                .with_transactional(options.transactional)
                .with_control(options.control),
            last_offset_delta: (self.last_offset - options.base_offset) as i32,
            base_timestamp: self.base_timestamp,
            max_timestamp: options.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.count,
        };
        header.set_payload(&payload);
        Batch { header, payload: payload.into() }
    }
}

/// Bytes of a nullable field with its length.
fn field_len(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}
