//! A whole cluster in one process under one seed: controllers, brokers and clients, with faults between them.
//!
//!     c1 c2 c3      controllers, each a simulated machine with its own disk
//!     b11 b12 b13   brokers
//!     driver        the clients, which nothing happens to
//!
//! The clients write down what they were promised (`Promises`); the invariants hold that against what the cluster is, while
//! it runs and at the end. `chaos` is the run of one seed.

pub mod chaos;
pub mod client;
pub mod committer;
pub mod invariants;
pub mod producer;
pub mod voters;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{Broker, BrokerConfig, ControllerEndpoints};
use controller::raft::types::{RaftId, Voter};
use controller::{Committed, Controller, ControllerConfig, Joining, KvKind, Listen, format};
use host::sim::{CrashKind, Node, World};
use protocol::config::{self, Configs};
use protocol::{Str, Uuid};
use tokio::sync::watch;
use wire::SecurityProtocol;

/// The cluster's id; every directory of a simulated cluster is formatted with it.
const CLUSTER_ID: Uuid = Uuid(0x5eed_5eed_5eed_5eed_5eed_5eed_5eed_5eed);
/// `broker.session.timeout.ms` of a simulated cluster: short, so that a paused broker is fenced within a run.
const SESSION_TIMEOUT: Duration = Duration::from_millis(1500);
/// What else is shorter than by default, so that much happens within a run.
const BROKER_SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker"),
    ("controller.listener.names", "CONTROLLER"),
    ("log.dirs", "/data"),
    ("broker.heartbeat.interval.ms", "300"),
    ("replica.lag.time.max.ms", "2000"),
    ("replica.fetch.backoff.ms", "200"),
    ("replica.socket.timeout.ms", "2000"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.num.partitions", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("weir.http.address", ""),
];

/// Where a controller of a simulated cluster has its metadata.
const METADATA_DIR: &str = "/data";
/// The voters that a quorum begins with whose voters live in its log: c1 to c3.
const FIRST_VOTERS: i32 = 3;
/// Formatting an empty disk.
const FORMAT_LIMIT: Duration = Duration::from_secs(10);

/// Which controller said it was active in which term: the world's record, checked at the end.
pub type ActiveLog = Arc<Mutex<BTreeMap<i32, Vec<i32>>>>;

/// What is broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broken {
    pub broker: broker::Broken,
    pub controller: controller::decide::Broken,
}

/// The programs that run at this moment, as a test sees them from inside.
#[derive(Default)]
struct Running {
    brokers: BTreeMap<i32, Arc<Broker>>,
    /// Brokers that said that they cannot go on.
    failed: Vec<i32>,
    /// The metadata that each controller has committed.
    committed: BTreeMap<i32, watch::Receiver<Committed>>,
    newest: Option<Committed>,
    /// The newest (term, node) that a controller claimed.
    active: Option<(i32, i32)>,
}

/// See the module.
pub struct Cluster {
    pub world: World,
    pub controllers: Vec<(i32, Node)>,
    pub brokers: Vec<(i32, Node)>,
    pub active_log: ActiveLog,
    running: Arc<Mutex<Running>>,
    broken: Broken,
    /// The voters live in the quorum's log; otherwise they are those of `controller.quorum.voters`.
    changes_voters: bool,
}

impl Cluster {
    /// Starts `controllers` and `brokers` machines on empty disks.
    pub fn start(seed: u64, controllers: i32, brokers: i32, broken: Broken) -> Cluster {
        let cluster = Cluster::new(seed, controllers, brokers, broken);
        cluster.run_all();
        cluster
    }

    /// The same with a quorum whose voters can change: the first three controllers, formatted as such; the others observe.
    pub fn start_with_changing_voters(seed: u64, controllers: i32, brokers: i32, broken: Broken) -> Cluster {
        let new = Cluster::new(seed, controllers, brokers, broken);
        let cluster = Cluster { changes_voters: true, ..new };
        cluster.format_first_voters();
        cluster.run_all();
        cluster
    }

