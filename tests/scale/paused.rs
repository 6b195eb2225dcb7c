//! A leader whose machine hangs (SIGSTOP): its connections stay, and nothing answers. How long until the other two tell another
//! leader, and until that one acknowledges a record to somebody who asks it at once. What clients with a request at the hanging
//! one see besides is how long they wait for it.

use std::time::{Duration, Instant};

use host::Host;
use protocol::batch::{BatchBuilder, BatchOptions};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponsePartition;
use protocol::messages::{CreateTopicsRequest, MetadataRequest};
use protocol::{ErrorCode, Records, Str, Uuid};
use tests::process::{Server, signal};
use tests::sim::client::{produce_request, produced};
use wire::client::{Node, NodeOptions, Target};

use crate::nodes::active_controller;
use crate::tell;

const WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);
/// A topic whose leader is not the active controller is found among so many.
const TOPICS_MAX: usize = 20;

pub const HEAD: &str =
    "| | another leader is told, s (median, worst) | and has acknowledged, s |\n|---|---|---|";

/// Three nodes and one client of each.
struct Nodes {
    pids: Vec<u32>,
    clients: Vec<Node>,
}

/// Hangs a leader so many times.
pub async fn measure(host: &Host, name: &str, servers: Vec<Box<dyn Server>>, times: usize) {
    let options = NodeOptions { request_timeout: Duration::from_secs(5), ..NodeOptions::default() };
    let client = |port: u16| Node::new(host, Target::address(&format!("127.0.0.1:{port}")), options.clone());
    let pids = servers.iter().map(|server| server.pid()).collect();
    let clients = servers.iter().map(|server| client(server.port())).collect();
    let nodes = Nodes { pids, clients };
    let (mut told, mut acknowledged) = (Vec::new(), Vec::new());
    for time in 0..times {
        let (topic, id, leader) = nodes.topic_led_by_another(time).await;
        let took = nodes.hang(&topic, id, leader).await;
        told.push(took.0);
        acknowledged.push(took.1);
    }
    let shown = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        format!("{:.2}, {:.2}", all[all.len() / 2], all[all.len() - 1])
    };
    tell(&format!("| {name} | {} | {} |", shown(told), shown(acknowledged)));
}

impl Nodes {
    /// A new topic whose leader is not the active controller, on three nodes that are in sync.
    async fn topic_led_by_another(&self, time: usize) -> (String, Uuid, i32) {
        for attempt in 0..TOPICS_MAX {
            let name = format!("hangs-{time}-{attempt}");
            let topic = CreatableTopic {
                name: Str::from(name.as_str()),
                num_partitions: 1,
                replication_factor: 3,
                ..Default::default()
            };
            let request =
                CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
            let answer = self.clients[0].call(&request).await.expect("a topic is created");
            assert_eq!(answer.topics[0].error_code, 0, "{name} is created");
            for client in &self.clients {
                wait(client, &name, |partition| partition.leader_id > 0 && partition.isr_nodes.len() == 3)
                    .await;
            }
            let (id, partition) = ask(&self.clients[0], &name).await.expect("it is there");
            let written = write(&self.clients[partition.leader_id as usize - 1], &name, id).await;
            if written && active_controller(&self.clients[0]).await != Some(partition.leader_id) {
                return (name, id, partition.leader_id);
            }
        }
        panic!("the active controller leads all of {TOPICS_MAX} topics");
    }

    /// Seconds from the moment at which the leader hangs.
    async fn hang(&self, topic: &str, id: Uuid, leader: i32) -> (f64, f64) {
        let pid = self.pids[leader as usize - 1];
        signal(pid, "-STOP");
        let began = Instant::now();
        let mut next = leader;
        for (at, client) in self.clients.iter().enumerate() {
            if at as i32 + 1 != leader {
                let is_another = |p: &MetadataResponsePartition| p.leader_id > 0 && p.leader_id != leader;
                next = wait(client, topic, is_another).await.leader_id;
            }
        }
        let told = began.elapsed().as_secs_f64();
        while !write(&self.clients[next as usize - 1], topic, id).await {
            assert!(began.elapsed() < WITHIN, "{topic} is not written");
        }
        let acknowledged = began.elapsed().as_secs_f64();
        signal(pid, "-CONT");
        wait(&self.clients[next as usize - 1], topic, |partition| partition.isr_nodes.len() == 3).await;
        (told, acknowledged)
    }
}

/// Waits until a node says of the topic's partition what it should.
async fn wait(
    client: &Node,
    topic: &str,
    is_there: impl Fn(&MetadataResponsePartition) -> bool,
) -> MetadataResponsePartition {
    let began = Instant::now();
    loop {
        if let Some((_, partition)) = ask(client, topic).await.filter(|(_, partition)| is_there(partition)) {
            return partition;
        }
        assert!(began.elapsed() < WITHIN, "{topic} stays as it is at {}", client.name());
        tokio::time::sleep(POLL_EVERY).await;
    }
}

async fn ask(client: &Node, topic: &str) -> Option<(Uuid, MetadataResponsePartition)> {
    let wanted = MetadataRequestTopic { name: Some(Str::from(topic)), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
    let topic = client.call(&request).await.ok()?.topics.into_iter().next()?;
    Some((topic.topic_id, topic.partitions.into_iter().next()?))
}

/// One record with acks=all.
async fn write(leader: &Node, topic: &str, id: Uuid) -> bool {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.append(0, None, Some(b"x"), &[]);
    let request = produce_request((topic, id), 0, Records::from(batch.finish().to_bytes()));
    let answer = leader.call(&request).await;
    answer.is_ok_and(|answer| matches!(produced(&answer), Some((ErrorCode::None, _))))
}
