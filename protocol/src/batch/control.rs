//! Control records: the markers that end transactions, and what the quorum writes into its own log.
//!
//! ```text
//! key    version i16 | type i16
//! value  marker: version i16 | coordinator epoch i32         others: a message, whose first field is its version
//! ```
//! They stand in batches with the control bit, one by one, and no consumer shows them.

use bytes::Bytes;

use super::{Batch, BatchBuilder, BatchOptions, Compression, NO_SEQUENCE, Record};
use crate::codec::{DecodeError, Decoder, EncodeError, Encoder, Message};
use crate::ids::{LeaderEpoch, Offset, ProducerId};
use crate::messages::{
    EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord,
    VotersRecord,
};

/// The types of control records, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControlRecordType {
    Abort = 0,
    Commit = 1,
    LeaderChange = 2,
    SnapshotHeader = 3,
    SnapshotFooter = 4,
    KRaftVersion = 5,
    KRaftVoters = 6,
}

impl ControlRecordType {
    pub const ALL: [ControlRecordType; 7] = [
        ControlRecordType::Abort,
        ControlRecordType::Commit,
        ControlRecordType::LeaderChange,
        ControlRecordType::SnapshotHeader,
        ControlRecordType::SnapshotFooter,
        ControlRecordType::KRaftVersion,
        ControlRecordType::KRaftVoters,
    ];

    /// The type in the key of a control record; None for one that is not known, which readers skip.
    ///
    /// # Errors
    /// `TooShort`, and `BadLength` for a negative version.
    pub fn from_key(key: &[u8]) -> Result<Option<ControlRecordType>, DecodeError> {
        let Some(&[a, b, c, d]) = key.first_chunk::<4>() else {
            return Err(DecodeError::TooShort { missing: 4 - key.len() });
        };
        let version = i16::from_be_bytes([a, b]);
        if version < 0 {
            return Err(DecodeError::BadLength(i64::from(version)));
        }
        let number = i16::from_be_bytes([c, d]);
        Ok(Self::ALL.into_iter().find(|kind| *kind as i16 == number))
    }

    /// The key of a control record of this type.
    pub fn key(self) -> [u8; 4] {
        let [c, d] = (self as i16).to_be_bytes();
        [0, 0, c, d]
    }
}

/// A control record, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    Abort(EndTxnMarker),
    Commit(EndTxnMarker),
    LeaderChange(LeaderChangeMessage),
    SnapshotHeader(SnapshotHeaderRecord),
    SnapshotFooter(SnapshotFooterRecord),
    KRaftVersion(KRaftVersionRecord),
    KRaftVoters(VotersRecord),
}

impl ControlRecord {
    pub fn kind(&self) -> ControlRecordType {
        match self {
            ControlRecord::Abort(_) => ControlRecordType::Abort,
            ControlRecord::Commit(_) => ControlRecordType::Commit,
            ControlRecord::LeaderChange(_) => ControlRecordType::LeaderChange,
            ControlRecord::SnapshotHeader(_) => ControlRecordType::SnapshotHeader,
            ControlRecord::SnapshotFooter(_) => ControlRecordType::SnapshotFooter,
            ControlRecord::KRaftVersion(_) => ControlRecordType::KRaftVersion,
            ControlRecord::KRaftVoters(_) => ControlRecordType::KRaftVoters,
        }
    }