    fn new(seed: u64, controllers: i32, brokers: i32, broken: Broken) -> Cluster {
        let world = World::new(seed);
        let controllers: Vec<(i32, Node)> =
            (1..=controllers).map(|id| (id, world.node(&format!("c{id}")))).collect();
        let brokers: Vec<(i32, Node)> =
            (11..11 + brokers).map(|id| (id, world.node(&format!("b{id}")))).collect();
        let (active_log, running) = Default::default();
        Cluster { world, controllers, brokers, active_log, running, broken, changes_voters: false }
    }

    fn run_all(&self) {
        for (id, _) in self.controllers.iter().chain(&self.brokers) {
            self.run(*id);
        }
    }

    /// What `weir storage format --initial-controllers` does on each of them.
    fn format_first_voters(&self) {
        let id = |node: i32| RaftId { node, directory: Uuid(9000 + u128::from(node.unsigned_abs())) };
        let voters: BTreeMap<RaftId, Voter> = self
            .voters()
            .into_iter()
            .filter(|(node, _)| *node <= FIRST_VOTERS)
            .map(|(node, address)| (id(node), Voter { address }))
            .collect();
        for voter in voters.keys() {
            let (host, voters) = (self.machine(voter.node).host(), voters.clone());
            let RaftId { node, directory } = *voter;
            let meta =
                format!("version=1\ncluster.id={CLUSTER_ID}\nnode.id={node}\ndirectory.id={directory}\n");
            let inner = host.clone();
            let task = host.spawn("format", async move {
                let dir = Path::new(METADATA_DIR);
                let format = move |fs: &host::Fs| -> std::io::Result<()> {
                    format::write_first_voters(fs, dir, &voters, 1)?;
                    fs.atomic_write(&dir.join("meta.properties"), meta.as_bytes())
                };
                inner.disk(dir).run_slow(format).await
            });
            let formatted = self.world.block_on(FORMAT_LIMIT, task).expect("it ends");
            formatted.expect("it does not panic").expect("a disk").expect("an empty disk is formatted");
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Id and address of each controller: those that vote, or might.
    fn voters(&self) -> Vec<(i32, String)> {
        self.controllers.iter().map(|(id, _)| (*id, format!("c{id}:9093"))).collect()
    }

    /// Id and address of each broker.
    pub fn addresses(&self) -> Vec<(i32, String)> {
        self.brokers.iter().map(|(id, _)| (*id, format!("b{id}:9092"))).collect()
    }

    /// The machine of a controller or of a broker.
    pub fn machine(&self, id: i32) -> &Node {
        let mut all = self.controllers.iter().chain(&self.brokers);
        &all.find(|(of, _)| *of == id).expect("it is a machine of this cluster").1
    }

    /// The brokers whose programs run.
    pub fn live_brokers(&self) -> BTreeMap<i32, Arc<Broker>> {
        self.running().brokers.clone()
    }

    /// Brokers that have failed since it was asked last.
    pub fn take_failed(&self) -> Vec<i32> {
        std::mem::take(&mut self.running().failed)
    }

    /// The newest metadata that was seen to be committed; a controller that has just started knows less than others did.
    pub fn committed(&self) -> Option<Committed> {
        let mut running = self.running();
        let all = running.committed.values().map(|committed| committed.borrow().clone());
        running.newest = all.chain(running.newest.clone()).max_by_key(|committed| committed.image.end_offset);
        running.newest.clone()
    }

    /// The controller that last said it was active; the first one if none has yet.
    pub fn active_controller(&self) -> i32 {
        self.running().active.map_or(1, |(_, id)| id)
    }

    fn joining(&self) -> Joining {
        let bootstrap_servers = match self.changes_voters {
            true => self.voters().into_iter().map(|(_, address)| address).collect(),
            false => Vec::new(),
        };
        Joining { bootstrap_servers, ..Joining::default() }
    }

    /// Starts the controller's program on a machine that is up.
    pub fn run_controller(&self, id: i32) {
        let listen = Listen {
            name: Str::from("CONTROLLER"),
            protocol: SecurityProtocol::Plaintext,
            address: format!("c{id}:9093"),
        };
        let config = ControllerConfig {
            node_id: id,
            voters: if self.changes_voters { Vec::new() } else { self.voters() },
            joining: self.joining(),
            listeners: vec![listen],
            metadata_dir: PathBuf::from(METADATA_DIR),
            cluster_id: Some(CLUSTER_ID),
            session_timeout: SESSION_TIMEOUT,
            properties: [(Str::from("min.insync.replicas"), Str::from("2"))].into_iter().collect(),
            kv: KvKind::Journal,
            broken: self.broken.controller,
        };
        let host = self.machine(id).host();
        let (inner, log, running) = (host.clone(), Arc::clone(&self.active_log), Arc::clone(&self.running));
        drop(host.spawn("controller", async move {
            let controller =
                Controller::start(&inner, config).await.expect("a controller starts on its own disk");
            let lock = || running.lock().unwrap_or_else(PoisonError::into_inner);
            lock().committed.insert(id, controller.committed());
            let mut active = controller.active();
            loop {
                let now = *active.borrow_and_update();
                if now.here {
                    let term = now.epoch;
                    log.lock().unwrap_or_else(PoisonError::into_inner).entry(term).or_default().push(id);
                    let mut running = lock();
                    if running.active.is_none_or(|(t, _)| t <= term) {
                        running.active = Some((term, id));
                    }
                }
                if active.changed().await.is_err() {
                    return;
                }
            }
        }));
    }

    /// Starts the broker's program on a machine that is up.
    pub fn run_broker(&self, id: i32) {
        let named = |(id, address): (i32, String)| match self.changes_voters {
            true => address,
            false => format!("{id}@{address}"),
        };
        let controllers: Vec<String> = self.voters().into_iter().map(named).collect();
        let found_by = match self.changes_voters {
            true => "controller.quorum.bootstrap.servers",
            false => "controller.quorum.voters",
        };
        let own = [
            ("node.id", id.to_string()),
            ("listeners", format!("PLAINTEXT://b{id}:9092")),
            (found_by, controllers.join(",")),
        ];
        let shared = BROKER_SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let settings: BTreeMap<String, String> =
            own.into_iter().chain(shared).map(|(name, value)| (name.to_owned(), value)).collect();
        let configs = Configs::parse(config::server(), &settings).expect("the settings are well-formed");
        let mut config = BrokerConfig::from_server(configs).expect("the settings are a broker's");
        config.cluster_id = Some(CLUSTER_ID);
        config.broken = self.broken.broker;
        let endpoint = |all: ControllerEndpoints, (id, at): &(i32, String)| match self.changes_voters {
            true => all.bootstrap(at),
            false => all.address(*id, at),
        };
        let endpoints = self.voters().iter().fold(ControllerEndpoints::default(), endpoint);
        let host = self.machine(id).host();
        let (inner, running) = (host.clone(), Arc::clone(&self.running));
        drop(host.spawn("broker", async move {
            let broker =
                Broker::start(&inner, config, endpoints).await.expect("a broker starts on its own disk");
            let lock = || running.lock().unwrap_or_else(PoisonError::into_inner);
            lock().brokers.insert(id, Arc::clone(&broker));
            broker.failed().await;
            lock().failed.push(id);
        }));
    }

    /// Starts the program of a machine that is up.
    pub fn run(&self, id: i32) {
        if self.brokers.iter().any(|(broker, _)| *broker == id) {
            self.run_broker(id);
        } else {
            self.run_controller(id);
        }
    }

    /// Ends a machine, or its program.
    pub fn crash(&self, id: i32, kind: CrashKind) {
        self.machine(id).crash(kind);
        let mut running = self.running();
        running.committed.remove(&id);
        let broker = running.brokers.remove(&id);
        drop(running);
        drop(broker);
    }

    /// Starts a machine again, and its program on what the disk kept.
    pub fn restart(&self, id: i32) {
        self.machine(id).restart();
        self.run(id);
    }
}
