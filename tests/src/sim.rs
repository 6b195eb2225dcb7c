//! A whole cluster in one process under one seed: controllers, brokers and a client, with faults between them.
//!
//!     c1 c2 c3   controllers, each a simulated machine with its own disk
//!     b11 b12    brokers
//!     driver     the client, which nothing happens to
//!
//! The client writes down what it was promised (`Promises`); the invariants hold that against what it can read at the end.

pub mod client;
pub mod invariants;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{Broker, BrokerConfig, ControllerEndpoints};
use controller::{Controller, ControllerConfig, KvKind, Listen};
use host::sim::{CrashKind, Node, World};
use protocol::config::{self, Configs};
use protocol::{Str, Uuid};
use wire::SecurityProtocol;

/// The cluster's id; every directory of a simulated cluster is formatted with it.
const CLUSTER_ID: Uuid = Uuid(0x5eed_5eed_5eed_5eed_5eed_5eed_5eed_5eed);
/// `broker.session.timeout.ms` of a simulated cluster: short, so that a paused broker is fenced within a run.
const SESSION_TIMEOUT: Duration = Duration::from_millis(1500);

/// Which controller said it was active in which term: the world's record, checked at the end.
pub type ActiveLog = Arc<Mutex<BTreeMap<i32, Vec<i32>>>>;

/// See the module.
pub struct Cluster {
    pub world: World,
    pub controllers: Vec<(i32, Node)>,
    pub brokers: Vec<(i32, Node)>,
    pub active_log: ActiveLog,
    /// The newest (term, node) that a controller claimed.
    pub active: Arc<Mutex<Option<(i32, i32)>>>,
}

impl Cluster {
    /// Starts `controllers` and `brokers` machines on empty disks.
    pub fn start(seed: u64, controllers: i32, brokers: i32) -> Cluster {
        let world = World::new(seed);
        let controllers: Vec<(i32, Node)> =
            (1..=controllers).map(|id| (id, world.node(&format!("c{id}")))).collect();
        let brokers: Vec<(i32, Node)> =
            (11..11 + brokers).map(|id| (id, world.node(&format!("b{id}")))).collect();
        let cluster =
            Cluster { world, controllers, brokers, active_log: Arc::default(), active: Arc::default() };
        for (id, node) in &cluster.controllers {
            cluster.run_controller(*id, node);
        }
        for (id, node) in &cluster.brokers {
            cluster.run_broker(*id, node);
        }
        cluster
    }

    fn voters(&self) -> Vec<(i32, String)> {
        self.controllers.iter().map(|(id, _)| (*id, format!("c{id}:9093"))).collect()
    }

    pub fn broker_addresses(&self) -> Vec<String> {
        self.brokers.iter().map(|(id, _)| format!("b{id}:9092")).collect()
    }

    /// Starts the controller's program on a machine that is up.
    pub fn run_controller(&self, id: i32, node: &Node) {
        let listen = Listen {
            name: Str::from("CONTROLLER"),
            protocol: SecurityProtocol::Plaintext,
            address: format!("c{id}:9093"),
        };
        let config = ControllerConfig {
            node_id: id,
            voters: self.voters(),
            listeners: vec![listen],
            metadata_dir: PathBuf::from("/data"),
            cluster_id: Some(CLUSTER_ID),
            session_timeout: SESSION_TIMEOUT,
            properties: BTreeMap::new(),
            kv: KvKind::Journal,
        };
        let host = node.host();
        let (inner, log, newest) = (host.clone(), Arc::clone(&self.active_log), Arc::clone(&self.active));
        drop(host.spawn("controller", async move {
            let controller =
                Controller::start(&inner, config).await.expect("a controller starts on its own disk");
            let mut active = controller.active();
            loop {
                let now = *active.borrow_and_update();
                if now.here {
                    let term = now.epoch;
                    log.lock().unwrap_or_else(PoisonError::into_inner).entry(term).or_default().push(id);
                    let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
                    if newest.is_none_or(|(t, _)| t <= term) {
                        *newest = Some((term, id));
                    }
                }
                if active.changed().await.is_err() {
                    return;
                }
            }
        }));
    }

    /// Starts the broker's program on a machine that is up.
    pub fn run_broker(&self, id: i32, node: &Node) {
        let voters: Vec<String> =
            self.voters().iter().map(|(id, address)| format!("{id}@{address}")).collect();
        let settings: BTreeMap<String, String> = [
            ("node.id", id.to_string()),
            ("process.roles", "broker".to_owned()),
            ("listeners", format!("PLAINTEXT://b{id}:9092")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", voters.join(",")),
            ("log.dirs", "/data".to_owned()),
            ("broker.heartbeat.interval.ms", "300".to_owned()),
            ("weir.http.address", String::new()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let configs = Configs::parse(config::server(), &settings).expect("the settings are well-formed");
        let mut config = BrokerConfig::from_server(configs).expect("the settings are a broker's");
        config.cluster_id = Some(CLUSTER_ID);
        let endpoints =
            self.voters().iter().fold(ControllerEndpoints::default(), |e, (id, at)| e.address(*id, at));
        let host = node.host();
        let inner = host.clone();
        drop(host.spawn("broker", async move {
            let broker =
                Broker::start(&inner, config, endpoints).await.expect("a broker starts on its own disk");
            // Held for as long as the machine is up.
            std::future::pending::<()>().await;
            drop(broker);
        }));
    }

    /// A crash, and the program's start on what the disk kept, after `down`.
    pub fn bounce_controller(&self, id: i32, kind: CrashKind, down: Duration) {
        let (_, node) = self.controllers.iter().find(|(i, _)| *i == id).expect("it is a controller");
        node.crash(kind);
        self.world.run_for(down);
        node.restart();
        self.run_controller(id, node);
    }

    /// The controller that last said it was active; the first one if none has yet.
    pub fn active_controller(&self) -> i32 {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).map_or(1, |(_, id)| id)
    }
}
