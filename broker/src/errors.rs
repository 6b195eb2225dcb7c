//! The only map from the errors of lower layers to Kafka's error codes.
//!
//! **Invariant:** exhaustive: a new error does not compile until it has a code here.

use protocol::ErrorCode;
use storage::ProducerError;

use crate::partition::{AppendError, DeleteRecordsError, LeaderError, OffsetError, ReadError};
use crate::producer_ids::NoProducerId;

/// An error that has a place in an answer.
pub trait Coded {
    fn code(&self) -> ErrorCode;
}

impl Coded for LeaderError {
    fn code(&self) -> ErrorCode {
        match self {
            LeaderError::NotLeader => ErrorCode::NotLeaderOrFollower,
            LeaderError::Fenced { .. } => ErrorCode::FencedLeaderEpoch,
            LeaderError::UnknownEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        }
    }
}

impl Coded for storage::AppendError {
    fn code(&self) -> ErrorCode {
        match self {
            storage::AppendError::Refused(error) => error.code(),
            storage::AppendError::Producer(error) => error.code(),
            storage::AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
            storage::AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            storage::AppendError::OffsetsOutOfOrder { .. } | storage::AppendError::OffsetsExhausted => {
                ErrorCode::UnknownServerError
            }
            storage::AppendError::Io(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for ProducerError {
    fn code(&self) -> ErrorCode {
        match self {
            ProducerError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            ProducerError::InvalidEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            ProducerError::InvalidTransactionState { .. } => ErrorCode::InvalidTxnState,
            ProducerError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        }
    }
}

impl Coded for AppendError {
    fn code(&self) -> ErrorCode {
        match self {
            AppendError::Leader(error) => error.code(),
            AppendError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            AppendError::Log(error) => error.code(),
            // It is in the log, and followers may have it: KAFKA_STORAGE_ERROR would promise that it is not. librdkafka takes it so.
            AppendError::Flush(_) => ErrorCode::NotEnoughReplicasAfterAppend,
            AppendError::Disk(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for ReadError {
    fn code(&self) -> ErrorCode {
        match self {
            ReadError::Leader(error) => error.code(),
            ReadError::NotReplica(_) => ErrorCode::NotLeaderOrFollower,
            ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
            ReadError::Remote | ReadError::Io(_) | ReadError::Disk(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for OffsetError {
    fn code(&self) -> ErrorCode {
        match self {
            OffsetError::Leader(error) => error.code(),
            OffsetError::NotAvailable => ErrorCode::OffsetNotAvailable,
            OffsetError::Io(_) | OffsetError::Disk(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for DeleteRecordsError {
    fn code(&self) -> ErrorCode {
        match self {
            DeleteRecordsError::Leader(error) => error.code(),
            DeleteRecordsError::OutOfRange => ErrorCode::OffsetOutOfRange,
            DeleteRecordsError::Io(_) => ErrorCode::KafkaStorageError,
            DeleteRecordsError::Disk(error) => error.code(),
        }
    }
}

impl Coded for host::DiskGone {
    fn code(&self) -> ErrorCode {
        ErrorCode::KafkaStorageError
    }
}

impl Coded for NoProducerId {
    fn code(&self) -> ErrorCode {
        match self {
            // What Kafka answers while it waits for a block of ids: clients try again.
            NoProducerId::NotYet => ErrorCode::CoordinatorLoadInProgress,
        }
    }
}
