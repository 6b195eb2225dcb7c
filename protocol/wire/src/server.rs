//! A listener: accepts connections within the bounds, watches over their time-outs, and drains them at the end.
//!
//!     Server::bind -> Bound -- serve(service) --> ServerHandle
//!                                                   |-- accept task: quotas, then one task per connection
//!                                                   |-- watch task:  closes idle, stalled and half-sent ones
//!                                                   '-- stop(limit): no new requests, answers drained, then closed
//!
//! **Invariant:** an idle connection is one task and one small shared state; timers are not per connection but one walk
//! over all of them.

mod connection;
mod dispatch;
mod queue;
mod shared;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use host::{Host, Listener, Stream, Task};
use protocol::config::SecurityProtocol;
use protocol::{ApiKey, ErrorTally, Str, bounds};
use tokio::sync::Notify;

use crate::budget::FrameBudget;
use crate::complaints::Complaints;
use crate::context::{AllowAll, Authorizer, ListenerInfo, Peer};
use crate::quotas::{Admitted, ConnectionQuotas};
use crate::table::Service;

pub(crate) use shared::Shared;

/// How long to wait after the kernel refused to accept: mostly, files ran out.
const ACCEPT_ERROR_WAIT: Duration = Duration::from_millis(100);
/// How long killed connections may take to be gone before they are killed again.
const KILL_WAIT: Duration = Duration::from_millis(100);
/// The watch walks over all connections this many times per idle time-out.
const WATCHES_PER_IDLE_TIME: u32 = 10;
const WATCH_PERIOD_MAX: Duration = Duration::from_secs(5);

/// Told what happens on connections. All methods return at once.
pub trait Observer: Send + Sync {
    fn opened(&self, _peer: &Peer) {}
    /// The connection ended, for whatever reason. Nothing of it is heard any more.
    fn closed(&self, _peer: &Peer) {}
    /// An answer was handed to the socket.
    fn answered(&self, _answered: &Answered<'_>) {}
}

/// A request that was answered, and where its time went. The four parts add up to all of it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub peer: &'a Peer,
    pub key: ApiKey,
    pub version: i16,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// From the complete frame to the end of the handler's ordered part.
    pub local: Duration,
    /// Waiting for others: `Reply::Later`.
    pub remote: Duration,
    /// Ready, and behind earlier answers or a socket that takes nothing.
    pub queued: Duration,
    /// Being written, with the answers that are written together with it.
    pub sending: Duration,
    pub errors: &'a ErrorTally,
}

struct Blind;
impl Observer for Blind {}

