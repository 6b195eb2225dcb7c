//! A data node: partitions, their leaders' side, and the requests of clients. Start with `broker.rs`.
//!
//! ```text
//!   connection --> dispatch --> handlers/<api> --> partition --> storage::Log
//!                          \--> forwarding ------> controller
//!   controller --> controller_link/follower --> metadata_cache --> replicas --> partition
//! ```
//! **Invariant:** knows the controller by the wire only, never how it decides.

mod auto_creation;
mod broker;
pub mod config;
mod controller_link;
mod dispatch;
mod errors;
mod forwarding;
mod handlers;
mod http;
mod log_dirs;
mod metadata_cache;
mod metrics;
mod partition;
mod producer_ids;
mod replicas;
mod topic_settings;
mod waiters;

pub use broker::{Broker, StartError};
pub use config::{BrokerConfig, ConfigError};
pub use controller_link::ControllerEndpoints;
pub use log_dirs::Error as LogDirsError;

#[cfg(test)]
mod tests;
