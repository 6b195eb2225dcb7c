//! Which records a cluster may write, in which version, and their bytes in the metadata log.
//!
//! ```text
//!  value of a log record:  uvarint 1 (frame version) │ uvarint type │ uvarint version │ message
//! ```
//!
//! Invariant: what `decode` returns is known and complete. An unknown type or version is an error, and whoever reads a
//! log with one must refuse to start: skipping it would make an image that differs from everybody else's.

use bytes::Bytes;
use protocol::batch::{Batch, BatchError, ControlRecord};
pub use protocol::messages::MetadataRecord as Record;
use protocol::messages::VotersRecord;
use protocol::{DecodeError, EncodeError, Str, bounds, record_frame};

use crate::{MetadataVersion, features};

/// The value of a log record is none that this release may act on: it must refuse to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "a metadata record cannot be read: {0}; if a newer release wrote it, only that release can start here"
    )]
    Unreadable(#[from] DecodeError),
    #[error("a batch of the quorum's control records cannot be read: {0}")]
    Batch(#[from] BatchError),
    #[error(
        "the log finalizes {name} at level {level}, which this release does not support; only a newer release can start here"
    )]
    UnsupportedLevel { name: Str, level: i16 },
}

/// The message version to write under a finalized level: the lowest that carries every field that the level knows.
pub fn version(record: &Record, level: MetadataVersion) -> i16 {
    match record {
        Record::RegisterBroker(_) => level.register_broker_record_version(),
        Record::Partition(_) | Record::PartitionChange(_) => level.partition_record_version(),
        // Kafka writes a registration change in the lowest version that has the field that changes.
        Record::BrokerRegistrationChange(change) if change.cordoned_log_dirs.is_some() => 3,
        Record::BrokerRegistrationChange(change) if !change.log_dirs.is_empty() => 2,
        Record::BrokerRegistrationChange(change) if change.in_controlled_shutdown != 0 => 1,
        _ => 0,
    }
}

/// Whether a log of this finalized level may contain the record. `decide` must not produce others.
pub fn is_known_at(record: &Record, level: MetadataVersion) -> bool {
    match record {
        Record::UserScramCredential(_) | Record::RemoveUserScramCredential(_) => level.has_scram(),
        Record::DelegationToken(_) | Record::RemoveDelegationToken(_) => level.has_delegation_tokens(),
        Record::ZkMigrationState(_) => level.has_migration_state(),
        Record::BeginTransaction(_) | Record::EndTransaction(_) | Record::AbortTransaction(_) => {
            level.has_transactions()
        }
        Record::RegisterController(_) => level.has_controller_registration(),
        Record::ClearElr(_) => level.has_eligible_leader_replicas(),
        Record::BrokerRegistrationChange(change) if change.cordoned_log_dirs.is_some() => {
            level.has_cordoned_log_dirs()
        }
        Record::BrokerRegistrationChange(change) if !change.log_dirs.is_empty() => {
            level.has_directory_assignment()
        }
        _ => true,
    }
}

/// The value of a log record. Fails when a field is set that the level cannot carry.
///
/// # Panics
/// If the level does not know the type: such a record must never be proposed.
pub fn encode(record: &Record, level: MetadataVersion) -> Result<Bytes, EncodeError> {
    assert!(
        is_known_at(record, level),
        "record type {} does not exist at metadata.version {}",
        record.key(),
        level.name()
    );
    record_frame::encode_metadata(record, version(record, level))
}

/// Reads the value of a log record.
pub fn decode(value: Bytes) -> Result<Record, Error> {
    let (record, _version) = record_frame::decode_metadata(value)?;
    match &record {
        Record::FeatureLevel(r) if !features::is_supported(&r.name, r.feature_level) => {
            Err(Error::UnsupportedLevel { name: r.name.detached(), level: r.feature_level })
        }
        _ => Ok(record),
    }
}

/// The last level of `kraft.version` in a control batch.
pub fn kraft_version(batch: &Batch) -> Result<Option<i16>, Error> {
    Ok(quorum(batch)?.0)
}

/// What a control batch says of the quorum: the last level of `kraft.version`, and the last voters.
pub fn quorum(batch: &Batch) -> Result<(Option<i16>, Option<VotersRecord>), Error> {
    let (mut level, mut voters) = (None, None);
    for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX)? {
        match ControlRecord::read(&record?)? {
            Some(ControlRecord::KRaftVersion(found)) => level = Some(found.k_raft_version),
            Some(ControlRecord::KRaftVoters(found)) => voters = Some(found),
            _ => {}
        }
    }
    match level {
        Some(level) if !features::is_supported(features::KRAFT_VERSION, level) => {
            Err(Error::UnsupportedLevel { name: Str::from_static(features::KRAFT_VERSION), level })
        }
        level => Ok((level, voters)),
    }
}

#[cfg(test)]
mod tests;
