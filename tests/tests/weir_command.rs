//! The `weir` command against a node: topics, produce, consume, JSON, exit codes, HTTP; a stop in order and a start after it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tests::process::{Node, weir_binary};

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("it is JSON")
}

fn produce(node: &Node, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(weir_binary());
    command.env("WEIR_BOOTSTRAP", node.bootstrap()).arg("produce").args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn topics_are_created_shown_and_deleted() {
    let node = Node::start(&[]);
    let created =
        json(&node.weir(&["topic", "create", "orders", "-p", "3", "-c", "retention.ms=1000", "-o", "json"]));
    assert_eq!((&created[0]["topic"], &created[0]["partitions"]), (&"orders".into(), &3.into()));
    let again = node.weir(&["topic", "create", "orders"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("TOPIC_ALREADY_EXISTS"), "{said}");
    let refused = node.weir(&["topic", "create", "bad", "-c", "no.such.config=1"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("INVALID_CONFIG"), "{refused:?}");
    let listed = json(&node.weir(&["topic", "list", "-o", "json"]));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["id"], created[0]["id"]);
    let described = stdout(&node.weir(&["topic", "describe", "orders"]));
    assert_eq!(described.lines().count(), 4, "a head and three partitions: {described}");
    let unknown = node.weir(&["topic", "describe", "nothing"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("does not exist"), "{unknown:?}");
    stdout(&node.weir(&["topic", "delete", "orders"]));
    assert_eq!(json(&node.weir(&["topic", "list", "-o", "json"])), Value::Array(Vec::new()));
    let nobody = node.weir(&["topic", "list", "-b", "127.0.0.1:1", "--timeout", "1"]);
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(nobody.status.code() == Some(1) && said.contains("is the broker running"), "{said}");
}

#[test]
fn records_go_in_and_come_out_across_a_stop_and_a_kill() {
    let mut node = Node::start(&[]);
    stdout(&node.weir(&["topic", "create", "t", "-p", "2"]));
    let sent = produce(&node, &["t", "-k", ":", "-z", "zstd", "-H", "a=1", "-o", "json"], "x:1\ny:2\nx:3\n");
    let total: u64 = json(&sent).as_array().unwrap().iter().map(|r| r["records"].as_u64().unwrap()).sum();
    assert_eq!(total, 3);
    for round in 0..3 {
        let read = stdout(&node.weir(&["consume", "t", "--from", "earliest", "-e", "-o", "json"]));
        let mut records: Vec<Value> = read.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        records.sort_by_key(|r| r["value"].as_str().map(str::to_owned));
        let values: Vec<&str> = records.iter().filter_map(|r| r["value"].as_str()).collect();
        assert_eq!(values, ["1", "2", "3"], "round {round}");
        assert_eq!(records[0]["headers"], serde_json::json!([["a", "1"]]));
        assert_eq!(records[0]["partition"], records[2]["partition"], "a key stays in its partition");
        match round {
            0 => assert_eq!(node.stop(), Some(0), "{}", node.log()),
            _ => node.kill(),
        }
        node.launch();
    }
    let first = stdout(&node.weir(&["consume", "t", "--from", "earliest", "-n", "1"]));
    assert_eq!(first.lines().count(), 1);
    let beyond = node.weir(&["consume", "t", "-p", "0", "--from", "99", "-n", "1"]);
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("earliest"), "{beyond:?}");
}

#[test]
fn http_tells_health_and_metrics_and_series_die_with_their_topic() {
    let node = Node::start(&[]);
    stdout(&node.weir(&["topic", "create", "counted"]));
    stdout(&produce(&node, &["counted"], "one\ntwo\n"));
    assert_eq!(node.http("/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(node.http("/nothing").map(|(status, _)| status), Some(404));
    let metrics = node.http("/metrics").unwrap().1;
    let line = metrics.lines().find(|l| l.contains("messagesin") && l.contains("topic=\"counted\""));
    assert!(line.is_some_and(|l| l.ends_with(" 2")), "{metrics}");
    stdout(&node.weir(&["topic", "delete", "counted"]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while node.http("/metrics").unwrap().1.contains("topic=\"counted\"") {
        assert!(std::time::Instant::now() < deadline, "the series of a deleted topic stay");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
