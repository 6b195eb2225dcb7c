//! Clients of five languages against one node each, with a `kill -9` in the middle. See `tests/clients/README.md`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tests::process::{Node, runtimes};

const WITHIN: Duration = Duration::from_secs(180);

/// Runs one client's scenario to its `PASS`.
fn run(client: &str, protocol: &str) {
    if !runtimes::have(client) {
        return;
    }
    let mut node = Node::start(&["group.initial.rebalance.delay.ms=100"]);
    let mut command = runtimes::client(client, &[&node.bootstrap(), protocol]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let deadline = Instant::now() + WITHIN;
    let mut told = String::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        told.push_str(&line);
        told.push('\n');
        if line == "RESTART" {
            node.kill();
            node.launch();
            stdin.write_all(b"done\n").expect("the client listens");
        }
    }
    let is_late = Instant::now() >= deadline;
    if is_late {
        let _ = child.kill();
    }
    let status = child.wait().expect("it ends");
    assert!(status.success() && told.ends_with("PASS\n"), "{client}: {status}, late: {is_late}\n{told}");
}

#[test]
fn java_consumer() {
    run("java", "consumer");
}

#[test]
fn java_classic() {
    run("java", "classic");
}

#[test]
fn java_rolls_from_range_to_the_newer_protocol_and_back() {
    run("java-rolling", "range");
}

#[test]
fn java_rolls_from_cooperative_sticky_to_the_newer_protocol_and_back() {
    run("java-rolling", "cooperative-sticky");
}

#[test]
fn librdkafka_consumer() {
    run("librdkafka", "consumer");
}

#[test]
fn librdkafka_classic() {
    run("librdkafka", "classic");
}

#[test]
fn aiokafka_classic() {
    run("aiokafka", "classic");
}

#[test]
fn franz_go_classic() {
    run("franz-go", "classic");
}

#[test]
fn franz_go_consumer() {
    run("franz-go", "consumer");
}

#[test]
fn kafkajs_classic() {
    run("kafkajs", "classic");
}