/// What a listener is made of. Fields are Kafka's configs.
#[derive(Clone)]
pub struct ServerConfig {
    /// `PLAINTEXT`, `CONTROLLER`, ...: the name in `listeners`.
    pub listener_name: Str,
    pub protocol: SecurityProtocol,
    /// `host:port`; port 0 takes any free one.
    pub address: String,
    /// `socket.request.max.bytes`
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`
    pub idle_time_max: Duration,
    /// `max.connections` and its kin; one for all listeners of a node.
    pub quotas: Arc<ConnectionQuotas>,
    /// Connections are accepted at `max.connections` too: of a listener between brokers, beside those of clients.
    pub is_protected: bool,
    /// `socket.listen.backlog.size`, `socket.send.buffer.bytes`, `socket.receive.buffer.bytes`, where they are set.
    pub socket: host::SocketOptions,
    /// Memory of frames in flight; one for all listeners of a node.
    pub budget: Arc<FrameBudget>,
    pub authorizer: Arc<dyn Authorizer>,
    pub observer: Arc<dyn Observer>,
    /// Requests of one connection that are dispatched and not answered.
    pub pending_answers_max: usize,
    /// Bytes of their answers that are in memory.
    pub pending_answer_bytes_max: usize,
}

impl ServerConfig {
    /// Kafka's defaults, a plaintext listener, everybody allowed.
    pub fn new(listener_name: impl Into<Str>, address: impl Into<String>) -> ServerConfig {
        ServerConfig {
            listener_name: listener_name.into(),
            protocol: SecurityProtocol::Plaintext,
            address: address.into(),
            request_bytes_max: bounds::REQUEST_BYTES_MAX,
            idle_time_max: bounds::CONNECTION_IDLE_MAX,
            quotas: ConnectionQuotas::unlimited(),
            is_protected: false,
            socket: host::SocketOptions::default(),
            budget: FrameBudget::new(bounds::REQUEST_BYTES_IN_FLIGHT_MAX),
            authorizer: Arc::new(AllowAll),
            observer: Arc::new(Blind),
            pending_answers_max: bounds::PENDING_ANSWERS_MAX,
            pending_answer_bytes_max: bounds::PENDING_ANSWER_BYTES_MAX,
        }
    }
}

/// Counters of a listener since its start.
#[derive(Debug, Default)]
pub struct Traffic {
    pub accepted: AtomicU64,
    /// Turned away by `max.connections.per.ip`.
    pub refused: AtomicU64,
    pub requests: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
}

/// Starts listeners.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Takes the address. Nothing is accepted yet, but peers may already connect.
    pub async fn bind(host: &Host, config: ServerConfig) -> io::Result<Bound> {
        if config.protocol != SecurityProtocol::Plaintext {
            let text =
                format!("listener {}: {} is not supported yet", config.listener_name, config.protocol.name());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let listener = host.net().listen_with(&config.address, config.socket).await?;
        Ok(Bound { host: host.clone(), config, listener })
    }

    /// Takes the address and serves.
    pub async fn start(
        host: &Host,
        config: ServerConfig,
        service: Arc<dyn Service>,
    ) -> io::Result<ServerHandle> {
        Ok(Server::bind(host, config).await?.serve(service))
    }
}

/// A listener that has its address and does not serve yet: what is advertised depends on the port.
pub struct Bound {
    host: Host,
    config: ServerConfig,
    listener: Listener,
}

impl Bound {
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    pub fn serve(self, service: Arc<dyn Service>) -> ServerHandle {
        let info = ListenerInfo {
            name: self.config.listener_name.clone(),
            protocol: self.config.protocol,
            address: self.listener.local_addr(),
        };
        let inner = Arc::new(Inner {
            complaints: Complaints::new(self.host.clock()),
            host: self.host.clone(),
            config: self.config,
            info: Arc::new(info),
            service,
            connections: Mutex::default(),
            next_connection_id: AtomicU64::new(1),
            is_draining: AtomicBool::new(false),
            one_less: Notify::new(),
            traffic: Traffic::default(),
        });
        let accept = self.host.spawn("wire accept", accept(Arc::clone(&inner), self.listener));
        let watch = self.host.spawn("wire watch", watch(Arc::clone(&inner)));
        ServerHandle { inner, tasks: Arc::new([accept, watch]) }
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bound({})", self.local_addr())
    }
}

/// What all connections of a listener share.
pub(crate) struct Inner {
    host: Host,
    config: ServerConfig,
    info: Arc<ListenerInfo>,
    service: Arc<dyn Service>,
    complaints: Complaints,
    connections: Mutex<BTreeMap<u64, Arc<Shared>>>,
    next_connection_id: AtomicU64,
    is_draining: AtomicBool,
    /// A connection ended.
    one_less: Notify,
    traffic: Traffic,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Shared>>> {
        self.connections.lock().expect("nobody panics while holding it")
    }

    /// Starts the task of a connection. `admitted` is None for a stream in memory, which has no bounds of number and time.
    fn serve(self: &Arc<Self>, stream: Stream, address: SocketAddr, admitted: Option<Admitted>) {
        let connection_id = self.next_connection_id.fetch_add(1, Ordering::Relaxed);
        let peer = Peer {
            connection_id,
            listener: Arc::clone(&self.info),
            address,
            software: std::sync::OnceLock::new(),
            is_follower: AtomicBool::new(false),
        };
        let shared = Arc::new(Shared::new(Arc::clone(self), peer, stream.abort_handle(), admitted));
        self.lock().insert(connection_id, Arc::clone(&shared));
        self.traffic.accepted.fetch_add(1, Ordering::Relaxed);
        self.config.observer.opened(&shared.peer);
        if self.is_draining.load(Ordering::SeqCst) {
            shared.drain();
        }
        // On the heap before it is spawned: a spawned future takes its size twice.
        let task = self.host.spawn("wire connection", Box::pin(connection::run(Arc::clone(&shared), stream)));
        shared.started(task);
    }

    /// Called by a connection's task when it is dropped.
    fn ended(&self, shared: &Shared) {
        self.lock().remove(&shared.peer.connection_id);
        self.config.observer.closed(&shared.peer);
        self.one_less.notify_waiters();
    }
}

async fn accept(inner: Arc<Inner>, mut listener: Listener) {
    loop {
        let quotas = &inner.config.quotas;
        // At the bound nothing is accepted: further peers wait in the kernel's backlog.
        let slot = if inner.config.is_protected { quotas.slot_at_once() } else { quotas.slot().await };
        match listener.accept().await {
            Ok((stream, address)) => {
                match quotas.admit(address.ip(), slot) {
                    Some(admitted) => inner.serve(stream, address, Some(admitted)),
                    None => {
                        inner.traffic.refused.fetch_add(1, Ordering::Relaxed);
                        inner
                            .complaints
                            .warn(|| format!("closed a connection of {address}: too many from this address"));
                    }
                }
                let clock = inner.host.clock();
                let wait = quotas.pace(clock.now());
                if !wait.is_zero() {
                    clock.sleep(wait).await;
                }
            }
            Err(error) => {
                inner.complaints.warn(|| format!("cannot accept on {}: {error}", inner.info.name));
                inner.host.clock().sleep(ACCEPT_ERROR_WAIT).await;
            }
        }
    }
}

/// Closes connections whose peer keeps us waiting for too long.
async fn watch(inner: Arc<Inner>) {
    let idle_max = inner.config.idle_time_max;
    let period = (idle_max / WATCHES_PER_IDLE_TIME).clamp(Duration::from_millis(1), WATCH_PERIOD_MAX);
    loop {
        inner.host.clock().sleep(period).await;
        let now_ms = shared::now_ms(&inner.host);
        let late: Vec<(Arc<Shared>, &'static str)> = {
            let connections = inner.lock();
            let late = connections.values().filter_map(|c| Some((c, c.is_late(now_ms, idle_max)?)));
            late.map(|(c, why)| (Arc::clone(c), why)).collect()
        };
        for (connection, why) in late {
            tracing::debug!("closed the connection of {}: {why}", connection.peer.address);
            connection.kill();
        }
    }
}

/// A running listener. Dropping the last clone does not stop it.
#[derive(Clone)]
pub struct ServerHandle {
    inner: Arc<Inner>,
    tasks: Arc<[Task<()>; 2]>,
}

impl ServerHandle {
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.info.address
    }

    pub fn listener(&self) -> &Arc<ListenerInfo> {
        &self.inner.info
    }

    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    pub fn connection_count(&self) -> usize {
        self.inner.lock().len()
    }

    /// Serves a stream as if it had been accepted.
    pub fn serve_stream(&self, stream: Stream) {
        let address = stream.peer_addr();
        self.inner.serve(stream, address, None);
    }

    /// A new connection to this server within the process.
    pub fn connect_in_memory(&self) -> Stream {
        let (near, far) = self.inner.host.net().pair();
        self.serve_stream(far);
        near
    }

    /// Accepts nothing more, reads no further requests, and waits until all pending answers are written, but no longer
    /// than `limit`; then what is left is closed.
    pub async fn stop(&self, limit: Duration) {
        self.inner.is_draining.store(true, Ordering::SeqCst);
        for task in self.tasks.iter() {
            task.abort();
        }
        for connection in self.all() {
            connection.drain();
        }
        let clock = self.inner.host.clock();
        if clock.timeout(limit, self.until_empty()).await.is_ok() {
            return;
        }
        let (name, rest) = (&self.inner.info.name, self.connection_count());
        tracing::warn!("listener {name}: closing {rest} connections with pending answers");
        loop {
            for connection in self.all() {
                connection.kill();
            }
            // Again and again: a connection that was just being started is caught by the next turn.
            if clock.timeout(KILL_WAIT, self.until_empty()).await.is_ok() {
                return;
            }
        }
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        self.inner.lock().values().cloned().collect()
    }

    async fn until_empty(&self) {
        loop {
            let mut one_less = std::pin::pin!(self.inner.one_less.notified());
            one_less.as_mut().enable();
            if self.inner.lock().is_empty() {
                return;
            }
            one_less.await;
        }
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerHandle({} on {})", self.inner.info.name, self.local_addr())
    }
}

#[cfg(test)]
mod tests;
