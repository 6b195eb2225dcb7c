//! What a node sees of the simulated network: listening, connecting, accepting.
//!
//! Addresses are names, `host:port`; a host name that is a node's name belongs to that node, any other one to whoever
//! listened on it last. Connecting takes a round trip; through a cut, or to a machine without power, it is tried again
//! after 1, 2, 4, ... seconds, as kernels do, and never given up: use a time-out.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::time::Duration;

use super::{Accepting, Network};
use crate::net::{BoxFuture, ListenerKind, NetSource, ReadKind, WriteKind};
use crate::sim::executor::{Executor, Life, NodeId};
use crate::sim::pipe::{PipeReader, PipeWriter, pipe_pair};
use crate::{Listener, ReadHalf, SocketOptions, Stream, WriteHalf};

/// Connections that wait to be accepted, per listener.
const BACKLOG: usize = 1024;
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
const CONNECT_AGAIN_MAX: Duration = Duration::from_secs(32);

/// A node's network in one life.
pub(crate) struct SimNet {
    pub(crate) network: Arc<Network>,
    pub(crate) life: Life,
}

impl SimNet {
    fn is_alive(&self) -> bool {
        self.network.executor.is_alive(self.life)
    }

    fn listen_now(&self, address: &str) -> io::Result<Listener> {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is not host:port"));
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let mut port: u16 = port.parse().map_err(|_| bad())?;
        if !self.is_alive() {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let mut state = self.network.lock();
        while port == 0
            || (address.ends_with(":0") && state.listeners.contains_key(&format!("{host}:{port}")))
        {
            port = state.port();
        }
        let name = format!("{host}:{port}");
        if state.listeners.contains_key(&name) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let accepting = Arc::new(Mutex::new(Accepting { life: Some(self.life), ..Accepting::default() }));
        state.listeners.insert(name.clone(), Arc::clone(&accepting));
        state.names.insert(host.to_owned(), self.life.node);
        let network = Arc::downgrade(&self.network);
        let local = socket_address(self.life.node, port);
        Ok(Listener(ListenerKind::Sim(SimListener { name, network, accepting, local })))
    }

    /// Makes the connection, if somebody listens. The listener's side is queued at once; bytes take their time.
    fn connect_now(&self, address: &str) -> io::Result<Stream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let accepting = self.network.lock().listeners.get(address).cloned().ok_or_else(refused)?;
        let mut accepting = accepting.lock().expect("nobody panics while holding it");
        let life = accepting.life.ok_or_else(refused)?;
        if !self.network.executor.is_alive(life) || accepting.waiting.len() >= BACKLOG {
            return Err(refused());
        }
        let (near, far) = pipe_pair();
        self.network.add_link(self.life.node, life.node, near.1.side());
        self.network.add_link(life.node, self.life.node, far.1.side());
        let far_port = address.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).unwrap_or(0);
        let there = socket_address(life.node, far_port);
        let here = socket_address(self.life.node, self.network.lock().port());
        accepting.waiting.push_back((stream(far, here, there), here));
        if let Some(waker) = accepting.waker.take() {
            waker.wake();
        }
        Ok(stream(near, there, here))
    }

    /// Whether packets go to the machine of this address and back. A name that nobody knows is refused at once.
    fn reaches(&self, address: &str) -> bool {
        let state = self.network.lock();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let listening = state.listeners.get(address);
        let life = listening.and_then(|l| l.lock().expect("nobody panics while holding it").life);
        let there = life.map(|life| life.node).or_else(|| state.names.get(host).copied());
        there.is_none_or(|there| state.is_open(self.life.node, there) && state.is_open(there, self.life.node))
    }
}

fn socket_address(node: NodeId, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], port))
}

fn stream((read, write): (PipeReader, PipeWriter), peer: SocketAddr, local: SocketAddr) -> Stream {
    let (read, write) = (ReadHalf(ReadKind::Pipe(read)), WriteHalf(WriteKind::Pipe(write)));
    Stream { read, write, peer, local, peer_certificates: Vec::new() }
}

impl NetSource for SimNet {
    fn listen(&self, address: String, _: SocketOptions) -> BoxFuture<'_, io::Result<Listener>> {
        Box::pin(async move { self.listen_now(&address) })
    }

    fn connect(&self, address: String) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let mut again = CONNECT_AGAIN;
            loop {
                let round_trip = self.network.latency() + self.network.latency();
                sleep(&self.network.executor, round_trip).await;
                if !self.is_alive() {
                    return Err(io::ErrorKind::NetworkDown.into());
                }
                if self.reaches(&address) {
                    return self.connect_now(&address);
                }
                sleep(&self.network.executor, again).await;
                again = CONNECT_AGAIN_MAX.min(again * 2);
            }
        })
    }
}

/// Waits in virtual time, whatever the node's clock says.
async fn sleep(executor: &Arc<Executor>, duration: Duration) {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    executor.after(duration, None, move || drop(sender));
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
        if let Some(network) = self.network.upgrade() {
            let mut state = network.lock();
            if state.listeners.get(&self.name).is_some_and(|l| Arc::ptr_eq(l, &self.accepting)) {
                state.listeners.remove(&self.name);
            }
        }
        let waiting = {
            let mut accepting = self.accepting.lock().expect("nobody panics while holding it");
            accepting.life = None;
            std::mem::take(&mut accepting.waiting)
        };
        drop(waiting); // Outside of the lock: it closes streams, which wakes their peers.
    }
}

impl std::fmt::Debug for SimListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimListener({})", self.name)
    }
}
