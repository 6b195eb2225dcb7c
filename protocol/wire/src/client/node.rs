//! One address and its connection: made when needed, made again when lost, spoken to in the newest common versions.
//!
//!     call -> session -> connected?  yes: use it
//!                                    no:  wait out the back-off, connect, ApiVersions, use it
//!
//! **Invariant:** at most one attempt to connect runs at a time; a call that timed out ends its connection, so that a
//! late answer meets nobody.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host::{Host, Instant, Stream};
use protocol::bounds::{
    CLIENT_CONNECT_TIMEOUT, CLIENT_RECONNECT_WAIT_MAX, CLIENT_RECONNECT_WAIT_MIN, CLIENT_REQUEST_TIMEOUT,
};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, ErrorCode, Request, Str};
use tokio::sync::Mutex;

use super::connection::{CallError, Connection, ConnectionOptions};
use crate::answer::Body;
use crate::{BoxFuture, ServerHandle};

/// Makes a stream to somewhere.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, io::Result<Stream>> + Send + Sync>;

/// Where a node is.
#[derive(Clone)]
pub enum Target {
    /// `host:port`
    Address(Arc<str>),
    /// A server within the process, or anything else that gives streams; the name is for errors.
    Through(Arc<str>, Connect),
}

impl Target {
    pub fn address(address: &str) -> Target {
        Target::Address(Arc::from(address))
    }

    /// A server of this process, by a stream in memory.
    pub fn in_memory(server: &ServerHandle) -> Target {
        let server = server.clone();
        let name = Arc::from(format!("{} in memory", server.listener().name));
        let connect: Connect = Arc::new(move || {
            let stream = server.connect_in_memory();
            Box::pin(async move { Ok(stream) })
        });
        Target::Through(name, connect)
    }

