//! The network between simulated nodes: latency by the seed, order within a direction, cuts that hold what is sent.
//!
//! As TCP does it, bytes are not lost but late: a cut or a node without power holds them, in one direction or both, until
//! it heals or is back, and a lost packet is one that comes a retransmission later. A process that dies says so to its
//! peers (the kernel ends or resets its connections); a machine without power is silent, and answers what was meant for
//! its former life with a reset when it is back.

mod endpoint;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Duration;

use super::executor::{DELIVERY, Executor, Life, NodeId};
use super::pipe::{Pipe, Side};
use crate::Stream;

pub(crate) use endpoint::{SimListener, SimNet};

/// What is sent again comes so much later, at most, after the way is open again; and so does a lost packet.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// One direction of a connection.
struct Link {
    from: NodeId,
    to: NodeId,
    pipe: Weak<Pipe>,
    /// The sending side.
    side: Weak<Side>,
    /// When the newest item in flight arrives: items of one direction do not overtake each other.
    last_arrival: Duration,
    /// Items whose time came while the way was closed.
    held: usize,
}

/// A listener's end in the network.
#[derive(Default)]
struct Accepting {
    life: Option<Life>,
    waiting: VecDeque<(Stream, SocketAddr)>,
    waker: Option<Waker>,
}

struct State {
    listeners: BTreeMap<String, Arc<Mutex<Accepting>>>,
    /// Whose machine a host name is: of the nodes by their names, and of whoever listened last.
    names: BTreeMap<String, NodeId>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    next_port: u16,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Without power.
    dark: BTreeSet<NodeId>,
    latency: (Duration, Duration),
    losses_per_million: u64,
}