    /// The control record in a record of a control batch; None for a type that is not known.
    ///
    /// # Errors
    /// When key or value are missing or too short, or the value's version is unknown.
    pub fn read(record: &Record) -> Result<Option<ControlRecord>, DecodeError> {
        let key = record.key.as_deref().ok_or(DecodeError::Null)?;
        let Some(kind) = ControlRecordType::from_key(key)? else { return Ok(None) };
        let value = record.value.clone().ok_or(DecodeError::Null)?;
        Ok(Some(match kind {
            ControlRecordType::Abort => ControlRecord::Abort(marker(value)?),
            ControlRecordType::Commit => ControlRecord::Commit(marker(value)?),
            ControlRecordType::LeaderChange => ControlRecord::LeaderChange(message(value)?),
            ControlRecordType::SnapshotHeader => ControlRecord::SnapshotHeader(message(value)?),
            ControlRecordType::SnapshotFooter => ControlRecord::SnapshotFooter(message(value)?),
            ControlRecordType::KRaftVersion => ControlRecord::KRaftVersion(message(value)?),
            ControlRecordType::KRaftVoters => ControlRecord::KRaftVoters(message(value)?),
        }))
    }

    /// The value of the record.
    ///
    /// # Errors
    /// When a message's own version field names a version that does not exist, or that lacks a field that is set.
    pub fn value(&self) -> Result<Bytes, EncodeError> {
        let mut out = Encoder::new();
        match self {
            ControlRecord::Abort(marker) | ControlRecord::Commit(marker) => {
                out.i16(*EndTxnMarker::VERSIONS.end());
                marker.encode(&mut out, *EndTxnMarker::VERSIONS.end())?;
            }
            ControlRecord::LeaderChange(m) => m.encode(&mut out, m.version)?,
            ControlRecord::SnapshotHeader(m) => m.encode(&mut out, m.version)?,
            ControlRecord::SnapshotFooter(m) => m.encode(&mut out, m.version)?,
            ControlRecord::KRaftVersion(m) => m.encode(&mut out, m.version)?,
            ControlRecord::KRaftVoters(m) => m.encode(&mut out, m.version)?,
        }
        Ok(out.into_bytes().expect("control records hold no file regions"))
    }

    /// A control batch with these records, at `base_offset`, written by the leader of `leader_epoch`.
    ///
    /// # Errors
    /// As [`ControlRecord::value`].
    ///
    /// # Panics
    /// When there are no records.
    pub fn batch(
        records: &[ControlRecord],
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        timestamp: i64,
    ) -> Result<Batch, EncodeError> {
        let options = BatchOptions { base_offset, leader_epoch, control: true, ..BatchOptions::default() };
        let mut batch = BatchBuilder::new(options);
        for record in records {
            batch.append(timestamp, Some(&record.kind().key()), Some(&record.value()?), &[]);
        }
        Ok(batch.finish())
    }
}

/// A marker's value: the version stands before the message.
fn marker(value: Bytes) -> Result<EndTxnMarker, DecodeError> {
    let mut input = Decoder::new(value);
    // A later version only adds fields at the end.
    let version = input.i16()?.clamp(*EndTxnMarker::VERSIONS.start(), *EndTxnMarker::VERSIONS.end());
    EndTxnMarker::decode(&mut input, version)
}

/// A value whose message begins with its own version.
fn message<M: Message>(value: Bytes) -> Result<M, DecodeError> {
    let version = Decoder::new(value.clone()).i16()?;
    let version = version.clamp(*M::VERSIONS.start(), *M::VERSIONS.end());
    M::decode(&mut Decoder::new(value), version)
}

/// The batch that ends a producer's transaction in a partition (KIP-98). Offset and leader epoch are left to the log.
pub fn end_transaction_batch(
    commit: bool,
    producer_id: ProducerId,
    producer_epoch: i16,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Batch {
    let marker = EndTxnMarker { coordinator_epoch };
    let record = if commit { ControlRecord::Commit(marker) } else { ControlRecord::Abort(marker) };
    let mut batch = BatchBuilder::new(BatchOptions {
        compression: Compression::None,
        transactional: true,
        control: true,
        producer_id,
        producer_epoch,
        base_sequence: NO_SEQUENCE,
        ..BatchOptions::default()
    });
    let value = record.value().expect("a marker of the newest version can always be written");
    batch.append(timestamp, Some(&record.kind().key()), Some(&value), &[]);
    batch.finish()
}