    pub fn name(&self) -> &Arc<str> {
        match self {
            Target::Address(name) | Target::Through(name, _) => name,
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub connection: ConnectionOptions,
    /// `request.timeout.ms`: how long a call may take, the making of the connection not included.
    pub request_timeout: Duration,
    /// How long connecting may take, ApiVersions included.
    pub connect_timeout: Duration,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`
    pub reconnect_wait_min: Duration,
    pub reconnect_wait_max: Duration,
}

impl Default for NodeOptions {
    fn default() -> NodeOptions {
        NodeOptions {
            connection: ConnectionOptions::default(),
            request_timeout: CLIENT_REQUEST_TIMEOUT,
            connect_timeout: CLIENT_CONNECT_TIMEOUT,
            reconnect_wait_min: CLIENT_RECONNECT_WAIT_MIN,
            reconnect_wait_max: CLIENT_RECONNECT_WAIT_MAX,
        }
    }
}

/// A server, seen from a client. Clones share the connection.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    target: Target,
    options: NodeOptions,
    /// Attempts to connect that failed, ever.
    failed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Attempts that failed since the last success.
    failures: u32,
    not_before: Instant,
    last_error: Option<CallError>,
}

/// A connection, and what the other side serves.
#[derive(Clone, Debug)]
pub struct Session {
    connection: Connection,
    host: Host,
    request_timeout: Duration,
    served: Arc<BTreeMap<i16, RangeInclusive<i16>>>,
    api_versions: Arc<ApiVersionsResponse>,
}

impl Node {
    pub fn new(host: &Host, target: Target, options: NodeOptions) -> Node {
        let inner =
            Inner { host: host.clone(), target, options, failed: AtomicU64::new(0), state: Mutex::default() };
        Node { inner: Arc::new(inner) }
    }

    pub fn name(&self) -> &str {
        self.inner.target.name()
    }

    /// Sends a request in the newest version that both sides know, and waits for its answer.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, CallError> {
        self.session().await?.call(request).await
    }

    /// Sends an encoded body in a given version, and returns the body of the answer.
    pub async fn call_raw(&self, key: ApiKey, version: i16, body: Body) -> Result<Bytes, CallError> {
        self.session().await?.call_raw(key, version, body).await
    }

    /// The connection that stands, or a new one. After a failure this waits, longer each time, before it tries again.
    ///
    /// Cancellation is safe: an attempt that is given up counts for nothing.
    pub async fn session(&self) -> Result<Session, CallError> {
        let inner = &*self.inner;
        let failed_before = inner.failed.load(Ordering::SeqCst);
        let mut state = inner.state.lock().await;
        if let Some(session) = &state.session
            && !session.connection.is_closed()
        {
            return Ok(session.clone());
        }
        state.session = None;
        if let Some(error) = &state.last_error
            && inner.failed.load(Ordering::SeqCst) != failed_before
        {
            // Somebody tried while this one waited: his failure is for all who waited with it.
            return Err(error.clone());
        }
        let clock = inner.host.clock();
        if clock.now() < state.not_before {
            clock.sleep_until(state.not_before).await;
        }
        // An error within counts like a refusal: the peer is not usable.
        let connected = match clock.timeout(inner.options.connect_timeout, inner.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(inner.connect_error("time-out")),
        };
        match connected {
            Ok(session) => {
                // The wait also holds when a peer accepts and closes at once.
                state.not_before = clock.now() + inner.options.reconnect_wait_min;
                state.failures = 0;
                state.session = Some(session.clone());
                Ok(session)
            }
            Err(error) => {
                state.not_before = clock.now() + inner.wait_after(state.failures);
                state.failures = state.failures.saturating_add(1);
                state.last_error = Some(error.clone());
                inner.failed.fetch_add(1, Ordering::SeqCst);
                Err(error)
            }
        }
    }

    /// Ends the connection, if there is one. The next call makes another.
    pub async fn disconnect(&self) {
        if let Some(session) = self.inner.state.lock().await.session.take() {
            session.connection.close("disconnected");
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.name())
    }
}

impl Inner {
    fn connect_error(&self, reason: impl Into<Arc<str>>) -> CallError {
        CallError::Connect { peer: Arc::clone(self.target.name()), reason: reason.into() }
    }

    /// Doubles with each failure, and a fifth of it is random: clients of a server that went do not come back at once.
    fn wait_after(&self, failures: u32) -> Duration {
        let wait = self.options.reconnect_wait_min.saturating_mul(1 << failures.min(16));
        let wait = wait.min(self.options.reconnect_wait_max);
        wait.mul_f64(0.8 + self.host.entropy().below(400) as f64 / 1000.0)
    }

    async fn connect(&self) -> Result<Session, CallError> {
        let stream = match &self.target {
            Target::Address(address) => self.host.net().connect(address).await,
            Target::Through(_, connect) => connect().await,
        };
        let stream = stream.map_err(|error| self.connect_error(error.to_string()))?;
        let connection =
            Connection::start(&self.host, stream, self.target.name(), self.options.connection.clone());
        let api_versions = self.negotiate(&connection).await?;
        let range = |k: &protocol::messages::api_versions_response::ApiVersion| {
            (k.api_key, k.min_version..=k.max_version)
        };
        Ok(Session {
            connection,
            host: self.host.clone(),
            request_timeout: self.options.request_timeout,
            served: Arc::new(api_versions.api_keys.iter().map(range).collect()),
            api_versions: Arc::new(api_versions),
        })
    }

    /// Asks what the other side serves: in our newest version, and if it does not know that, in its own newest.
    async fn negotiate(&self, connection: &Connection) -> Result<ApiVersionsResponse, CallError> {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("weir"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
        };
        let mut version = *ApiKey::ApiVersions.stable_versions().end();
        loop {
            let body = connection.submit(version, &request).await?.await?;
            let (answer, newest) = read_api_versions(version, body)?;
            match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None => return Ok(answer),
                ErrorCode::UnsupportedVersion if newest < version => version = newest,
                error => return Err(self.connect_error(format!("ApiVersions: {error}"))),
            }
        }
    }
}

/// Reads an answer to ApiVersions, which is in version 0 if the version was not known, and the newest version it names.
fn read_api_versions(version: i16, body: Bytes) -> Result<(ApiVersionsResponse, i16), CallError> {
    use super::connection::decode_body;
    // The error code comes first in every version.
    let unknown = body.get(..2) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
    let answer = decode_body::<ApiVersionsRequest>(if unknown { 0 } else { version }, body)?;
    let own = answer.api_keys.iter().find(|k| k.api_key == ApiKey::ApiVersions.code());
    let newest = own.map_or(0, |k| k.max_version);
    Ok((answer, newest.max(0)))
}

impl Session {
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the other side told: versions and features.
    pub fn api_versions(&self) -> &ApiVersionsResponse {
        &self.api_versions
    }

    /// The newest version that both sides know.
    pub fn version(&self, key: ApiKey) -> Result<i16, CallError> {
        let ours = key.stable_versions();
        let none = || CallError::NoVersion { peer: Arc::from(self.connection.peer()), key };
        let theirs = self.served.get(&key.code()).ok_or_else(none)?;
        let newest = *ours.end().min(theirs.end());
        if newest >= *ours.start().max(theirs.start()) { Ok(newest) } else { Err(none()) }
    }

    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, CallError> {
        let version = self.version(R::KEY)?;
        let answer = self.connection.call(version, request);
        self.in_time(R::KEY, self.request_timeout, answer).await
    }

    /// A call that may take longer than usual: a long poll.
    pub async fn call_within<R: Request>(
        &self,
        limit: Duration,
        request: &R,
    ) -> Result<R::Response, CallError> {
        let version = self.version(R::KEY)?;
        self.in_time(R::KEY, limit, self.connection.call(version, request)).await
    }

    pub async fn call_raw(&self, key: ApiKey, version: i16, body: Body) -> Result<Bytes, CallError> {
        self.in_time(key, self.request_timeout, self.connection.call_raw(key, version, body)).await
    }

    async fn in_time<T>(
        &self,
        key: ApiKey,
        limit: Duration,
        answer: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match self.host.clock().timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.connection.close("an answer did not come in time");
                Err(CallError::TimedOut { peer: Arc::from(self.connection.peer()), key })
            }
        }
    }
}

/// Nodes by their address, so that everybody in a process shares their connections.
#[derive(Clone, Debug)]
pub struct Pool {
    host: Host,
    options: NodeOptions,
    nodes: Arc<std::sync::Mutex<BTreeMap<String, Node>>>,
}

impl Pool {
    pub fn new(host: &Host, options: NodeOptions) -> Pool {
        Pool { host: host.clone(), options, nodes: Arc::default() }
    }

    /// The node at `host:port`. Nothing is connected yet.
    pub fn node(&self, address: &str) -> Node {
        let mut nodes = self.nodes.lock().expect("nobody panics while holding it");
        if let Some(node) = nodes.get(address) {
            return node.clone();
        }
        let node = Node::new(&self.host, Target::address(address), self.options.clone());
        nodes.insert(address.to_owned(), node.clone());
        node
    }

    /// Forgets the nodes that are not in `addresses`; their connections end when their users are done.
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) {
        self.nodes.lock().expect("nobody panics while holding it").retain(|address, _| keep(address));
    }
}