impl State {
    fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to)) && !self.dark.contains(&from) && !self.dark.contains(&to)
    }

    fn port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX { 40_000 } else { self.next_port + 1 };
        self.next_port
    }
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
            names: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_port: 40_000,
            cut: BTreeSet::new(),
            dark: BTreeSet::new(),
            latency: (Duration::from_micros(50), Duration::from_micros(500)),
            losses_per_million: 0,
        };
        Arc::new(Network { executor, state: Mutex::new(state) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn add_node(&self, name: &str, node: NodeId) {
        self.lock().names.insert(name.to_owned(), node);
    }

    pub(crate) fn set_latency(&self, min: Duration, max: Duration) {
        assert!(min <= max, "a latency between {min:?} and {max:?}");
        self.lock().latency = (min, max);
    }

    pub(crate) fn set_losses(&self, per_million: u64) {
        self.lock().losses_per_million = per_million;
    }

    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.lock().cut.insert((from, to));
    }

    /// Opens a way again; what was held is sent again.
    pub(crate) fn heal(self: &Arc<Self>, from: NodeId, to: NodeId) {
        self.lock().cut.remove(&(from, to));
        self.release();
    }

    pub(crate) fn heal_all(self: &Arc<Self>) {
        self.lock().cut.clear();
        self.release();
    }

    /// Sends again what was held on ways that are open now.
    fn release(self: &Arc<Self>) {
        let due: Vec<(u64, usize)> = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let (cut, dark) = (&state.cut, &state.dark);
            let is_open =
                |l: &Link| !cut.contains(&(l.from, l.to)) && !dark.contains(&l.from) && !dark.contains(&l.to);
            let links = state.links.iter_mut().filter(|(_, l)| l.held > 0 && is_open(l));
            links.map(|(id, l)| (*id, std::mem::take(&mut l.held))).collect()
        };
        for (link, held) in due {
            let again = self.executor.duration_up_to(RETRANSMISSION);
            for _ in 0..held {
                self.schedule(link, again);
            }
        }
    }

    fn latency(&self) -> Duration {
        let (min, max, losses) = {
            let state = self.lock();
            (state.latency.0, state.latency.1, state.losses_per_million)
        };
        let latency = min + self.executor.duration_up_to(max - min);
        let lost = losses > 0 && self.executor.below(1_000_000) < losses;
        if lost { latency + RETRANSMISSION } else { latency }
    }

    /// Something was put in flight on `link`: it arrives after the latency, and after what went before.
    fn schedule(self: &Arc<Self>, link: u64, extra: Duration) {
        let latency = self.latency() + extra;
        let now = self.executor.now();
        let at = {
            let mut state = self.lock();
            let Some(link) = state.links.get_mut(&link) else { return };
            link.last_arrival = link.last_arrival.max(now + latency);
            link.last_arrival
        };
        let this = Arc::clone(self);
        self.executor.at(at, None, move || this.arrive(link));
    }

    fn arrive(self: &Arc<Self>, id: u64) {
        let pipe = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Some(link) = state.links.get(&id) else { return };
            let open = state.is_open(link.from, link.to);
            let Some(pipe) = link.pipe.upgrade() else {
                state.links.remove(&id);
                return;
            };
            if !open {
                if let Some(link) = state.links.get_mut(&id) {
                    link.held += 1;
                }
                return;
            }
            pipe
        };
        let print = pipe.deliver();
        self.executor.trace(&[DELIVERY, id, print.unwrap_or(0)]);
    }

    /// Puts one direction of a connection on the network.
    fn add_link(self: &Arc<Self>, from: NodeId, to: NodeId, side: &Arc<Side>) {
        let pipe = side.outgoing();
        let id = {
            let mut state = self.lock();
            let id = state.next_link;
            state.next_link += 1;
            // Links whose pipes are gone are of no use; connections come and go.
            if id.is_multiple_of(64) {
                state.links.retain(|_, l| l.pipe.strong_count() > 0);
            }
            let (pipe, side) = (Arc::downgrade(pipe), Arc::downgrade(side));
            state.links.insert(id, Link { from, to, pipe, side, last_arrival: Duration::ZERO, held: 0 });
            id
        };
        let this = Arc::downgrade(self);
        pipe.delay_by(Arc::new(move || {
            if let Some(this) = this.upgrade() {
                this.schedule(id, Duration::ZERO);
            }
        }));
    }

    /// The node's own sides of its connections.
    fn sides_of(&self, node: NodeId) -> Vec<Arc<Side>> {
        let state = self.lock();
        state.links.values().filter(|l| l.from == node).filter_map(|l| l.side.upgrade()).collect()
    }

    /// The kernel closes what a dead process had open: with an end or, by the seed, a reset.
    pub(crate) fn close_node(&self, node: NodeId) {
        self.close_listeners(node);
        for side in self.sides_of(node) {
            side.close(self.executor.below(2) == 0);
        }
    }

    /// The power of a node goes: what it has in flight is lost, and nobody is told.
    pub(crate) fn darken_node(&self, node: NodeId) {
        self.close_listeners(node);
        self.lock().dark.insert(node);
        for side in self.sides_of(node) {
            side.fall_silent();
        }
    }

    /// The machine runs again; what was sent to its former life reaches it.
    pub(crate) fn light_node(self: &Arc<Self>, node: NodeId) {
        self.lock().dark.remove(&node);
        self.release();
    }

    /// Resets all connections between two nodes, as a box in between may do it.
    pub(crate) fn reset_between(&self, a: NodeId, b: NodeId) {
        let pipes: Vec<Arc<Pipe>> = {
            let state = self.lock();
            let between =
                state.links.values().filter(|l| (l.from, l.to) == (a, b) || (l.from, l.to) == (b, a));
            between.filter_map(|l| l.pipe.upgrade()).collect()
        };
        pipes.iter().for_each(|pipe| pipe.sever());
    }

    fn close_listeners(&self, node: NodeId) {
        let closed: Vec<Arc<Mutex<Accepting>>> = {
            let mut state = self.lock();
            let of_node = |l: &Arc<Mutex<Accepting>>| {
                let life = l.lock().expect("nobody panics while holding it").life;
                life.is_some_and(|life| life.node == node)
            };
            let names: Vec<String> =
                state.listeners.iter().filter(|(_, l)| of_node(l)).map(|(name, _)| name.clone()).collect();
            names.iter().filter_map(|name| state.listeners.remove(name)).collect()
        };
        for listener in closed {
            listener.lock().expect("nobody panics while holding it").life = None;
        }
    }
}
