//! Groups in a simulated cluster: a controller, a broker, and members of both protocols that come, go and commit while the broker
//! crashes, loses power, stands still or is far away.
//!
//! ```text
//!  c1     the controller             faults: none
//!  b11    the broker                 faults: process death, power loss, pauses, delays, a cut network
//!  driver members, each a task       faults: they stop and come back, under another name or protocol
//! ```
//! A member does what a real client does, and writes down what it believes and what it was promised ([`ledger::Ledger`]).
//! It gives its partitions up before the coordinator would give them to somebody else, and becomes a new member when it
//! does not know what became of a commit: an old request may still be on its way.

pub mod invariants;
pub mod ledger;
pub mod member;
mod requests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use broker::{Broker, BrokerConfig, ControllerEndpoints};
use controller::{Controller, ControllerConfig, KvKind, Listen};
use host::sim::{Node, World};
use protocol::config::{self, Configs};
use protocol::{Str, Uuid};
use wire::SecurityProtocol;

const CLUSTER_ID: Uuid = Uuid(0x6765_6765_6765_6765);
pub const BROKER: &str = "b11:9092";
pub const TOPIC: &str = "t";
pub const GROUP: &str = "g";
pub const PARTITIONS: i32 = 4;
/// Of members of both protocols.
pub const SESSION: Duration = Duration::from_secs(6);
/// Longer than a session: who hears nothing gives up before it is given up.
pub const REBALANCE: Duration = Duration::from_secs(10);

/// See the module.
pub struct GroupWorld {
    pub world: World,
    pub broker: Node,
    is_durable: bool,
}

impl GroupWorld {
    /// Starts both nodes on empty disks. `is_durable`: what is acknowledged is on the disk, and outlives a power loss.
    pub fn start(seed: u64, is_durable: bool) -> GroupWorld {
        let world = World::new(seed);
        let (controller, broker) = (world.node("c1"), world.node("b11"));
        let started = GroupWorld { world, broker, is_durable };
        run_controller(&controller);
        started.run_broker();
        started
    }

    /// Starts the broker's program on its machine, which is up.
    pub fn run_broker(&self) {
        let session_ms = SESSION.as_millis().to_string();
        let settings: BTreeMap<String, String> = [
            ("node.id", "11"),
            ("process.roles", "broker"),
            ("listeners", "PLAINTEXT://b11:9092"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@c1:9093"),
            ("log.dirs", "/data"),
            ("broker.heartbeat.interval.ms", "300"),
            ("weir.http.address", ""),
            ("weir.flush.on.acknowledge", if self.is_durable { "true" } else { "false" }),
            ("offsets.topic.num.partitions", "1"),
            ("offsets.topic.replication.factor", "1"),
            ("group.initial.rebalance.delay.ms", "200"),
            ("group.min.session.timeout.ms", "1000"),
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.session.timeout.ms", session_ms.as_str()),
            ("group.consumer.min.heartbeat.interval.ms", "100"),
            ("group.consumer.heartbeat.interval.ms", "500"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let configs = Configs::parse(config::server(), &settings).expect("the settings are well-formed");
        let mut config = BrokerConfig::from_server(configs).expect("the settings are a broker's");
        config.cluster_id = Some(CLUSTER_ID);
        let endpoints = ControllerEndpoints::default().address(1, "c1:9093");
        let host = self.broker.host();
        let inner = host.clone();
        drop(host.spawn("broker", async move {
            let broker =
                Broker::start(&inner, config, endpoints).await.expect("a broker starts on its own disk");
            // Held for as long as the machine is up.
            std::future::pending::<()>().await;
            drop(broker);
        }));
    }
}

fn run_controller(node: &Node) {
    let listen = Listen {
        name: Str::from("CONTROLLER"),
        protocol: SecurityProtocol::Plaintext,
        address: "c1:9093".to_owned(),
    };
    let config = ControllerConfig {
        node_id: 1,
        voters: vec![(1, "c1:9093".to_owned())],
        joining: Default::default(),
        listeners: vec![listen],
        metadata_dir: PathBuf::from("/data"),
        cluster_id: Some(CLUSTER_ID),
        // The broker comes back before it is fenced: a group must not lose its topic for a while as well.
        session_timeout: Duration::from_millis(1500),
        properties: BTreeMap::new(),
        kv: KvKind::Journal,
        broken: Default::default(),
    };
    let host = node.host();
    let inner = host.clone();
    drop(host.spawn("controller", async move {
        let controller =
            Controller::start(&inner, config).await.expect("a controller starts on its own disk");
        std::future::pending::<()>().await;
        drop(controller);
    }));
}
