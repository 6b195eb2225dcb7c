//! One connection of the Kafka protocol, both sides.
//!
//! The server side accepts connections, reads frames, dispatches them by a table of APIs and writes the answers in the
//! order of the requests. The client side sends requests down one connection without waiting, follows the cluster's
//! metadata and retries.
//!
//! **Invariant:** what a peer sends, or does not read, costs bounded memory; each bound stands in `protocol::bounds`.
//! This crate knows no topics' contents, logs or groups: a request is a key, a version and bytes, or a typed message.

mod answer;
mod api_versions;
mod budget;
pub mod client;
mod complaints;
mod context;
mod frame;
mod quotas;
mod server;
mod table;
#[cfg(test)]
mod testing;

pub use answer::{Answer, Body, Encoded, Reply};
pub use api_versions::{ClientSoftware, api_versions_response};
pub use budget::FrameBudget;
pub use context::{AllowAll, Authorizer, Context, ListenerInfo, Peer, Principal};
pub use frame::FrameError;
pub use quotas::{ConnectionLimits, ConnectionQuotas};
// What a handler says to its context, beside it.
pub use protocol::access::{Operation, Resource, ResourceType};
pub use protocol::config::SecurityProtocol;
pub use server::{Answered, Bound, Observer, Server, ServerConfig, ServerHandle, Traffic};
pub use table::{Api, Service, Table};

/// A future on the heap.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
