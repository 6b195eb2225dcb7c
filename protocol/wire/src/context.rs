//! Who asks, where, and in which version: what a handler knows of a request besides its body.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol::access::{Operation, Resource};
use protocol::config::SecurityProtocol;
use protocol::{ApiKey, Str};

use crate::api_versions::ClientSoftware;
use crate::server::Shared;

/// The listener that a connection came in on.
#[derive(Clone, Debug)]
pub struct ListenerInfo {
    /// As in `listeners`: `PLAINTEXT`, `CONTROLLER`, ...
    pub name: Str,
    pub protocol: SecurityProtocol,
    /// Where it listens; the port is a real one, also if 0 was asked for.
    pub address: SocketAddr,
}

/// Whom a connection has proved to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    pub kind: Str,
    pub name: Str,
}

impl Principal {
    /// `User:ANONYMOUS`: everybody on a listener without authentication.
    pub const ANONYMOUS: Principal =
        Principal { kind: Str::from_static("User"), name: Str::from_static("ANONYMOUS") };
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// Decides who may do what. A server is given one; the rules live in a layer above.
pub trait Authorizer: Send + Sync {
    fn allowed(&self, context: &Context, operation: Operation, resource: Resource<'_>) -> bool;
}

/// Everybody may do everything: Kafka without `authorizer.class.name`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allowed(&self, _: &Context, _: Operation, _: Resource<'_>) -> bool {
        true
    }
}

/// The other end of a connection: what stays the same for all of its requests.
#[derive(Debug)]
pub struct Peer {
    /// Unique within the process's server; tells connections apart in logs and for liveness.
    pub connection_id: u64,
    pub listener: Arc<ListenerInfo>,
    /// Its address; for a stream in memory the loopback address with port 0.
    pub address: SocketAddr,
    /// Told by ApiVersions 3 and later.
    pub(crate) software: OnceLock<ClientSoftware>,
    pub(crate) is_follower: AtomicBool,
}

impl Peer {
    /// A broker that fetches as a follower: such a connection carries nothing else.
    pub fn is_follower(&self) -> bool {
        self.is_follower.load(Ordering::Relaxed)
    }
}

/// Everything about a request but its body. Cloning is cheap.
#[derive(Clone)]
pub struct Context {
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
    pub principal: Arc<Principal>,
    pub(crate) shared: Arc<Shared>,
}

impl Context {
    /// May the asker do this? Asked for each resource, inside the handler's loop: a request may be allowed in part.
    pub fn allowed(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.shared.authorizer.allowed(self, operation, resource)
    }

    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    pub fn connection_id(&self) -> u64 {
        self.shared.peer.connection_id
    }

    pub fn listener(&self) -> &Arc<ListenerInfo> {
        &self.shared.peer.listener
    }

    /// The address of the client. `host()` is what Kafka calls its host.
    pub fn address(&self) -> SocketAddr {
        self.shared.peer.address
    }

    /// Which client software this is, once it has told.
    pub fn software(&self) -> Option<&ClientSoftware> {
        self.shared.peer.software.get()
    }

    /// Tells observers that this connection is a follower's.
    pub fn tell_follower(&self) {
        self.shared.peer.is_follower.store(true, Ordering::Relaxed);
    }

    /// Reads no further request of this connection for so long, counted from now. The answer itself goes out at once and
    /// carries the same time as `throttle_time_ms` (KIP-219).
    pub fn throttle(&self, duration: Duration) {
        self.shared.mute_until(self.shared.now_ms().saturating_add(duration.as_millis() as u64));
    }

    /// Completes when the connection has ended.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move { shared.until_ended().await }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let client = self.client_id.as_deref().unwrap_or("");
        write!(
            f,
            "{}v{} #{} of {client:?} at {}",
            self.key,
            self.version,
            self.correlation_id,
            self.address()
        )
    }
}
