//! Three combined nodes on loopback: the leader is killed under an idempotent producer, and comes back.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::process::{Node, runtimes};

const TOPIC: &str = "survives";
const RECORDS: u32 = 6_000;
/// Lines of one write to the producer; a pause follows, so that the kill meets a stream and not its end.
const RECORDS_PER_WRITE: u32 = 20;
/// Until a dead leader is replaced, or a replica in sync again; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> Vec<Node> {
    Node::cluster(3, &["cluster.id=4L6g3nShT-eMCtK--X86sw", "offsets.topic.replication.factor=3"])
}

fn weir(node: &Node, args: &[&str]) -> Option<serde_json::Value> {
    let output = node.weir(args);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
}

/// Leader and size of the ISR of the topic's partition, as a node sees them.
fn state(node: &Node) -> Option<(u32, usize)> {
    let described = weir(node, &["topic", "describe", TOPIC, "-o", "json"])?;
    let row = described.as_array()?.first()?.clone();
    Some((u32::try_from(row["leader"].as_u64()?).ok()?, row["isr"].as_array()?.len()))
}

fn wait_for(node: &Node, what: &str, is_there: impl Fn((u32, usize)) -> bool) -> (u32, usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = state(node);
        if let Some(state) = now.filter(|state| is_there(*state)) {
            return state;
        }
        assert!(Instant::now() < deadline, "{what}: still {now:?}\n{}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One sample of a node's metrics.
fn sample(node: &Node, name: &str) -> f64 {
    let (_, text) = node.http("/metrics").expect("it answers");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("{name} is not there"))
}

#[test]
fn a_killed_leader_loses_nothing_of_an_idempotent_producer() {
    if !runtimes::have("kcat") {
        return;
    }
    let mut nodes = cluster();
    let bootstrap: Vec<String> = nodes.iter().map(Node::bootstrap).collect();
    let bootstrap = bootstrap.join(",");
    let created = nodes[0].weir(&[
        "topic",
        "create",
        TOPIC,
        "--partitions",
        "1",
        "--replication-factor",
        "3",
        "--config",
        "min.insync.replicas=2",
    ]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let (leader, _) = wait_for(&nodes[0], "three in sync", |(_, isr)| isr == 3);

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
    wait_for(other, "another leader", |(now, _)| now != leader);
    let read =
        runtimes::kcat(&["-C", "-b", &bootstrap, "-t", TOPIC, "-p", "0", "-o", "beginning", "-e", "-q"], b"");
    let read: Vec<u32> = read.lines().map(|line| line.parse().unwrap()).collect();
    assert!(read == (0..RECORDS).collect::<Vec<u32>>(), "{} records, in order, each once", read.len());

    nodes[killed].launch();
    wait_for(&nodes[killed], "it catches up", |(_, isr)| isr == 3);
    let expands: f64 =
        nodes.iter().map(|node| sample(node, "kafka_server_replicamanager_isrexpands_total")).sum();
    assert!(expands >= 1.0, "whoever leads has taken it in");
    let lag = sample(&nodes[killed], "kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"}");
    assert!(lag == 0.0, "{lag} records behind");
}

#[test]
fn a_node_that_stops_in_order_hands_its_leaders_over_first() {
    let mut nodes = cluster();
    let created =
        nodes[0].weir(&["topic", "create", TOPIC, "--partitions", "1", "--replication-factor", "3"]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let (leader, _) = wait_for(&nodes[0], "three in sync", |(_, isr)| isr == 3);
    let at = nodes.iter().position(|node| node.id() == leader).unwrap();
    assert_eq!(nodes[at].stop(), Some(0));
    let other = &nodes[(at + 1) % 3];
    let (now, in_sync) = state(other).expect("another node answers");
    assert!(now != leader && in_sync == 2, "leader {now}, {in_sync} in sync, before anybody missed it");
    let log = nodes[at].log();
    assert!(!log.contains("no controller let this broker go"), "{log}");
}
