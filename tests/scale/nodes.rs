//! Three nodes with many partitions: how long until they are there, what they cost, and how long the death of one lasts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use host::Host;
use protocol::ErrorCode;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::{ListOffsetsRequest, MetadataRequest};
use tests::process::Server;
use tests::sim::voters::describe_request;
use wire::client::{Node, NodeOptions, Target};

use crate::{Size, seconds, tell};

/// Every wait is bounded.
const WITHIN: Duration = Duration::from_secs(600);
const POLL_EVERY: Duration = Duration::from_millis(10);
/// What is written and freed after the creation is not counted as memory of its result.
const REST: Duration = Duration::from_secs(5);

pub const HEAD: &str = "| | created and in sync, s | memory of all, MiB | one of three is killed: told, led again, s | back in sync, s |\n\
                        |---|---|---|---|---|";

/// Nodes of a cluster as a client sees them, by id.
struct Clients(BTreeMap<i32, Node>);

/// Makes the partitions, kills the node that leads the most of them and brings it back, and tells what each took.
pub async fn measure(host: &Host, name: &str, mut servers: Vec<Box<dyn Server>>, size: Size) {
    let options = NodeOptions { request_timeout: Duration::from_secs(120), ..NodeOptions::default() };
    let client = |(id, port): (i32, u16)| {
        (id, Node::new(host, Target::address(&format!("127.0.0.1:{port}")), options.clone()))
    };
    let ports = servers.iter().map(|server| server.port());
    let clients = Clients((1..).zip(ports).map(client).collect());
    let began = Instant::now();
    clients.create(1, size).await;
    clients.wait(1, "in sync", size, |topics| of_partitions(topics, |_, isr| isr == 3)).await;
    let created = seconds(began);
    host.clock().sleep(REST).await;
    let memory_mib: u64 = servers.iter().map(|server| server.rss_kib() / 1024).sum();

    let victim = clients.leads_most().await;
    let witness = if victim == 1 { 2 } else { 1 };
    servers[victim as usize - 1].kill();
    let began = Instant::now();
    let is_moved =
        |topics: &[MetadataResponseTopic]| of_partitions(topics, |leader, _| leader >= 0 && leader != victim);
    let topics = clients.wait(witness, "led by others", size, is_moved).await;
    let told = seconds(began);
    while !clients.are_led(&topics).await {
        assert!(began.elapsed() < WITHIN, "partitions are not led");
        host.clock().sleep(POLL_EVERY).await;
    }
    let led = seconds(began);

    let began = Instant::now();
    servers[victim as usize - 1].start();
    clients.wait(witness, "in sync again", size, |topics| of_partitions(topics, |_, isr| isr == 3)).await;
    let back = seconds(began);
    tell(&format!("| {name} | {created:.1} | {memory_mib} | {told:.2}, {led:.2} | {back:.1} |"));
}

/// Whether something is true of leader and size of the ISR of every partition.
fn of_partitions(topics: &[MetadataResponseTopic], is_so: impl Fn(i32, usize) -> bool) -> bool {
    topics.iter().flat_map(|topic| &topic.partitions).all(|p| is_so(p.leader_id, p.isr_nodes.len()))
}

impl Clients {
    async fn create(&self, node: i32, size: Size) {
        for request in size.requests("many") {
            let answer = self.0[&node].call(&request).await.expect("topics are created");
            for topic in answer.topics {
                assert_eq!(ErrorCode::from_code(topic.error_code), ErrorCode::None, "{}", topic.name);
            }
        }
    }

    /// Waits until a node says of all topics what it should; returns them.
    async fn wait(
        &self,
        node: i32,
        what: &str,
        size: Size,
        is_there: impl Fn(&[MetadataResponseTopic]) -> bool,
    ) -> Vec<MetadataResponseTopic> {
        let began = Instant::now();
        loop {
            let topics = self.topics(node).await;
            let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
            if partitions == size.partitions() && is_there(&topics) {
                return topics;
            }
            assert!(began.elapsed() < WITHIN, "not {what} in {WITHIN:?}: {partitions} partitions");
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    async fn topics(&self, node: i32) -> Vec<MetadataResponseTopic> {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let Ok(answer) = self.0[&node].call(&request).await else { return Vec::new() };
        let is_own =
            |topic: &MetadataResponseTopic| topic.name.as_ref().is_some_and(|n| n.starts_with("many-"));
        answer.topics.into_iter().filter(is_own).collect()
    }

    /// The broker that leads the most partitions and is not the active controller.
    async fn leads_most(&self) -> i32 {
        let controller = active_controller(&self.0[&1]).await.expect("there is a controller");
        let mut leads: BTreeMap<i32, usize> = BTreeMap::new();
        for partition in self.topics(1).await.iter().flat_map(|topic| &topic.partitions) {
            *leads.entry(partition.leader_id).or_default() += 1;
        }
        let (leader, _) =
            leads.into_iter().filter(|(id, _)| *id != controller).max_by_key(|(_, n)| *n).unwrap();
        leader
    }

    /// Whether the leaders that were told of lead.
    async fn are_led(&self, topics: &[MetadataResponseTopic]) -> bool {
        let mut asked: BTreeMap<i32, Vec<ListOffsetsTopic>> = BTreeMap::new();
        for topic in topics {
            let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
            for p in &topic.partitions {
                let partition = ListOffsetsPartition {
                    partition_index: p.partition_index,
                    current_leader_epoch: -1,
                    timestamp: -1,
                    ..Default::default()
                };
                by_leader.entry(p.leader_id).or_default().push(partition);
            }
            for (leader, partitions) in by_leader {
                let name = topic.name.clone().unwrap_or_default();
                asked.entry(leader).or_default().push(ListOffsetsTopic {
                    name,
                    partitions,
                    ..Default::default()
                });
            }
        }
        for (leader, topics) in asked {
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            let Ok(answer) = self.0[&leader].call(&request).await else { return false };
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.any(|partition| partition.error_code != 0) {
                return false;
            }
        }
        true
    }
}

/// Whom a node takes for the active controller.
pub async fn active_controller(node: &Node) -> Option<i32> {
    let answer = node.call(&describe_request()).await.ok()?;
    let partition = answer.topics.first()?.partitions.first()?;
    Some(partition.leader_id).filter(|leader| *leader > 0 && partition.error_code == 0)
}
