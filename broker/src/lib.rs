//! A data node: partitions, their leaders' side, and the requests of clients. Start with `broker.rs`.
//!
//! ```text
//!   connection --> dispatch --> handlers/<api> --> partition --> storage::Log
//!                          \--> forwarding ------> controller
//!   controller --> controller_link/follower --> metadata_cache --> replicas --> partition
//! ```
//! **Invariant:** knows the controller by the wire only, never how it decides.
#![allow(clippy::needless_update)] // Messages grow with Kafka: a field that is new must not break the build.

pub mod auto_creation;
mod broken;
mod broker;
mod checkpoints;
pub mod config;
pub mod config_layers;
pub mod controller_link;
mod deleted_files;
mod directory_assignments;
pub mod dispatch;
pub mod errors;
pub mod fetch_sessions;
pub mod forwarding;
pub mod group_coordinator;
pub mod handlers;
mod http;
pub mod isr_changes;
mod listeners;
pub mod log_cleanup;
mod log_dirs;
pub mod metadata_cache;
pub mod metrics;
pub mod partition;
pub mod producer_ids;
pub mod replica_fetchers;
pub mod replicas;
pub mod replication_quotas;
pub mod room;
pub mod telemetry;
pub mod topic_settings;
pub mod topic_view;
pub mod waiters;

pub use broken::Broken;
pub use broker::{Broker, StartError};
pub use config::{BrokerConfig, ConfigError};
pub use controller_link::ControllerEndpoints;
pub use http::{HttpAddress, serve_controller};
pub use log_dirs::Error as LogDirsError;
pub use metrics::collect::QuorumSource;

#[cfg(test)]
mod tests;
