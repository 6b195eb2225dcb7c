//! How far it goes: many partitions on three nodes, beside a real Kafka; a hundred simulated brokers on three real controllers.
//!
//! `make scale` (`SCALE=full`) measures at full size and prints what it sees, `SCALE=alone` without a Kafka. Otherwise the same
//! runs at a size that costs seconds, and sees that it works.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, unreachable_pub)]

mod brokers;
mod nodes;
mod paused;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use host::Host;
use protocol::Str;
use protocol::messages::CreateTopicsRequest;
use protocol::messages::create_topics_request::CreatableTopic;
use tests::kafka::Kafka;
use tests::process::{CLUSTER_ID, Node, runtimes, servers};

/// Topics of one request.
const TOPICS_AT_ONCE: usize = 10;

/// Partitions, as topics of so many.
#[derive(Clone, Copy)]
pub struct Size {
    pub topics: usize,
    pub partitions_each: i32,
}

impl Size {
    pub fn partitions(self) -> usize {
        self.topics * self.partitions_each as usize
    }

    /// Requests that create them, a few topics each, named `name-0`, `name-1`, ...
    pub fn requests(self, name: &str) -> Vec<CreateTopicsRequest> {
        let topic = |number: usize| CreatableTopic {
            name: Str::from(format!("{name}-{number}")),
            num_partitions: self.partitions_each,
            replication_factor: 3,
            ..Default::default()
        };
        let topics: Vec<CreatableTopic> = (0..self.topics).map(topic).collect();
        let request = |some: &[CreatableTopic]| CreateTopicsRequest {
            topics: some.to_vec(),
            timeout_ms: 120_000,
            ..Default::default()
        };
        topics.chunks(TOPICS_AT_ONCE).map(request).collect()
    }
}

/// `SCALE`: `full` is full size, beside a real Kafka; `alone` the same without it.
fn wished() -> String {
    std::env::var("SCALE").unwrap_or_default()
}

fn is_full() -> bool {
    ["full", "alone"].contains(&wished().as_str())
}

fn is_beside_kafka() -> bool {
    wished() == "full" && runtimes::have("kafka")
}

/// Runs to the end what needs a host.
fn block_on<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Host) -> F + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = host::real::host();
        let inner = host.clone();
        host.spawn("scale", async move { work(inner).await }).await.unwrap();
    });
}

/// Each measures alone.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn tell(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).ok();
}

#[test]
fn three_nodes_with_many_partitions() {
    let _alone = alone();
    let size = match is_full() {
        true => Size { topics: 100, partitions_each: 100 },
        false => Size { topics: 6, partitions_each: 50 },
    };
    let settings = ["offsets.topic.replication.factor=3", "auto.leader.rebalance.enable=false"];
    tell(&format!("{} partitions of three replicas on three nodes\n{}", size.partitions(), nodes::HEAD));
    let weir = servers(Node::cluster(3, &[&settings[..], &[CLUSTER_ID]].concat()));
    block_on(move |host| async move { nodes::measure(&host, "Weir", weir, size).await });
    if is_beside_kafka() {
        let kafka = servers(Kafka::cluster(3, &settings));
        block_on(move |host| async move { nodes::measure(&host, "Kafka", kafka, size).await });
    }
}

#[test]
fn a_leader_that_hangs() {
    let _alone = alone();
    let times = if is_full() { 5 } else { 1 };
    let settings = ["broker.session.timeout.ms=1000", "broker.heartbeat.interval.ms=333"];
    tell(&format!("broker.session.timeout.ms=1000; a leader is stopped by SIGSTOP\n{}", paused::HEAD));
    let weir = servers(Node::cluster(3, &[&settings[..], &[CLUSTER_ID]].concat()));
    block_on(move |host| async move { paused::measure(&host, "Weir", weir, times).await });
    if is_beside_kafka() {
        let kafka = servers(Kafka::cluster(3, &settings));
        block_on(move |host| async move { paused::measure(&host, "Kafka", kafka, times).await });
    }
}

#[test]
fn simulated_brokers_on_a_real_quorum() {
    let _alone = alone();
    // At full size as many changes as bring a snapshot about.
    let (brokers, size, changes) = match is_full() {
        true => (100, Size { topics: 1000, partitions_each: 100 }, 6000),
        false => (10, Size { topics: 20, partitions_each: 50 }, 100),
    };
    let controllers = Node::controllers(3, &[CLUSTER_ID]);
    block_on(move |host| async move { brokers::measure(&host, controllers, brokers, size, changes).await });
}
