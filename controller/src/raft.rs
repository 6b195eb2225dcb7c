//! Consensus: openraft on our own runtime, log store, state machine and network.
//!
//! ```text
//!   controller (single writer)
//!        | propose(Proposal{epoch, base_offset, batch})                 committed entries
//!        v                                                                    ^
//!   openraft core -- LogStore -- kv --> disk        openraft core -- StateMachine --> Image, MetadataLog
//!        |
//!        +-- Network -- private requests on the controller listener --> other voters
//! ```
//!
//! **Invariant:** openraft's types stay inside this module and `controller.rs`; it is never bumped without the simulation.

pub mod batches;
pub mod codec;
pub mod log_store;
pub mod network;
pub mod rpc;
pub mod runtime;
pub mod service;
pub mod state_machine;
pub mod types;

#[cfg(test)]
mod tests;
