//! The world and its nodes, as a test handles them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{Drift, SharedDrift, SimClock};
use super::disk::{DiskFaults, SimDisks};
use super::executor::{self, CRASH, Executor, Life, NodeId, Step};
use super::files::SharedDisk;
use super::network::{Network, SimNet};
use crate::spawn::{Spawner, Stop};
use crate::{Clock, Entropy, Host, Inner, Net};

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// `kill -9`: the page cache survives; peers see an end or a reset.
    Process,
    /// What was not synced is lost or torn; peers see silence, and a reset of what they send once the machine is back.
    Power,
}

/// The run cannot go on, or took too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    #[error("nothing can happen any more; waiting: {0}")]
    Deadlock(String),
    #[error("not done after {0:?} of virtual time")]
    TooLong(Duration),
    #[error("tasks wake each other for ever; there are: {0}")]
    Spinning(String),
}

/// One seed's world.
pub struct World {
    executor: Arc<Executor>,
    network: Arc<Network>,
    nodes: Nodes,
    driver: Node,
}

impl World {
    pub fn new(seed: u64) -> World {
        let executor = Executor::new(seed);
        let network = Network::new(Arc::clone(&executor));
        let nodes =
            Nodes { shared: Arc::default(), executor: Arc::clone(&executor), network: Arc::clone(&network) };
        let driver = nodes.add("driver");
        World { executor, network, nodes, driver }
    }

    /// Adds a machine with an empty disk.
    pub fn node(&self, name: &str) -> Node {
        self.nodes.add(name)
    }

    /// Drives the world until `future` is done. It runs on a host of its own, which nothing happens to.
    pub fn block_on<T: Send + 'static>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stuck> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let task = self.driver.host().spawn("driver", async move {
            let output = future.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
        });
        let deadline = self.executor.now() + limit;
        loop {
            if let Some(output) = result.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(output);
            }
            let stuck = if self.executor.now() > deadline {
                Stuck::TooLong(limit)
            } else {
                match self.executor.step() {
                    Step::Done => continue,
                    Step::Nothing => Stuck::Deadlock(self.nodes.describe_waiting()),
                    Step::Spinning => Stuck::Spinning(self.nodes.describe_waiting()),
                }
            };
            task.abort();
            return Err(stuck);
        }
    }

    /// Lets virtual time pass.
    pub fn run_for(&self, duration: Duration) {
        let clock = self.driver.host().clock().clone();
        let slept =
            self.block_on(duration * 2 + Duration::from_secs(1), async move { clock.sleep(duration).await });
        assert!(slept.is_ok(), "a sleep always ends: {slept:?}");
    }

    /// The driver's own host: for clients of the nodes.
    pub fn host(&self) -> Host {
        self.driver.host()
    }

    /// The driver's own machine: to cut it off from nodes, too.
    pub fn driver(&self) -> &Node {
        &self.driver
    }

    pub fn now(&self) -> Duration {
        self.executor.now()
    }

    /// Holds everything between two nodes, both ways.
    pub fn partition(&self, a: &Node, b: &Node) {
        self.network.cut(a.id, b.id);
        self.network.cut(b.id, a.id);
    }

    /// Holds what goes from `from` to `to`.
    pub fn partition_one_way(&self, from: &Node, to: &Node) {
        self.network.cut(from.id, to.id);
    }

    pub fn heal(&self, a: &Node, b: &Node) {
        self.network.heal(a.id, b.id);
        self.network.heal(b.id, a.id);
    }

    /// Opens every way.
    pub fn heal_all(&self) {
        self.network.heal_all();
    }

    /// Resets all connections between two nodes, as a box in between may do it.
    pub fn reset_connections(&self, a: &Node, b: &Node) {
        self.network.reset_between(a.id, b.id);
    }

    /// Of a million packets, so many are lost: they come a retransmission later, and what follows them waits.
    pub fn set_losses(&self, per_million: u64) {
        self.network.set_losses(per_million);
    }

    /// Every packet takes between `min` and `max`.
    pub fn set_latency(&self, min: Duration, max: Duration) {
        self.network.set_latency(min, max);
    }

    /// A number of the world's own dice, for a test's decisions.
    pub fn random(&self) -> u64 {
        self.executor.random()
    }

    /// Mixes something that a test saw into the trace.
    pub fn trace(&self, words: &[u64]) {
        self.executor.trace(&[executor::NOTE]);
        self.executor.trace(words);
    }

    /// Keeps the events of the trace from now on, for `trace_log`.
    pub fn record_trace(&self) {
        self.executor.record();
    }

    /// The events since `record_trace`, a line each: where two runs of a seed part, the first different line says.
    pub fn trace_log(&self) -> Vec<String> {
        let machines = self.nodes.lock();
        let node = |id: u64| machines.get(&(id as usize)).map_or("?", |m| m.name.as_str());
        let line = |words: &Vec<u64>| match words[..] {
            [executor::EVENT, at, order] => format!("{at} ns: event {order}"),
            [executor::TURN, at, task, of] => format!("{at} ns: turn of task {task} of {}", node(of)),
            [executor::DELIVERY, link, print] => format!("  link {link} delivers {print:x}"),
            [executor::DISK, what, about] => format!("  disk operation {what} on {about:x}"),
            [executor::BYTES_WRITTEN, at, print] => format!("  bytes {print:x} written at {at}"),
            [CRASH, of, kind] => format!("  {} crashes ({kind})", node(of)),
            _ => format!("  {words:?}"),
        };
        self.executor.recorded().iter().map(line).collect()
    }

    /// The run so far in 64 bits: equal for equal seeds, in every process.
    pub fn trace_hash(&self) -> u64 {
        self.executor.trace_hash()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold hosts, and hosts hold the executor: the circle is cut here.
        self.nodes.end_all();
        self.executor.clear();
    }
}

