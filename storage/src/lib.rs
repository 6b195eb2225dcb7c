//! One partition's log on a disk, in Kafka's own files.
//!
//! Start with `log.rs`; each durable format has a file of its own. Everything here is synchronous and runs inside a disk
//! job of `host`.
//!
//! **Invariant:** knows nothing of leaders, requests or other replicas; never reads the clock.

mod checkpoint;
mod index_file;
mod leader_epochs;
mod log;
mod log_dirs;
mod offset_index;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod scan;
mod segment;
mod time_index;
mod txn_index;

pub use log::{
    AppendError, Appended, Flush, FoundTimestamp, Log, LogConfig, LogFiles, OpenError, Read, ReadError,
    ReadLimits, Retention, Slice,
};
pub use log_dirs::{CheckpointKind, FoundLog, LogCheckpoint, LogDir, LogDirError, MetaProperties};
pub use producer_state::{Marker, Producer, ProducerBatch, ProducerError, ProducerState};
pub use txn_index::AbortedTransaction;
