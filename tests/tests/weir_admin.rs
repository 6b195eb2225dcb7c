//! The admin commands of `weir` against a node: groups, configs, cluster, topics; JSON, refusals, and how long they take.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tests::member;
use tests::process::{Node, weir_binary};

const ON_ONE_NODE: &[&str] = &["offsets.topic.num.partitions=2", "offsets.topic.replication.factor=1"];

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that must succeed shows with `-o json`.
fn shown(node: &Node, args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&node.weir(&[args, &["-o", "json"]].concat()))).expect("it is JSON")
}

/// What a command that must fail says.
fn refused(node: &Node, args: &[&str]) -> String {
    let output = node.weir(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn column(rows: &Value, name: &str) -> Vec<Value> {
    rows.as_array().expect("rows").iter().map(|row| row[name].clone()).collect()
}

/// A node with topic `t` of two partitions: 10 records in partition 0, 5 in partition 1.
fn node_with_records() -> Node {
    let node = Node::start(ON_ONE_NODE);
    stdout(&node.weir(&["topic", "create", "t", "-p", "2"]));
    produce(&node, "0", 10);
    produce(&node, "1", 5);
    node
}

fn produce(node: &Node, partition: &str, count: usize) {
    let mut command = Command::new(weir_binary());
    command.env("WEIR_BOOTSTRAP", node.bootstrap()).args(["produce", "t", "-p", partition]);
    tests::process::runtimes::run(command, "record\n".repeat(count).as_bytes());
}

/// Runs a reset and returns the new offsets of both partitions.
fn reset(node: &Node, place: &[&str]) -> Vec<Value> {
    let args = [&["group", "reset-offsets", "g", "--topic", "t", "--execute"], place].concat();
    let rows = shown(node, &args);
    let described = shown(node, &["group", "describe", "g"]);
    assert_eq!(column(&described, "current_offset"), column(&rows, "new_offset"), "{place:?} was done");
    column(&rows, "new_offset")
}

#[test]
fn offsets_go_to_every_place_that_kafkas_tool_knows() {
    let node = node_with_records();
    let between = now_ms() + 1;
    while now_ms() <= between {
        std::thread::yield_now();
    }
    produce(&node, "0", 2);
    assert_eq!(reset(&node, &["--to-earliest"]), [0, 0]);
    assert_eq!(reset(&node, &["--to-latest"]), [12, 5]);
    assert_eq!(reset(&node, &["--to-offset", "7"]), [7, 5], "not behind the end");
    assert_eq!(reset(&node, &["--shift-by", "-6"]), [1, 0], "not before the beginning");
    assert_eq!(reset(&node, &["--shift-by", "3"]), [4, 3]);
    assert_eq!(reset(&node, &["--to-current"]), [4, 3]);
    assert_eq!(
        reset(&node, &["--to-datetime", &format!("@{between}")]),
        [10, 5],
        "the end where all is older"
    );
    assert_eq!(reset(&node, &["--to-datetime", "2001-01-01T00:00:00.000Z"]), [0, 0]);
    assert_eq!(reset(&node, &["--by-duration", "PT0S"]), [12, 5]);
    assert_eq!(reset(&node, &["--by-duration", "P1D"]), [0, 0]);

    let lag = shown(&node, &["group", "describe", "g"]);
    assert_eq!(column(&lag, "lag"), [12, 5]);
    let planned = node.weir(&["group", "reset-offsets", "g", "--all-topics", "--to-latest", "-o", "json"]);
    assert!(String::from_utf8_lossy(&planned.stderr).contains("--execute"), "{planned:?}");
    let planned: Value = serde_json::from_str(&stdout(&planned)).expect("JSON");
    assert_eq!(column(&planned, "new_offset"), [12, 5]);
    assert_eq!(shown(&node, &["group", "describe", "g"]), lag, "without --execute nothing changes");
    let one = ["group", "reset-offsets", "g", "--topic", "t:1", "--to-offset", "2", "--execute"];
    assert_eq!(column(&shown(&node, &one), "partition"), [1]);
    assert!(
        refused(&node, &["group", "reset-offsets", "g", "-t", "t:9", "--to-latest"])
            .contains("no partition 9")
    );
    let shifted = refused(&node, &["group", "reset-offsets", "new", "--topic", "t", "--shift-by", "1"]);
    assert!(shifted.contains("no committed offset"), "{shifted}");
}

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

#[test]
fn a_group_with_members_is_described_and_left_alone() {
    let node = node_with_records();
    let member = member::join(&node.bootstrap(), "g", "t");
    let states = shown(&node, &["group", "describe", "g", "--state"]);
    assert_eq!((&states[0]["type"], &states[0]["members"]), (&json!("consumer"), &json!(1)));
    assert_eq!((&states[0]["assignor"], &states[0]["coordinator"]), (&json!("uniform"), &json!(1)));
    let members = shown(&node, &["group", "describe", "g", "--members"]);
    assert_eq!(members[0]["consumer_id"], member.as_str());
    assert_eq!(members[0]["assignment"], json!(["t:0,1"]));
    let offsets = shown(&node, &["group", "describe"]);
    assert_eq!(column(&offsets, "log_end_offset"), [10, 5]);
    assert_eq!(column(&offsets, "current_offset"), [Value::Null, Value::Null], "nothing is committed");
    let listed = shown(&node, &["group", "list", "--type", "consumer"]);
    assert_eq!(column(&listed, "group"), ["g"]);
    assert_eq!(shown(&node, &["group", "list", "--type", "classic"]), json!([]));

    let said = refused(&node, &["group", "reset-offsets", "g", "-t", "t", "--to-latest", "--execute"]);
    assert!(said.contains("weir group describe g --members"), "{said}");
    let said = refused(&node, &["group", "delete", "g"]);
    assert!(said.contains("NON_EMPTY_GROUP") && said.contains("stop"), "{said}");
    let said = refused(&node, &["group", "delete-offsets", "g", "-t", "t"]);
    assert!(said.contains("GROUP_SUBSCRIBED_TO_TOPIC"), "{said}");
}

#[test]
fn groups_and_their_offsets_are_deleted() {
    let node = node_with_records();
    reset(&node, &["--to-latest"]);
    let forgotten = shown(&node, &["group", "delete-offsets", "g", "--topic", "t:1"]);
    assert_eq!(forgotten, json!([{ "group": "g", "topic": "t", "partition": 1, "deleted": true }]));
    assert_eq!(column(&shown(&node, &["group", "describe", "g"]), "partition"), [0]);
    assert_eq!(shown(&node, &["group", "delete", "g"])[0]["deleted"], true);
    assert_eq!(shown(&node, &["group", "list"]), json!([]));
    for args in [&["group", "delete", "g"][..], &["group", "describe", "g"]] {
        let said = refused(&node, args);
        assert!(said.contains("weir group list"), "{said}");
    }
}

#[test]
fn configs_are_set_shown_with_their_source_and_taken_back() {
    let node = Node::start(&["log.retention.hours=5"]);
    stdout(&node.weir(&["topic", "create", "t"]));
    let one = |args: &[&str]| shown(&node, &[&["config", "describe"], args].concat())[0].clone();
    stdout(&node.weir(&["config", "set", "topic", "t", "retention.ms=1000", "cleanup.policy+=compact"]));
    let set = shown(&node, &["config", "describe", "topic", "t"]);
    assert!(column(&set, "config").contains(&json!("retention.ms")), "{set}");
    let retention = one(&["topic", "t", "-c", "retention.ms"]);
    assert_eq!((&retention["value"], &retention["source"]), (&json!("1000"), &json!("DYNAMIC_TOPIC_CONFIG")));
    assert_eq!(retention["synonyms"][0]["value"], "1000");
    assert_eq!(one(&["topic", "t", "-c", "cleanup.policy"])["value"], "delete,compact");
    let segment = one(&["topic", "t", "--config", "segment.bytes"]);
    assert_eq!(segment["source"], "DEFAULT_CONFIG");
    stdout(&node.weir(&["config", "delete", "topic", "t", "retention.ms"]));
    assert_eq!(
        one(&["topic", "t", "-c", "retention.ms"])["value"],
        "18000000",
        "what the server's file says"
    );

    stdout(&node.weir(&["config", "set", "broker", "default", "message.max.bytes=2000000"]));
    stdout(&node.weir(&["config", "set", "broker", "1", "message.max.bytes=3000000"]));
    let broker = one(&["broker", "1", "-c", "message.max.bytes"]);
    assert_eq!((&broker["value"], &broker["source"]), (&json!("3000000"), &json!("DYNAMIC_BROKER_CONFIG")));
    assert_eq!(broker["synonyms"][1]["source"], "DYNAMIC_DEFAULT_BROKER_CONFIG");
    assert_eq!(one(&["broker", "default"])["value"], "2000000");
    stdout(&node.weir(&["config", "set", "group", "g", "consumer.session.timeout.ms=50000"]));
    stdout(&node.weir(&["config", "set", "client-metrics", "m", "interval.ms=5000"]));
    let groups = shown(&node, &["config", "describe", "group"]);
    assert_eq!((&groups[0]["name"], &groups[0]["source"]), (&json!("g"), &json!("DYNAMIC_GROUP_CONFIG")));
    let metrics = shown(&node, &["config", "describe", "client-metrics", "m", "-c", "interval.ms"]);
    assert_eq!(metrics[0]["value"], "5000");

    stdout(&node.weir(&["config", "set", "topic", "t", "retention.ms=7", "--dry-run"]));
    assert_eq!(one(&["topic", "t", "-c", "retention.ms"])["value"], "18000000", "only asked");
    let said = refused(&node, &["config", "set", "topic", "t", "no.such=1"]);
    assert!(said.contains("INVALID_CONFIG") && said.contains("weir config describe"), "{said}");
    assert!(refused(&node, &["config", "set", "topic", "t", "retention.ms"]).contains("name=value"));
    assert!(refused(&node, &["config", "describe", "broker", "x"]).contains("weir cluster describe"));
}

#[test]
fn the_cluster_is_described() {
    let node = Node::start(&["broker.rack=r1"]);
    stdout(&node.weir(&["topic", "create", "t", "-p", "2"]));
    let described = shown(&node, &["cluster", "describe"]);
    assert_eq!(described["controller"], 1);
    assert!(described["cluster_id"].as_str().is_some_and(|id| id.len() == 22), "{described}");
    assert_eq!(described["metadata_version"], "4.3-IV0");
    let broker = &described["brokers"][0];
    assert_eq!((&broker["rack"], &broker["fenced"]), (&json!("r1"), &json!(false)));
    assert_eq!(broker["address"], node.bootstrap().as_str());
    let quorum = shown(&node, &["cluster", "quorum"]);
    assert_eq!((&quorum["leader"], &quorum["voters"]), (&json!(1), &json!(1)));
    assert_eq!((&quorum["nodes"][0]["role"], &quorum["nodes"][0]["lag"]), (&json!("leader"), &json!(0)));
    assert_eq!(quorum["nodes"][0]["address"], json!([format!("127.0.0.1:{}", node.controller_port)]));
    let features = shown(&node, &["cluster", "features"]);
    let level = |name: &str| {
        let all = features["features"].as_array().expect("rows");
        all.iter().find(|f| f["feature"] == name).map(|f| f["finalized"].clone())
    };
    assert_eq!(level("metadata.version"), Some(json!("4.3-IV0")));
    assert!(level("group.version").is_some_and(|level| level.as_i64() >= Some(1)), "{features}");
    let dirs = shown(&node, &["cluster", "log-dirs"]);
    assert_eq!(dirs[0]["log_dir"], node.data().to_str().unwrap());
    assert_eq!((&dirs[0]["partitions"], &dirs[0]["error"]), (&json!(2), &Value::Null));
    let partitions = shown(&node, &["cluster", "log-dirs", "--partitions", "--topic", "t"]);
    assert_eq!(column(&partitions, "partition"), [0, 1]);
    let table = stdout(&node.weir(&["cluster", "describe"]));
    assert!(table.starts_with("CLUSTER-ID        ") && table.contains("\n\nBROKER  ADDRESS"), "{table}");
}

#[test]
fn partitions_and_the_broker_of_one_node_are_shown() {
    let node = node_with_records();
    let partitions = shown(&node, &["partition", "list", "t:1"]);
    let expected = json!([{
        "topic": "t", "partition": 1, "leader": 1, "replicas": [1], "isr": [1], "min_insync_replicas": 1,
        "state": "in-sync", "adding_replicas": [], "removing_replicas": [],
    }]);
    assert_eq!(partitions, expected);
    let broker = shown(&node, &["broker", "describe", "1"]);
    assert_eq!((&broker["roles"], &broker["leaders"]), (&json!(["broker", "active controller"]), &json!(2)));
    assert_eq!(broker["log_dirs"][0]["log_dir"], node.data().to_str().unwrap());
    let waited = shown(&node, &["broker", "wait", "1"]);
    assert_eq!(waited[0]["in_sync"], 2);
    assert!(refused(&node, &["partition", "list", "absent"]).contains("weir topic list"));
    let file = node.dir.path().join("elect.json");
    std::fs::write(&file, r#"{"partitions":[{"topic":"t","partition":0},{"topic":"t","partition":9}]}"#)
        .unwrap();
    let elect = ["partition", "elect", "preferred", "--path-to-json-file", file.to_str().unwrap()];
    assert!(
        refused(&node, &elect).contains("partition t-9: UNKNOWN_TOPIC_OR_PARTITION"),
        "the other is done"
    );
}

#[test]
fn topics_grow_and_lose_records_and_show_their_offsets() {
    let node = node_with_records();
    assert_eq!(shown(&node, &["topic", "alter", "t", "--partitions", "3"])[0]["partitions"], 3);
    let described = shown(&node, &["topic", "describe", "t"]);
    assert_eq!(column(&described, "partition"), [0, 1, 2]);
    assert_eq!(column(&described, "isr"), [json!([1]), json!([1]), json!([1])]);
    assert_eq!(shown(&node, &["topic", "describe", "--under-replicated"]), json!([]));
    let said = refused(&node, &["topic", "alter", "t", "--partitions", "2"]);
    assert!(said.contains("INVALID_PARTITIONS"), "{said}");

    let deleted = shown(&node, &["topic", "delete-records", "t", "--before", "4", "-p", "0"]);
    assert_eq!(column(&deleted, "log_start_offset"), [4]);
    let all = shown(&node, &["topic", "delete-records", "t", "--before", "latest", "-p", "1"]);
    assert_eq!(column(&all, "log_start_offset"), [5]);
    let said = refused(&node, &["topic", "delete-records", "t", "--before", "99", "-p", "0"]);
    assert!(said.contains("OFFSET_OUT_OF_RANGE") && said.contains("weir topic offsets"), "{said}");
    let offsets = shown(&node, &["topic", "offsets", "t", "--at", "2001-01-01"]);
    assert_eq!(column(&offsets, "earliest"), [4, 5, 0]);
    assert_eq!(column(&offsets, "latest"), [10, 5, 0]);
    assert_eq!(column(&offsets, "at"), [json!(4), Value::Null, Value::Null]);
    let said = refused(&node, &["topic", "delete", "t", "absent"]);
    assert!(said.contains("absent") && said.contains("weir topic list"), "{said}");
    assert_eq!(shown(&node, &["topic", "list"]), json!([]), "one that is absent does not save the other");
}

#[test]
fn a_config_file_says_where_the_cluster_is() {
    let node = Node::start(&[]);
    let file = node.dir.path().join("client.properties");
    std::fs::write(&file, format!("bootstrap.servers={}\n", node.bootstrap())).unwrap();
    let mut command = Command::new(weir_binary());
    command.env_remove("WEIR_BOOTSTRAP").args(["topic", "list", "--command-config"]).arg(&file);
    stdout(&command.output().unwrap());
    let by_flag = ["topic", "list", "--bootstrap-server", "127.0.0.1:1"];
    assert!(refused(&node, &by_flag).contains("is the broker running"));
    let script = stdout(&node.weir(&["completions", "bash"]));
    assert!(script.contains("reset-offsets"), "{script}");
}

/// Best of several runs, as bash's `time` tells it: wall and CPU seconds.
fn best_seconds(node: &Node, args: &[&str]) -> (f64, f64) {
    let once = || {
        let script = "TIMEFORMAT='%3R %3U %3S'; time \"$0\" \"$@\" >/dev/null";
        let mut command = Command::new("bash");
        command.env("WEIR_BOOTSTRAP", node.bootstrap()).env("LC_ALL", "C");
        let output = command.args(["-c", script]).arg(weir_binary()).args(args).output().expect("bash runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {told}");
        let seconds: Vec<f64> =
            told.lines().last().expect("a line").split(' ').map(|s| s.parse().unwrap()).collect();
        (seconds[0], seconds[1] + seconds[2])
    };
    let runs: Vec<(f64, f64)> = (0..7).map(|_| once()).collect();
    let least = |of: fn(&(f64, f64)) -> f64| runs.iter().map(of).fold(f64::MAX, f64::min);
    (least(|run| run.0), least(|run| run.1))
}

#[test]
fn each_command_answers_in_less_than_50_ms() {
    let node = node_with_records();
    reset(&node, &["--to-earliest"]);
    let dump = node.dir.path().join("dump");
    let commands: &[&[&str]] = &[
        &["topic", "list"],
        &["topic", "describe"],
        &["topic", "offsets", "t"],
        &["topic", "delete-records", "t", "--before", "1"],
        &["partition", "list"],
        &["partition", "list", "--under-min-isr"],
        &["partition", "elect", "preferred", "--all"],
        &["partition", "reassign", "t", "--brokers", "1"],
        &["partition", "reassign", "--list"],
        &["broker", "list"],
        &["broker", "describe", "1"],
        &["broker", "wait", "1"],
        &["group", "list"],
        &["group", "describe"],
        &["group", "describe", "--members"],
        &["group", "describe", "--state"],
        &["group", "reset-offsets", "g", "--all-topics", "--to-latest", "--execute"],
        &["config", "describe", "topic", "t", "--all"],
        &["config", "describe", "broker", "1", "--all"],
        &["config", "set", "topic", "t", "retention.ms=86400000"],
        &["cluster", "describe"],
        &["cluster", "quorum"],
        &["cluster", "features"],
        &["cluster", "log-dirs"],
        &["cluster", "rolling-restart", "--dry-run", "--force"],
        &["cluster", "dump-metadata", dump.to_str().unwrap()],
        &["consume", "t", "--from", "1", "-e"],
        &["completions", "bash"],
    ];
    let limit = Duration::from_millis(50).as_secs_f64();
    let mut slow = Vec::new();
    for args in commands {
        let (wall, cpu) = best_seconds(&node, args);
        // CPU time hardly depends on who else is busy; the wall may wait for its turn.
        if cpu >= limit || wall >= 5.0 * limit {
            slow.push(format!("{args:?}: {wall} s, CPU {cpu} s"));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}
