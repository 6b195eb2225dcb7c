//! The controller's listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use host::Stream;
use protocol::bounds;
use wire::{ConnectionQuotas, FrameBudget, Server, ServerConfig, ServerHandle};

use crate::controller::{Listen, StartError};
use crate::node::Node;

/// Running listeners: at least one.
pub(crate) struct Listening {
    servers: Vec<ServerHandle>,
}

/// Starts all listeners, with one budget of memory.
pub(crate) async fn listen(node: &Arc<Node>, listens: &[Listen]) -> Result<Listening, StartError> {
    let quotas = ConnectionQuotas::unlimited();
    let budget = FrameBudget::new(bounds::REQUEST_BYTES_IN_FLIGHT_MAX);
    let mut servers = Vec::new();
    for listen in listens {
        let config = ServerConfig {
            protocol: listen.protocol,
            quotas: quotas.clone(),
            budget: budget.clone(),
            ..ServerConfig::new(listen.name.clone(), listen.address.clone())
        };
        let service = node.table.clone().with(node.clone());
        let started = Server::start(&node.host, config, service).await;
        servers
            .push(started.map_err(|source| StartError::Listen { address: listen.address.clone(), source })?);
    }
    if servers.is_empty() {
        return Err(StartError::NoListener);
    }
    Ok(Listening { servers })
}

impl Listening {
    /// A connection within the process.
    pub(crate) fn connect(&self) -> Stream {
        self.servers[0].connect_in_memory()
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.servers[0].local_addr()
    }

    /// Accepts and reads nothing more; waits until what is owed is answered.
    pub(crate) async fn stop(&self) {
        for server in &self.servers {
            server.stop(bounds::CONTROLLER_HAND_OVER_WAIT).await;
        }
    }
}
