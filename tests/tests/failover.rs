//! Three combined nodes on loopback: the leader is killed under an idempotent producer, and comes back.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::process::{CLUSTER_ID, Node, runtimes};

const TOPIC: &str = "survives";
const RECORDS: u32 = 6_000;
/// Lines of one write to the producer; a pause follows, so that the kill meets a stream and not its end.
const RECORDS_PER_WRITE: u32 = 20;

fn cluster() -> Vec<Node> {
    Node::cluster(3, &[CLUSTER_ID, "offsets.topic.replication.factor=3"])
}

#[test]
fn a_killed_leader_loses_nothing_of_an_idempotent_producer() {
    if !runtimes::have("kcat") {
        return;
    }
    let mut nodes = cluster();
    let bootstrap = Node::bootstrap_of(&nodes);
    nodes[0].create_replicated(TOPIC, &["--config", "min.insync.replicas=2"]);
    let (leader, _) = nodes[0].wait_for_leader(TOPIC, "three in sync", |(_, isr)| isr == 3);

    let idempotent = ["-X", "enable.idempotence=true", "-X", "acks=all", "-X", "linger.ms=5"];
    let mut producer = Command::new("kcat")
        .args(["-P", "-b", &bootstrap, "-t", TOPIC, "-p", "0"])
        .args(idempotent)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    let killed = nodes.iter().position(|node| node.id() == leader).unwrap();
    for first in (0..RECORDS).step_by(RECORDS_PER_WRITE as usize) {
        if first == RECORDS / 3 {
            nodes[killed].kill();
        }
        let lines: String = (first..first + RECORDS_PER_WRITE).map(|n| format!("{n}\n")).collect();
        input.write_all(lines.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(4));
    }
    drop(input);
    assert!(producer.wait().unwrap().success(), "every record was acknowledged");

    let other = &nodes[(killed + 1) % 3];
    other.wait_for_leader(TOPIC, "another leader", |(now, _)| now != leader);
    let read =
        runtimes::kcat(&["-C", "-b", &bootstrap, "-t", TOPIC, "-p", "0", "-o", "beginning", "-e", "-q"], b"");
    let read: Vec<u32> = read.lines().map(|line| line.parse().unwrap()).collect();
    assert!(read == (0..RECORDS).collect::<Vec<u32>>(), "{} records, in order, each once", read.len());

    nodes[killed].launch();
    nodes[killed].wait_for_leader(TOPIC, "it catches up", |(_, isr)| isr == 3);
    let expands: f64 =
        nodes.iter().filter_map(|node| node.sample("kafka_server_replicamanager_isrexpands_total")).sum();
    assert!(expands >= 1.0, "whoever leads has taken it in");
    let lag = nodes[killed].sample("kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"}");
    assert!(lag == Some(0.0), "{lag:?} records behind");
}

#[test]
fn a_node_that_stops_in_order_hands_its_leaders_over_first() {
    // Heartbeats far apart: the others tell at once that they know the new leaders, or the stop would wait for them.
    let settings = ["broker.heartbeat.interval.ms=25000", "broker.session.timeout.ms=60000", CLUSTER_ID];
    let mut nodes = Node::cluster(3, &settings);
    nodes[0].create_replicated(TOPIC, &[]);
    let (leader, _) = nodes[0].wait_for_leader(TOPIC, "three in sync", |(_, isr)| isr == 3);
    let at = nodes.iter().position(|node| node.id() == leader).unwrap();
    let begun = Instant::now();
    assert_eq!(nodes[at].stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    let other = &nodes[(at + 1) % 3];
    let (now, in_sync) = other.leader_and_isr(TOPIC).expect("another node answers");
    assert!(now != leader && in_sync == 2, "leader {now}, {in_sync} in sync, before anybody missed it");
    let log = nodes[at].log();
    assert!(!log.contains("no controller let this broker go"), "{log}");
}
