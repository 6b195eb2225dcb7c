//! The quorum of controllers: decisions on metadata, Raft, brokers' liveness, publishing.
//!
//! ```text
//!   request --> dispatch --> handlers/<api> --> writer: decide --> raft --> apply --> answer
//!                                                                    '--> publisher --> Fetch of brokers
//! ```
//!
//! **Invariant:** what was acknowledged is in a majority of logs, synced, and is never undone; at most one controller is
//! active in an epoch, and it decides on everything that was committed before.

mod balancing;
mod controller;
pub mod decide;
pub mod dispatch;
mod fencing;
pub mod format;
pub mod handlers;
mod joining;
pub mod kv;
mod listener;
pub mod liveness;
pub mod node;
pub mod peer;
pub mod placement;
pub mod publisher;
pub mod quorum;
pub mod raft;
mod registering;
mod voter_requests;
mod voters;
pub mod writer;

pub use controller::{Controller, ControllerConfig, Joining, Listen, StartError};
pub use kv::KvKind;
pub use publisher::Committed;
pub use writer::Active;

#[cfg(test)]
mod tests;