struct Machine {
    name: String,
    disk: SharedDisk,
    host: Option<Host>,
    drift: SharedDrift,
}

/// All nodes of a world.
#[derive(Clone)]
pub(crate) struct Nodes {
    shared: Arc<Mutex<BTreeMap<NodeId, Machine>>>,
    executor: Arc<Executor>,
    network: Arc<Network>,
}

impl Nodes {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Machine>> {
        self.shared.lock().expect("nobody panics while holding it")
    }

    fn add(&self, name: &str) -> Node {
        let id = self.executor.add_node();
        let name = name.to_owned();
        self.network.add_node(&name, id);
        self.lock().insert(id, Machine { name, disk: Arc::default(), host: None, drift: Arc::default() });
        self.boot(id);
        Node { id, nodes: self.clone() }
    }

    /// Gives the node a host for its current life.
    fn boot(&self, id: NodeId) {
        let life = self.executor.life(id);
        let mut machines = self.lock();
        let machine = machines.get_mut(&id).expect("the node was added");
        let disk = Arc::clone(&machine.disk);
        let disks = SimDisks::new(Arc::clone(&self.executor), life, disk, self.clone());
        let (executor, drift) = (Arc::clone(&self.executor), Arc::clone(&machine.drift));
        let clock = SimClock { executor, life, drift };
        let entropy = Entropy::seeded(self.executor.random());
        let hash_seed = entropy.u64();
        machine.host = Some(Host {
            inner: Arc::new(Inner {
                clock: Clock::new(Arc::new(clock)),
                net: Net::new(Arc::new(SimNet { network: Arc::clone(&self.network), life })),
                entropy,
                spawner: Box::new(SimSpawner { executor: Arc::clone(&self.executor), life }),
                disks: Box::new(Arc::new(disks)),
                meter: Box::new(crate::usage::NoMeter),
                hash_seed,
            }),
        });
    }

    pub(crate) fn crash(&self, id: NodeId, kind: CrashKind) {
        // Disk and net are frozen before tasks are dropped: a destructor reaches nothing.
        let (disk, host) = {
            let mut machines = self.lock();
            let machine = machines.get_mut(&id).expect("the node was added");
            (Arc::clone(&machine.disk), machine.host.take())
        };
        match kind {
            CrashKind::Process => self.network.close_node(id),
            CrashKind::Power => self.network.darken_node(id),
        }
        self.executor.trace(&[CRASH, id as u64, kind as u64]);
        self.executor.end_life(id);
        drop(host);
        let random = || self.executor.random();
        disk.lock().expect("nobody panics while holding it").crash(kind, random);
    }

