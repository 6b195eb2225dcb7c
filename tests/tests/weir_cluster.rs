//! `weir broker` and `weir partition` against three nodes: one is down and comes back, replicas move, leaders are elected.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::process::{CLUSTER_ID, Node, runtimes, weir_binary};

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that must succeed shows with `-o json`.
fn shown(node: &Node, args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&node.weir(&[args, &["-o", "json"]].concat()))).expect("it is JSON")
}

/// What a command that must fail shows, and says.
fn failed(node: &Node, args: &[&str]) -> (String, String) {
    let output = node.weir(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn refused(node: &Node, args: &[&str]) -> String {
    failed(node, args).1
}

fn column(rows: &Value, name: &str) -> Vec<Value> {
    rows.as_array().expect("rows").iter().map(|row| row[name].clone()).collect()
}

fn cluster() -> Vec<Node> {
    Node::cluster(3, &[CLUSTER_ID])
}

/// A topic of one partition on these brokers, the preferred leader first.
fn create(node: &Node, topic: &str, replicas: &[i32], options: &[&str]) {
    let factor = replicas.len().to_string();
    stdout(&node.weir(&[&["topic", "create", topic, "-p", "1", "-r", &factor], options].concat()));
    let plan = json!({ "partitions": [{ "topic": topic, "partition": 0, "replicas": replicas }] });
    let file = node.dir.path().join("create.json");
    std::fs::write(&file, plan.to_string()).unwrap();
    stdout(&node.weir(&["partition", "reassign", "--file", file.to_str().unwrap(), "--execute"]));
}

fn produce(node: &Node, topic: &str, records: usize) {
    let mut command = Command::new(weir_binary());
    command.env("WEIR_BOOTSTRAP", node.bootstrap()).args(["produce", topic]);
    runtimes::run(
        command,
        "a record of some length, so that there is something to copy\n".repeat(records).as_bytes(),
    );
}

/// The topics that `weir partition list` shows with a filter.
fn listed(node: &Node, filter: &str) -> Vec<Value> {
    column(&shown(node, &["partition", "list", filter]), "topic")
}

#[test]
fn what_is_wrong_with_partitions_is_listed_while_a_broker_is_down_and_nothing_after_it_is_back() {
    let mut nodes = cluster();
    create(&nodes[0], "alone", &[3], &[]);
    create(&nodes[0], "pair", &[3, 1], &["-c", "min.insync.replicas=2"]);
    create(&nodes[0], "safe", &[3, 1, 2], &["-c", "min.insync.replicas=1"]);
    create(&nodes[0], "tight", &[3, 1, 2], &["-c", "min.insync.replicas=2"]);
    let all = ["alone", "pair", "safe", "tight"];
    let filters = ["--under-replicated", "--under-min-isr", "--at-min-isr", "--unavailable"];
    assert_eq!(listed(&nodes[0], "--under-replicated"), Vec::<Value>::new());
    assert_eq!(listed(&nodes[0], "--at-min-isr-partitions"), ["alone", "pair"], "by Kafka's name too");

    assert_eq!(nodes[2].stop(), Some(0));
    let down = filters.map(|filter| listed(&nodes[0], filter));
    assert_eq!(down[0], all, "under-replicated");
    assert_eq!(down[1], ["alone", "pair"], "under min.insync.replicas");
    assert_eq!(down[2], ["tight"], "at min.insync.replicas");
    assert_eq!(down[3], ["alone"], "without a leader");
    let states = column(&shown(&nodes[0], &["partition", "list"]), "state");
    assert_eq!(states, ["unavailable", "under-min-isr", "under-replicated", "at-min-isr"]);
    let said = node_weir_says(&nodes[0], &["partition", "list", "--unavailable", "--at-min-isr"], 2);
    assert!(said.contains("cannot be used with"), "{said}");

    let brokers = shown(&nodes[0], &["broker", "list"]);
    assert_eq!(column(&brokers, "fenced"), [false, false, true]);
    assert_eq!(column(&brokers, "out_of_sync"), [0, 0, 4]);
    let said = refused(&nodes[0], &["broker", "wait", "3", "--timeout", "1"]);
    assert!(said.contains("broker 3 is registered but still fenced after 1 s"), "{said}");
    let said = refused(&nodes[0], &["broker", "wait", "9", "--timeout", "1"]);
    assert!(said.contains("broker 9 is not registered after 1 s") && said.contains("node.id=9"), "{said}");

    nodes[2].launch();
    let waited = shown(&nodes[0], &["broker", "wait", "3", "--timeout", "30"]);
    assert_eq!((&waited[0]["replicas"], &waited[0]["in_sync"]), (&json!(4), &json!(4)));
    assert_eq!(listed(&nodes[2], "--under-replicated"), Vec::<Value>::new());

    let elected = shown(&nodes[0], &["partition", "elect", "preferred", "tight", "safe:0"]);
    assert_eq!(column(&elected, "result"), ["elected", "elected"]);
    let elected = shown(&nodes[0], &["partition", "elect", "PREFERRED", "--all-topic-partitions"]);
    assert_eq!(column(&elected, "topic"), ["pair"], "the others are led by their first replica");
    let again = shown(&nodes[0], &["partition", "elect", "preferred", "tight"]);
    assert_eq!(column(&again, "result"), ["not needed"]);
    nodes[0].wait_for_leader("pair", "the first replica leads", |(leader, _)| leader == 3);
    let described = shown(&nodes[0], &["broker", "describe", "3"]);
    assert_eq!((&described["leaders"], &described["preferred_leaders"]), (&json!(4), &json!(4)));
    assert_eq!(described["log_dirs"][0]["partitions"], 4);
    let (shown, said) = failed(&nodes[0], &["partition", "elect", "unclean", "tight:7"]);
    assert!(shown.is_empty() && said.contains("no partition 7"), "{shown}{said}");
}

fn node_weir_says(node: &Node, args: &[&str], code: i32) -> String {
    let output = node.weir(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Brokers that have a replica of a topic.
fn brokers_of(node: &Node, topic: &str) -> Vec<Value> {
    let rows = shown(node, &["partition", "list", topic]);
    let mut all: Vec<Value> =
        column(&rows, "replicas").into_iter().flat_map(|ids| ids.as_array().unwrap().clone()).collect();
    all.sort_by_key(Value::as_i64);
    all.dedup();
    all
}

#[test]
fn replicas_move_by_a_plan_and_back_by_the_file_of_before() {
    let nodes = cluster();
    let node = &nodes[0];
    stdout(&node.weir(&["topic", "create", "t", "-p", "6", "-r", "2"]));
    produce(node, "t", 20_000);
    let path = |name: &str| node.dir.path().join(name).to_str().unwrap().to_owned();
    let (plan, before) = (path("plan.json"), path("before.json"));
    let words =
        ["partition", "reassign", "t", "--broker-list", "1,2", "--save", &plan, "--save-current", &before];
    let planned = node.weir(&[&words[..], &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(said.contains("of 6 partitions would change") && said.contains("--execute"), "{said}");
    let planned: Value = serde_json::from_str(&stdout(&planned)).unwrap();
    assert!(column(&planned, "copied_bytes").iter().any(|bytes| bytes.as_u64() > Some(10_000)), "{planned}");
    assert_eq!(brokers_of(node, "t"), [1, 2, 3], "a plan changes nothing");

    let moved = shown(node, &["partition", "reassign", "--file", &plan, "--execute"]);
    assert!(column(&moved, "state").iter().all(|state| state == "done"), "{moved}");
    assert_eq!(brokers_of(node, "t"), [1, 2]);
    let verified = shown(node, &["partition", "reassign", "--reassignment-json-file", &plan, "--verify"]);
    assert_eq!(column(&verified, "state"), ["done"; 6], "{verified}");
    let (_, said) = failed(node, &["partition", "reassign", "--file", &before, "--verify"]);
    assert!(said.contains("does not move"), "{said}");

    stdout(&node.weir(&["partition", "reassign", "--file", &before, "--execute", "--no-wait"]));
    stdout(&node.weir(&["partition", "reassign", "--list", "--wait"]));
    let verified = shown(node, &["partition", "reassign", "--file", &before, "--verify", "--wait"]);
    assert_eq!(column(&verified, "state"), ["done"; 6], "{verified}");
    assert_eq!(brokers_of(node, "t"), [1, 2, 3]);
    let read = stdout(&node.weir(&["consume", "t", "--from", "earliest", "-e"]));
    assert_eq!(read.lines().count(), 20_000, "nothing was lost on the way");

    stdout(&node.weir(&["partition", "reassign", "t", "--replication-factor", "3", "--execute"]));
    let rows = shown(node, &["partition", "list", "t"]);
    assert!(column(&rows, "isr").iter().all(|isr| isr.as_array().map(Vec::len) == Some(3)), "{rows}");
    let again = node.weir(&["partition", "reassign", "t", "--execute"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing to move"), "{again:?}");
}

#[test]
fn a_move_that_hangs_is_shown_refused_company_and_taken_back() {
    let mut nodes = cluster();
    create(&nodes[0], "t", &[1, 2], &[]);
    create(&nodes[0], "u", &[1, 2], &[]);
    assert_eq!(nodes[2].stop(), Some(0));
    let node = &nodes[0];
    let moving = shown(node, &["partition", "reassign", "t", "--brokers", "1,3", "--execute", "--no-wait"]);
    assert_eq!(column(&moving, "state"), ["moving"]);
    let listed = shown(node, &["partition", "reassign", "--list"]);
    assert_eq!((&listed[0]["topic"], &listed[0]["state"]), (&json!("t"), &json!("moving")));
    let states = column(&shown(node, &["partition", "list", "t"]), "state");
    assert_eq!(states, ["in-sync,reassigning"], "the replica that is to come is not missed yet");
    let (rows, said) = failed(node, &["partition", "reassign", "t", "--verify", "--wait", "--timeout", "1"]);
    assert!(
        rows.contains("moving") && said.contains("1 of 1 partitions still move after 1 s"),
        "{rows}{said}"
    );
    let said = refused(node, &["partition", "reassign", "u", "--brokers", "2,3", "--execute", "--no-wait"]);
    assert!(said.contains("t-0") && said.contains("--additional"), "{said}");
    let cancelled = shown(node, &["partition", "reassign", "t", "--cancel"]);
    assert_eq!(column(&cancelled, "cancelled"), [true]);
    assert_eq!(shown(node, &["partition", "reassign", "--list"]), json!([]));
    assert_eq!(brokers_of(node, "t"), [1, 2]);
    let nothing = node.weir(&["partition", "reassign", "t", "--cancel"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nothing to take back"), "{nothing:?}");

    let said = refused(node, &["partition", "reassign", "t", "--brokers", "1,9"]);
    assert!(said.contains("broker 9 is not registered") && said.contains("weir broker list"), "{said}");
    let said = refused(node, &["partition", "reassign", "t", "--brokers", "1"]);
    assert!(said.contains("2 replicas need as many brokers"), "{said}");
    let said = refused(node, &["partition", "reassign", "absent"]);
    assert!(said.contains("weir topic list"), "{said}");
    let absent = Path::new("/absent/plan.json").to_str().unwrap();
    let said = refused(node, &["partition", "reassign", "--file", absent, "--execute"]);
    assert!(said.contains("/absent/plan.json cannot be read"), "{said}");
}

#[test]
fn a_broker_is_forgotten_when_it_is_down_and_holds_nothing() {
    let mut nodes = cluster();
    create(&nodes[0], "t", &[3, 1], &[]);
    let said = refused(&nodes[0], &["broker", "unregister", "3"]);
    assert!(said.contains("broker 3 is alive"), "{said}");
    assert_eq!(nodes[2].stop(), Some(0));
    let said = refused(&nodes[0], &["broker", "unregister", "3"]);
    assert!(said.contains("still has 1 replicas (t-0 is one)"), "{said}");
    stdout(&nodes[0].weir(&["partition", "reassign", "t", "--brokers", "1,2", "--execute"]));
    stdout(&nodes[0].weir(&["broker", "unregister", "3"]));
    assert_eq!(column(&shown(&nodes[0], &["broker", "list"]), "broker"), [1, 2]);
    let said = refused(&nodes[0], &["broker", "describe", "3"]);
    assert!(said.contains("weir broker list"), "{said}");
}
