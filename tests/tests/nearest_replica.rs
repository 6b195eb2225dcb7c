//! Three nodes in three racks: a consumer reads from the replica in its own (KIP-392), also when that one is gone.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use protocol::messages::FetchRequest;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::{ErrorCode, Uuid};
use tests::process::{CLUSTER_ID, Node, runtimes};
use wire::client::{self, NodeOptions, Target};

const TOPIC: &str = "near";
const RECORDS: usize = 500;

fn bytes_out(node: &Node) -> f64 {
    let series = format!("kafka_server_brokertopicmetrics_bytesout_total{{topic=\"{TOPIC}\"}}");
    node.sample(&series).unwrap_or(0.0)
}

/// Reads all records as a consumer in a rack.
fn read(bootstrap: &str, rack: &str) -> usize {
    let count = RECORDS.to_string();
    let args = ["-C", "-b", bootstrap, "-t", TOPIC, "-p", "0", "-o", "beginning", "-q"];
    let rack = format!("client.rack={rack}");
    let args = [&args[..], &["-c", &count, "-X", &rack]].concat();
    runtimes::kcat(&args, b"").lines().count()
}

/// What a node answers to a consumer's fetch of an offset.
fn fetch(node: &Node, topic_id: Uuid, offset: i64) -> ErrorCode {
    let partition = FetchPartition { fetch_offset: offset, partition_max_bytes: 1, ..Default::default() };
    let topics = vec![FetchTopic { topic_id, partitions: vec![partition], ..Default::default() }];
    let request =
        FetchRequest { max_wait_ms: 0, max_bytes: 1, session_epoch: -1, topics, ..Default::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = host::real::host();
        let line = client::Node::new(&host, Target::address(&node.bootstrap()), NodeOptions::default());
        let answer = line.call(&request).await.unwrap();
        ErrorCode::from_code(answer.responses[0].partitions[0].error_code)
    })
}

#[test]
fn a_consumer_reads_from_the_replica_in_its_rack() {
    if !runtimes::have("kcat") {
        return;
    }
    let class = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let mut nodes = Node::cluster(3, &[CLUSTER_ID, "broker.rack=rack-{id}", class]);
    let bootstrap = Node::bootstrap_of(&nodes);
    let topic_id: Uuid = nodes[0].create_replicated(TOPIC, &[]).parse().unwrap();
    let lines: String = (0..RECORDS).map(|n| format!("record {n}\n")).collect();
    let produce = ["-P", "-b", &bootstrap, "-t", TOPIC, "-p", "0", "-X", "acks=all"];
    runtimes::kcat(&produce, lines.as_bytes());
    let (leader, _) = nodes[0].wait_for_leader(TOPIC, "three in sync", |(_, isr)| isr == 3);
    let near = leader % 3 + 1;
    let at = |id: u32| usize::try_from(id - 1).unwrap();
    assert_eq!(read(&bootstrap, &format!("rack-{near}")), RECORDS);
    let sent: Vec<f64> = nodes.iter().map(bytes_out).collect();
    assert!(sent[at(near)] > 1_000.0, "the replica in the rack has sent the records: {sent:?}");
    assert!(sent[at(leader)] < 1_000.0, "the leader has not: {sent:?}");

    assert_eq!(read(&bootstrap, "rack-of-nobody"), RECORDS);
    assert!(bytes_out(&nodes[at(leader)]) > 1_000.0, "a rack without a replica is served by the leader");

    let beyond = i64::try_from(RECORDS).unwrap() + 1;
    assert_eq!(fetch(&nodes[at(leader)], topic_id, beyond), ErrorCode::OffsetOutOfRange);
    assert_eq!(fetch(&nodes[at(near)], topic_id, 0), ErrorCode::None);
    // It may be the follower that lacks them: nobody shall start anew for that.
    assert_eq!(fetch(&nodes[at(near)], topic_id, beyond), ErrorCode::NotLeaderOrFollower);

    nodes[at(near)].kill();
    // Sent to a replica that is gone, librdkafka stays with it for five minutes.
    nodes[at(leader)].wait_for_leader(TOPIC, "it is out of sync", |(_, isr)| isr == 2);
    assert_eq!(read(&bootstrap, &format!("rack-{near}")), RECORDS, "without the near one as well");
}
