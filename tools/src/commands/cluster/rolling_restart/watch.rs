//! Sees a node go and come back: a connection that is held to it ends, and another one can be made.
//!
//! No answer of a broker tells its incarnation or its epoch to clients, and a restart may be shorter than the time until
//! anybody misses the node. A process that ends always ends its connections.

use std::time::Duration;

use host::{Clock, Instant};
use protocol::Str;
use protocol::messages::ApiVersionsRequest;
use wire::client::{Node, Session};

use super::nodes::ClusterNode;
use crate::client::Client;
use crate::patience::Deadline;

/// A connection that nobody uses may be closed by the broker, or by something on the way; one to a machine that lost its
/// power would never end.
const PING_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Watch {
    clock: Clock,
    node: Node,
    /// None: it was down when this began.
    held: Option<Session>,
    next_ping: Instant,
}

impl Watch {
    /// Holds a connection to the node. One that is up must be reachable, or its going would not be seen.
    pub(super) async fn new(client: &Client, node: &ClusterNode) -> Result<Watch, String> {
        let clock = client.host.clock().clone();
        let target = client.node(&node.address());
        let held = match target.session().await {
            Ok(session) => Some(session),
            Err(_) if !node.is_up => None,
            Err(why) => {
                return Err(format!(
                    "{node} cannot be reached from here, so that nobody would see it go and come back: {why}"
                ));
            }
        };
        let next_ping = clock.now() + PING_EVERY;
        Ok(Watch { clock, node: target, held, next_ping })
    }

    /// Until it has gone; false: it has not within the time.
    pub(super) async fn until_gone(&mut self, deadline: &Deadline) -> bool {
        while let Some(held) = &self.held {
            if self.clock.now() >= self.next_ping && !held.connection().is_closed() {
                self.next_ping = self.clock.now() + PING_EVERY;
                let ping = ApiVersionsRequest {
                    client_software_name: Str::from_static("weir"),
                    client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
                };
                // An answer that does not come ends the connection.
                let _ = held.call(&ping).await;
            }
            if held.connection().is_closed() {
                self.held = None;
            } else if !deadline.pause(&self.clock, Duration::ZERO).await {
                return false;
            }
        }
        true
    }

    /// Until it answers again; the error is why it does not.
    pub(super) async fn until_back(&self, deadline: &Deadline) -> Result<(), String> {
        loop {
            let Err(error) = self.node.session().await else { return Ok(()) };
            if !deadline.pause(&self.clock, Duration::ZERO).await {
                return Err(error.to_string());
            }
        }
    }
}
