//! Who asks, where, and in which version: what a handler knows of a request besides its body.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol::{ApiKey, Str};

use crate::api_versions::ClientSoftware;
use crate::server::Shared;

/// The protocol of a listener, as in `listener.security.protocol.map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name, as it stands in configs.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Kafka takes the name in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
        [Plaintext, Ssl, SaslPlaintext, SaslSsl].into_iter().find(|p| p.name().eq_ignore_ascii_case(name))
    }

    /// The number in metadata records (Kafka's `SecurityProtocol`).
    pub fn id(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }
}

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

/// What is to be done with a resource: Kafka's `AclOperation`, with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

impl Operation {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// Kafka's `ResourceType`, with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
    DelegationToken = 6,
    User = 7,
}

impl ResourceType {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// One thing that a request wants to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    pub resource_type: ResourceType,
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    /// The cluster as a whole (Kafka's name for it).
    pub const CLUSTER: Resource<'static> =
        Resource { resource_type: ResourceType::Cluster, name: "kafka-cluster" };

    pub fn topic(name: &'a str) -> Resource<'a> {
        Resource { resource_type: ResourceType::Topic, name }
    }

    pub fn group(name: &'a str) -> Resource<'a> {
        Resource { resource_type: ResourceType::Group, name }
    }

    pub fn transactional_id(name: &'a str) -> Resource<'a> {
        Resource { resource_type: ResourceType::TransactionalId, name }
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
