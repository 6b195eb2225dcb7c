//! The client side.
//!
//!     Cluster  follows the metadata, finds leaders, retries          (tools, tests, mirror)
//!       Node   one address: connects, reconnects, knows the versions (broker -> controller, followers -> leaders)
//!         Connection  one stream: requests pipelined, answers in order

//C mod cluster;
mod connection;
mod node;

//C pub use cluster::{Cluster, ClusterError, Fetched, Leader, Produced};
pub use connection::{CallError, Connection, ConnectionOptions, Pending};
pub use node::{Connect, Node, NodeOptions, Pool, Session, Target};

#[cfg(test)]
mod tests;
