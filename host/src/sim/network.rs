//! The network between simulated nodes: latency by the seed, order within a direction, partitions that hold what is sent.
//!
//! A partition does not lose bytes, as TCP does not: it holds them, in one direction or both, until it heals or a side
//! resets the connection. Only a crash of the process resets; a node without power is silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::executor::{Executor, Life, NodeId};
use super::pipe::{Pipe, PipeReader, PipeWriter, pipe_pair};
use crate::net::{BoxFuture, ListenerKind, NetSource, ReadKind, WriteKind};
use crate::{Listener, ReadHalf, Stream, WriteHalf};

/// Connections that wait to be accepted, per listener.
const BACKLOG: usize = 1024;

struct Link {
    from: NodeId,
    to: NodeId,
    pipe: Weak<Pipe>,
    /// When the newest item in flight arrives: items of one direction do not overtake each other.
    last_arrival: Duration,
    /// Items whose time came while the way was cut.
    held: usize,
}

#[derive(Default)]
struct Accepting {
    life: Option<Life>,
    waiting: VecDeque<(Stream, SocketAddr)>,
    waker: Option<Waker>,
}

struct State {
    listeners: BTreeMap<String, Arc<Mutex<Accepting>>>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    next_port: u16,
    cut: BTreeSet<(NodeId, NodeId)>,
    latency: (Duration, Duration),
}

/// The network of a world.
pub(crate) struct Network {
    executor: Arc<Executor>,
    state: Mutex<State>,
}

impl Network {
    pub(crate) fn new(executor: Arc<Executor>) -> Arc<Network> {
        let state = State {
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_port: 40_000,
            cut: BTreeSet::new(),
            latency: (Duration::from_micros(50), Duration::from_micros(500)),
        };
        Arc::new(Network { executor, state: Mutex::new(state) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn set_latency(&self, min: Duration, max: Duration) {
        self.lock().latency = (min, max);
    }

    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.lock().cut.insert((from, to));
    }

    /// Opens a way again; what was held arrives.
    pub(crate) fn heal(self: &Arc<Self>, from: NodeId, to: NodeId) {
        let due: Vec<(u64, usize)> = {
            let mut state = self.lock();
            state.cut.remove(&(from, to));
            let links = state.links.iter_mut().filter(|(_, l)| l.from == from && l.to == to);
            links.map(|(id, l)| (*id, std::mem::take(&mut l.held))).collect()
        };
        for (link, held) in due {
            for _ in 0..held {
                self.schedule(link);
            }
        }
    }

    fn latency(&self) -> Duration {
        let (min, max) = self.lock().latency;
        min + Duration::from_nanos(self.executor.below((max - min).as_nanos() as u64 + 1))
    }

    /// Something was put in flight on `link`: it arrives after the latency, and after what went before.
    fn schedule(self: &Arc<Self>, link: u64) {
        let latency = self.latency();
        let now = self.executor.now();
        let at = {
            let mut state = self.lock();
            let Some(link) = state.links.get_mut(&link) else { return };
            link.last_arrival = link.last_arrival.max(now + latency);
            link.last_arrival
        };
        let this = Arc::clone(self);
        self.executor.at(at, move || this.arrive(link));
    }

    fn arrive(self: &Arc<Self>, link: u64) {
        let pipe = {
            let mut state = self.lock();
            let Some(found) = state.links.get(&link) else { return };
            if state.cut.contains(&(found.from, found.to)) {
                if let Some(link) = state.links.get_mut(&link) {
                    link.held += 1;
                }
                return;
            }
            match found.pipe.upgrade() {
                Some(pipe) => pipe,
                None => {
                    state.links.remove(&link);
                    return;
                }
            }
        };
        let bytes = pipe.deliver();
        self.executor.trace(&[3, link, bytes.map_or(u64::MAX, |n| n as u64)]);
    }

    fn add_link(self: &Arc<Self>, from: NodeId, to: NodeId, pipe: &Arc<Pipe>) {
        let id = {
            let mut state = self.lock();
            let id = state.next_link;
            state.next_link += 1;
            // Links whose pipes are gone are of no use; connections come and go.
            if id % 64 == 0 {
                state.links.retain(|_, l| l.pipe.strong_count() > 0);
            }
            let pipe = Arc::downgrade(pipe);
            state.links.insert(id, Link { from, to, pipe, last_arrival: Duration::ZERO, held: 0 });
            id
        };
        let this = Arc::downgrade(self);
        pipe.delay_by(Arc::new(move || {
            if let Some(this) = this.upgrade() {
                this.schedule(id);
            }
        }));
    }

    /// Resets every connection of a node, and closes its listeners.
    pub(crate) fn reset_node(&self, node: NodeId) {
        let pipes: Vec<Arc<Pipe>> = {
            let state = self.lock();
            let mine = state.links.values().filter(|l| l.from == node || l.to == node);
            mine.filter_map(|l| l.pipe.upgrade()).collect()
        };
        for pipe in pipes {
            pipe.reset();
        }
        self.close_listeners(node);
    }

    pub(crate) fn close_listeners(&self, node: NodeId) {
        let mut state = self.lock();
        state.listeners.retain(|_, l| {
            let l = l.lock().expect("nobody panics while holding it");
            l.life.is_none_or(|life| life.node != node)
        });
    }

    /// Loses what a node has in flight and what is on its way to it, silently: its power is gone.
    pub(crate) fn silence_node(&self, node: NodeId) {
        let mut state = self.lock();
        state.links.retain(|_, l| l.from != node && l.to != node);
        drop(state);
        self.close_listeners(node);
    }
}

/// A node's network in one life.
pub(crate) struct SimNet {
    pub(crate) network: Arc<Network>,
    pub(crate) life: Life,
}

impl SimNet {
    fn is_alive(&self) -> bool {
        self.network.executor.is_alive(self.life)
    }

    fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, (self.life.node >> 8) as u8, self.life.node as u8], port))
    }

    fn listen_now(&self, address: &str) -> io::Result<Listener> {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is not host:port"));
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let mut port: u16 = port.parse().map_err(|_| bad())?;
        let mut state = self.network.lock();
        if port == 0 {
            state.next_port += 1;
            port = state.next_port;
        }
        let name = format!("{host}:{port}");
        if state.listeners.contains_key(&name) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let accepting = Arc::new(Mutex::new(Accepting { life: Some(self.life), ..Accepting::default() }));
        state.listeners.insert(name.clone(), Arc::clone(&accepting));
        let network = Arc::downgrade(&self.network);
        Ok(Listener(ListenerKind::Sim(SimListener { name, network, accepting, local: self.address(port) })))
    }

    /// Makes the connection, if somebody listens. The listener's side is queued at once; bytes take their time.
    fn connect_now(&self, address: &str) -> io::Result<Stream> {
        let accepting = self.network.lock().listeners.get(address).cloned();
        let Some(accepting) = accepting else { return Err(io::ErrorKind::ConnectionRefused.into()) };
        let mut accepting = accepting.lock().expect("nobody panics while holding it");
        let Some(life) = accepting.life else { return Err(io::ErrorKind::ConnectionRefused.into()) };
        if !self.network.executor.is_alive(life) || accepting.waiting.len() >= BACKLOG {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let port = {
            let mut state = self.network.lock();
            state.next_port = state.next_port.wrapping_add(1).max(40_000);
            state.next_port
        };
        let (near, far) = pipe_pair();
        self.network.add_link(self.life.node, life.node, near.1.pipe());
        self.network.add_link(life.node, self.life.node, near.0.pipe());
        let far_port = address.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).unwrap_or(0);
        let there = SocketAddr::from(([10, 0, (life.node >> 8) as u8, life.node as u8], far_port));
        let here = self.address(port);
        accepting.waiting.push_back((stream(far, here, there), here));
        if let Some(waker) = accepting.waker.take() {
            waker.wake();
        }
        Ok(stream(near, there, here))
    }

    fn is_cut_to(&self, address: &str) -> bool {
        let state = self.network.lock();
        let Some(accepting) = state.listeners.get(address) else { return false };
        let Some(life) = accepting.lock().expect("nobody panics while holding it").life else { return false };
        let (here, there) = (self.life.node, life.node);
        state.cut.contains(&(here, there)) || state.cut.contains(&(there, here))
    }
}

