//! The two sides that are compared, set up alike: a node each, or three.

use std::sync::{Arc, Mutex};

use tests::kafka::Kafka;
use tests::process::{CLUSTER_ID, Node, Server, servers};

use crate::play::{Ports, Side};

/// What both are told. Internal topics are small, so that their coordinators load at once.
const SETTINGS: &[&str] = &[
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=3",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "transaction.state.log.num.partitions=3",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    "share.coordinator.state.topic.num.partitions=3",
    "group.initial.rebalance.delay.ms=0",
];

/// Where there are three: leaders move when a scenario says so, and the dead are found before it has waited long.
const OF_THREE: &[&str] = &[
    "auto.leader.rebalance.enable=false",
    "broker.session.timeout.ms=3000",
    "broker.heartbeat.interval.ms=500",
];

/// So many nodes of Weir, with `changes` beyond the common settings.
pub fn weir(nodes: u32, changes: &[&str]) -> Side {
    let nodes = match nodes {
        1 => vec![Node::start(&[SETTINGS, changes].concat())],
        _ => Node::cluster(nodes, &[SETTINGS, OF_THREE, &[CLUSTER_ID], changes].concat()),
    };
    side("Weir", nodes)
}

/// So many nodes of a real Apache Kafka.
pub fn kafka(nodes: u32) -> Side {
    let more = if nodes > 1 { OF_THREE } else { &[] };
    side("Kafka", Kafka::cluster(nodes as usize, &[SETTINGS, more].concat()))
}

fn side(name: &'static str, nodes: Vec<impl Server + 'static>) -> Side {
    let ports = nodes.iter().map(|node| Ports { broker: node.port(), controller: node.controller_port() });
    let (ports, data) = (ports.collect(), nodes[0].data());
    Side { name, ports, data, nodes: Arc::new(Mutex::new(servers(nodes))), lie: None }
}
