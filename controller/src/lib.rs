//! The quorum of controllers: decisions on metadata, Raft, brokers' liveness, publishing.
//!
//! ```text
//!   request --> dispatch --> handlers/<api> --> writer: decide --> raft --> apply --> answer
//!                                                                    '--> publisher --> Fetch of brokers
//! ```
//!
//! **Invariant:** what was acknowledged is in a majority of logs, synced, and is never undone; at most one controller is
//! active in an epoch, and it decides on everything that was committed before.

pub mod decide;
pub mod format;
pub mod kv;
pub mod liveness;
pub mod peer;
pub mod placement;
pub mod publisher;
pub mod quorum;
pub mod raft;
pub mod writer;
