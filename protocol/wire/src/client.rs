//! The client side.
//!
//!     Cluster  follows the metadata, finds leaders, retries          (tools, tests, mirror)
//!       Node   one address: connects, reconnects, knows the versions (broker -> controller, followers -> leaders)
//!         Connection  one stream: requests pipelined, answers in order

mod cluster;
mod connection;
mod coordinator;
mod metadata_log;
mod node;
mod offsets;
mod records;

pub use cluster::{Cluster, ClusterError, ClusterOptions, Leader, PartitionView, TopicView, View};
pub use connection::{CallError, Connection, ConnectionOptions, Pending};
pub use metadata_log::{MetadataFetched, MetadataLog, MetadataLogError};
pub use node::{Connect, Node, NodeOptions, Pool, Session, Target};
pub use offsets::NamedPartition;
pub use records::{FetchOptions, Fetched, Produced};

#[cfg(test)]
mod tests;