    fn end_all(&self) {
        let ids: Vec<NodeId> = self.lock().keys().copied().collect();
        for id in ids {
            self.executor.end_life(id);
            let host = self.lock().get_mut(&id).and_then(|m| m.host.take());
            drop(host);
        }
    }

    fn describe_waiting(&self) -> String {
        let machines = self.lock();
        let waiting = self.executor.waiting();
        let name = |id: &NodeId| machines.get(id).map_or("?", |m| m.name.as_str());
        waiting.iter().map(|(id, task)| format!("{}/{task}", name(id))).collect::<Vec<_>>().join(", ")
    }
}

/// A simulated machine. Cloning is cheap; it stays in the world either way.
#[derive(Clone)]
pub struct Node {
    id: NodeId,
    nodes: Nodes,
}

impl Node {
    /// The host of the node's current life. Panics while the node is down.
    pub fn host(&self) -> Host {
        let machines = self.nodes.lock();
        machines[&self.id].host.clone().expect("the node is up")
    }

    pub fn is_up(&self) -> bool {
        self.nodes.lock()[&self.id].host.is_some()
    }

    /// Ends the node at once. `restart` gives it a new life on what its disk kept.
    pub fn crash(&self, kind: CrashKind) {
        self.nodes.crash(self.id, kind);
    }

    /// The process dies after so many further file operations, in the middle of a job and of a write.
    pub fn crash_after_operations(&self, operations: u64) {
        self.with_disk(|disk| disk.operations_until_crash = Some((operations, CrashKind::Process)));
    }

    /// The power goes after so many further file operations, in the middle of a job and of a write.
    pub fn lose_power_after_operations(&self, operations: u64) {
        self.with_disk(|disk| disk.operations_until_crash = Some((operations, CrashKind::Power)));
    }

    /// Boots the node again after a crash; whoever starts its program uses the new host.
    pub fn restart(&self) -> Host {
        assert!(!self.is_up(), "only a node that is down can be restarted");
        self.nodes.boot(self.id);
        self.nodes.network.light_node(self.id);
        self.host()
    }

    /// SIGSTOP: nothing of the node runs, its kernel goes on.
    pub fn pause(&self) {
        self.nodes.executor.set_paused(self.id, true);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.nodes.executor.set_paused(self.id, false);
    }

    /// Sets the wall clock ahead (or behind).
    pub fn set_skew_ms(&self, wall_ms: i64) {
        self.with_drift(|drift| drift.set_wall_ms(wall_ms));
    }

    /// Makes the node's clock run too fast (or too slow), timers included.
    pub fn set_drift_ppm(&self, drift_ppm: i64) {
        let now = self.nodes.executor.now();
        self.with_drift(|drift| drift.set_ppm(drift_ppm, now));
    }

    pub fn set_disk_faults(&self, faults: DiskFaults) {
        self.with_disk(|disk| disk.faults = faults);
    }

    /// Somebody put an empty, healthy disk in the place of the node's. Panics while the node is up.
    pub fn replace_disk(&self) {
        assert!(!self.is_up(), "only a node that is down can be given another disk");
        self.nodes.lock().get_mut(&self.id).expect("the node was added").disk = Arc::default();
    }

    fn with_disk(&self, act: impl FnOnce(&mut super::files::DiskState)) {
        let disk = Arc::clone(&self.nodes.lock()[&self.id].disk);
        act(&mut disk.lock().expect("nobody panics while holding it"));
    }

    fn with_drift(&self, act: impl FnOnce(&mut Drift)) {
        let drift = Arc::clone(&self.nodes.lock()[&self.id].drift);
        act(&mut drift.lock().expect("nobody panics while holding it"));
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.nodes.lock()[&self.id].name)
    }
}

struct SimSpawner {
    executor: Arc<Executor>,
    life: Life,
}

impl Spawner for SimSpawner {
    fn spawn(&self, name: &'static str, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Stop {
        let task = self.executor.spawn(self.life, name, future);
        let executor = Arc::downgrade(&self.executor);
        Arc::new(move || {
            if let Some(executor) = executor.upgrade() {
                executor.stop(task);
            }
        })
    }
}
