//! The two nodes that are compared, set up alike.

use tests::kafka::Kafka;
use tests::process::Node;

use crate::play::Side;

/// What both are told. Internal topics are small, so that their coordinators load at once.
pub const SETTINGS: &[&str] = &[
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

/// A node of Weir, with `changes` beyond the common settings.
pub fn weir(changes: &[&str]) -> Node {
    Node::start(&[SETTINGS, changes].concat())
}

pub fn side_of(node: &Node) -> Side {
    Side { port: node.port, data: node.data(), lie: None }
}

/// A real Apache Kafka, one combined node that listens already.
pub fn kafka() -> Kafka {
    let mut kafka = Kafka::launch(SETTINGS);
    kafka.await_ready();
    kafka
}

pub fn side_of_kafka(kafka: &Kafka) -> Side {
    Side { port: kafka.port, data: kafka.data(), lie: None }
}