fn stream((read, write): (PipeReader, PipeWriter), peer: SocketAddr, local: SocketAddr) -> Stream {
    Stream { read: ReadHalf(ReadKind::Pipe(read)), write: WriteHalf(WriteKind::Pipe(write)), peer, local }
}

impl NetSource for SimNet {
    fn listen(&self, address: String) -> BoxFuture<'_, io::Result<Listener>> {
        Box::pin(async move { self.listen_now(&address) })
    }

    fn connect(&self, address: String) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            loop {
                // A handshake takes a round trip; through a cut it takes until the cut heals, or for ever.
                let wait = self.network.latency() + self.network.latency();
                sleep(&self.network.executor, wait).await;
                if !self.is_alive() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                if !self.is_cut_to(&address) {
                    return self.connect_now(&address);
                }
                sleep(&self.network.executor, Duration::from_millis(20)).await;
            }
        })
    }
}

/// Waits in virtual time, whatever the node's clock says.
async fn sleep(executor: &Arc<Executor>, duration: Duration) {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    executor.after(duration, move || drop(sender));
    // The sender is dropped when the time has come: an error is the signal.
    let _ = receiver.await;
}

/// See `Listener`.
pub(crate) struct SimListener {
    name: String,
    network: Weak<Network>,
    accepting: Arc<Mutex<Accepting>>,
    local: SocketAddr,
}

impl SimListener {
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        std::future::poll_fn(|cx| {
            let mut accepting = self.accepting.lock().expect("nobody panics while holding it");
            match accepting.waiting.pop_front() {
                Some(accepted) => Poll::Ready(Ok(accepted)),
                None => {
                    accepting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let waiting = {
            let mut accepting = self.accepting.lock().expect("nobody panics while holding it");
            accepting.life = None;
            std::mem::take(&mut accepting.waiting)
        };
        drop(waiting); // Outside of the lock: it closes streams, which wakes their peers.
        if let Some(network) = self.network.upgrade() {
            let mut state = network.lock();
            if state.listeners.get(&self.name).is_some_and(|l| Arc::ptr_eq(l, &self.accepting)) {
                state.listeners.remove(&self.name);
            }
        }
    }
}

impl std::fmt::Debug for SimListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimListener({})", self.name)
    }
}
