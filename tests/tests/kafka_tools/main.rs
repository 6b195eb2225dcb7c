//! Kafka's own tools and kcat against one node, before and after `kill -9`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

mod beside_kafka;
mod kcat;
mod scenario;

use protocol::messages::IncrementalAlterConfigsRequest;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::{Str, bounds};
use tests::kafka::Tools;
use tests::member;
use tests::process::{Node, runtimes};
use wire::client::{Cluster, ClusterOptions};

fn lines(prefix: &str, count: usize) -> String {
    (0..count).fold(String::new(), |mut all, n| {
        writeln!(all, "{prefix}-{n}").expect("a String can be written");
        all
    })
}

#[test]
fn kcat_produces_and_reads_back_before_and_after_kill_9() {
    if !runtimes::have("kcat") {
        return;
    }
    let mut node = Node::start(&[]);
    let b = node.bootstrap();
    let mut expected = String::new();
    for (n, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        let batch = lines(codec, 500);
        runtimes::kcat(
            &["-b", &b, "-P", "-t", "codecs", "-z", codec, "-X", "enable.idempotence=true"],
            batch.as_bytes(),
        );
        expected.push_str(&batch);
        let read = runtimes::kcat(&["-b", &b, "-C", "-t", "codecs", "-o", "beginning", "-e", "-q"], b"");
        assert_eq!(read, expected, "after {codec}");
        if n == 2 {
            node.kill();
            node.launch();
        }
    }
    let headers = ["-b", &b, "-P", "-t", "headers", "-K", ":", "-H", "a=1", "-H", "a=2"];
    runtimes::kcat(&headers, b"key:value\n");
    let shown = runtimes::kcat(&["-b", &b, "-C", "-t", "headers", "-e", "-q", "-f", "%k %s %h %o\n"], b"");
    assert_eq!(shown, "key value a=1,a=2 0\n");
    let listing = runtimes::kcat(&["-b", &b, "-L", "-J"], b"");
    let listing: serde_json::Value = serde_json::from_str(&listing).expect("kcat prints JSON");
    assert_eq!(listing["brokers"][0]["name"], b.as_str());
    let topics: Vec<&str> =
        listing["topics"].as_array().unwrap().iter().filter_map(|t| t["topic"].as_str()).collect();
    assert!(topics.contains(&"codecs") && topics.contains(&"headers"), "{topics:?}");
}

#[test]
fn kcat_reads_by_timestamp_and_from_the_middle() {
    if !runtimes::have("kcat") {
        return;
    }
    let node = Node::start(&[]);
    let b = node.bootstrap();
    runtimes::kcat(&["-b", &b, "-P", "-t", "t"], lines("early", 100).as_bytes());
    let late = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() + 1;
    while std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() <= late {
        std::thread::yield_now();
    }
    runtimes::kcat(&["-b", &b, "-P", "-t", "t"], lines("late", 100).as_bytes());
    let from = format!("s@{late}");
    let read = runtimes::kcat(&["-b", &b, "-C", "-t", "t", "-o", &from, "-e", "-q"], b"");
    assert_eq!(read, lines("late", 100));
    let read = runtimes::kcat(&["-b", &b, "-C", "-t", "t", "-p", "0", "-o", "198", "-e", "-q"], b"");
    assert_eq!(read, "late-98\nlate-99\n");
}

#[test]
fn kcat_sees_tombstones_large_records_and_timestamps() {
    if !runtimes::have("kcat") {
        return;
    }
    let node = Node::start(&["message.max.bytes=4000000"]);
    let b = node.bootstrap();
    let send = ["-b", &b, "-P", "-t", "t", "-Z", "-K", ":", "-X", "enable.idempotence=true"];
    runtimes::kcat(&send, b"gone:\nkept:x\n");
    let shown = runtimes::kcat(&["-b", &b, "-C", "-t", "t", "-e", "-q", "-Z", "-f", "%k=%s %S\n"], b"");
    assert_eq!(shown, "gone=NULL -1\nkept=x 1\n");
    let large = [vec![b'x'; 2_000_000], b"\n".to_vec()].concat();
    let limit = ["-X", "message.max.bytes=4000000", "-z", "none"];
    runtimes::kcat(&[&["-b", b.as_str(), "-P", "-t", "t"], &limit[..]].concat(), &large);
    let shown = runtimes::kcat(&["-b", &b, "-C", "-t", "t", "-e", "-q", "-o", "2", "-f", "%S %T\n"], b"");
    let (size, timestamp) = shown.trim().split_once(' ').expect("two numbers");
    assert_eq!(size, "2000000");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let age = now - timestamp.parse::<i64>().expect("milliseconds");
    assert!((0..600_000).contains(&age), "{timestamp}");
}

#[test]
fn kafkas_own_tools_work_before_and_after_kill_9() {
    if !runtimes::have("kafka") {
        return;
    }
    let mut tools = Tools::start();
    let mut node = Node::start(&["offsets.topic.num.partitions=2"]);
    let b = node.bootstrap();
    let mut run = |tool: &str, args: &[&str], input: &str| {
        tools.run(tool, &[&["--bootstrap-server", b.as_str()], args].concat(), input).out()
    };
    let created = run("topics", &["--create", "--topic", "orders", "--partitions", "3"], "");
    assert!(created.contains("Created topic orders"), "{created}");
    let input = lines("record", 200);
    run("console-producer", &["--topic", "orders"], &input);
    let perf = ["--topic", "perf", "--num-records", "20000", "--record-size", "200", "--throughput", "-1"];
    let told = run("producer-perf-test", &perf, "");
    assert!(told.contains("20000 records sent"), "{told}");

    for (round, group) in [("running", "g1"), ("after kill -9", "g2")] {
        let read = ["--topic", "orders", "--from-beginning", "--max-messages", "200", "--group", group];
        assert_eq!(sorted(&run("console-consumer", &read, "")), sorted(&input), "{round}");
        assert_eq!(run("get-offsets", &["--topic", "perf"], "").trim(), "perf:0:20000", "{round}");
        let listed = run("topics", &["--list", "--exclude-internal"], "");
        assert_eq!(listed.lines().collect::<Vec<_>>(), ["orders", "perf"], "{round}");
        let groups = run("consumer-groups", &["--list"], "");
        assert!(groups.contains(group) && groups.contains("g1"), "{round}: {groups}");
        if round == "running" {
            node.kill();
            node.launch();
        }
    }
    run("topics", &["--delete", "--topic", "orders"], "");
    assert_eq!(run("topics", &["--list", "--exclude-internal"], "").trim(), "perf");
}

/// Share groups are not there yet; who asks for them is told so.
#[test]
fn the_console_share_consumer_is_told_that_there_are_no_share_groups() {
    if !runtimes::have("kafka") {
        return;
    }
    let node = Node::start(&[]);
    assert!(node.weir(&["topic", "create", "t"]).status.success());
    let mut command = runtimes::script();
    command.args(["kafka", "console-share-consumer", "--topic", "t"]);
    command.args(["--bootstrap-server", &node.bootstrap(), "--timeout-ms", "2000"]);
    let told = runtimes::told(command, b"");
    assert!(told.err.contains("The cluster does not support the share group protocol"), "{told:?}");
    assert!(told.err.contains("Processed a total of 0 messages"), "{told:?}");
}

/// These end with their process only, and report while it ends.
#[test]
fn verifiable_clients_and_the_verification_of_replicas_find_nothing_wrong() {
    if !runtimes::have("kafka") {
        return;
    }
    let node = Node::start(&["offsets.topic.num.partitions=2", "group.initial.rebalance.delay.ms=0"]);
    let b = node.bootstrap();
    let at = ["--bootstrap-server", b.as_str(), "--topic", "t", "--max-messages", "50"];
    let sent = runtimes::kafka("verifiable-producer", &at, b"");
    assert_eq!(sent.matches("producer_send_success").count(), 50, "{sent}");
    assert!(sent.contains("\"acked\":50") && sent.contains("shutdown_complete"), "{sent}");
    for protocol in ["classic", "consumer"] {
        let group = ["--group-id", protocol, "--group-protocol", protocol, "--reset-policy", "earliest"];
        let read = runtimes::kafka("verifiable-consumer", &[&at[..], &group].concat(), b"");
        let counts = read.lines().filter(|line| line.contains("\"name\":\"records_consumed\""));
        let counts =
            counts.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["count"].as_u64());
        assert_eq!(counts.sum::<u64>(), 50, "{read}");
        assert!(read.contains("partitions_assigned") && read.contains("\"success\":true"), "{read}");
    }

    let mut command = runtimes::script();
    command.args([
        "kafka",
        "replica-verification",
        "--broker-list",
        &b,
        "--time",
        "-2",
        "--report-interval-ms",
        "300",
    ]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    let deadline = Instant::now() + Duration::from_secs(60);
    let said = output.lines().map_while(Result::ok).take_while(|_| Instant::now() < deadline);
    let lag = said.into_iter().find(|line| line.contains("max lag is"));
    child.kill().expect("it runs until it is ended");
    child.wait().expect("it ends");
    assert!(lag.as_ref().is_some_and(|line| line.contains("max lag is 0 for partition")), "{lag:?}");
}

fn sorted(text: &str) -> Vec<String> {
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    all.sort();
    all
}

/// What no dump of a sound file says.
const FAULTS: &[&str] = &[
    "mismatch",
    "Mismatch",
    "invalid",
    "corrupt",
    "Found timestamp",
    "non-consecutive",
    "Exception",
    "Could not decode",
];

fn dump(tools: &mut Tools, file: &Path, args: &[&str]) -> String {
    let file = file.to_str().expect("a UTF-8 path");
    let dumped = tools.run("dump-log", &[&["--files", file], args].concat(), "").out();
    for fault in FAULTS {
        assert!(!dumped.contains(fault), "{file}: {dumped}");
    }
    dumped
}

#[test]
fn dump_log_reads_every_file_a_node_wrote() {
    if !runtimes::have("kafka") || !runtimes::have("kcat") {
        return;
    }
    let mut node = Node::start(&["log.index.interval.bytes=64", "offsets.topic.num.partitions=1"]);
    let b = node.bootstrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        runtimes::kcat(
            &["-b", &b, "-P", "-t", "t", "-z", codec, "-X", "enable.idempotence=true"],
            lines(codec, 50).as_bytes(),
        );
    }
    let reset = ["group", "reset-offsets", "readers", "--topic", "t", "--to-latest", "--execute"];
    assert!(node.weir(&reset).status.success());
    let member = member::join(&b, "modern", "t");
    assert_eq!(node.stop(), Some(0), "{}", node.log());
    let mut tools = Tools::start();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(node.data().join("t-0")).expect("the partition has a directory") {
        let path = entry.unwrap().path();
        let Some(kind) = path.extension().and_then(|e| e.to_str()) else { continue };
        if !["log", "index", "timeindex", "snapshot"].contains(&kind) {
            continue;
        }
        let dumped = dump(&mut tools, &path, &["--deep-iteration", "--print-data-log"]);
        if kind == "log" {
            assert_eq!(dumped.matches("payload: ").count(), 250, "{dumped}");
            assert!(dumped.contains("compresscodec: zstd") && dumped.contains("isvalid: true"), "{dumped}");
        }
        seen.push(kind.to_owned());
    }
    for kind in ["log", "index", "timeindex", "snapshot"] {
        assert!(seen.contains(&kind.to_owned()), "{kind} is missing: {seen:?}");
    }
    let offsets = node.data().join("__consumer_offsets-0/00000000000000000000.log");
    let dumped = dump(&mut tools, &offsets, &["--offsets-decoder"]);
    for part in
        ["\"group\":\"readers\"", "\"topic\":\"t\"", "\"offset\":250", "\"groupId\":\"modern\"", &member]
    {
        assert!(dumped.contains(part), "{part} is missing in {dumped}");
    }
}

#[test]
fn dump_log_reads_the_metadata_log_and_its_checkpoint() {
    if !runtimes::have("kafka") {
        return;
    }
    let node = Node::start(&[]);
    let mut tools = Tools::start();
    assert!(node.weir(&["topic", "create", "orders", "--partitions", "2"]).status.success());
    let dir = node.dir.path().join("metadata");
    let written = || {
        let output = node.weir(&["cluster", "dump-metadata", dir.to_str().unwrap(), "-o", "json"]);
        assert!(output.status.success(), "{output:?}");
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let files = rows.as_array().unwrap().iter().map(|row| row["file"].as_str().unwrap().to_owned());
        files.collect::<Vec<_>>()
    };
    let files = written();
    assert!(files.len() == 1 && files[0].ends_with("/00000000000000000000.log"), "{files:?}");
    let dumped = dump(&mut tools, Path::new(&files[0]), &["--cluster-metadata-decoder"]);
    for part in [
        "LeaderChange",
        "REGISTER_BROKER_RECORD",
        "FEATURE_LEVEL_RECORD",
        "\"name\":\"orders\"",
        "isvalid: true",
    ] {
        assert!(dumped.contains(part), "{part} is missing in {dumped}");
    }
    assert_eq!(dumped.matches("\"type\":\"PARTITION_RECORD\"").count(), 2, "{dumped}");

    fill_the_metadata_log(&node);
    let files = written();
    assert!(files.len() == 2 && files[0].ends_with(".checkpoint"), "{files:?}");
    let dumped = dump(&mut tools, Path::new(&files[0]), &["--cluster-metadata-decoder"]);
    for part in ["SnapshotHeader", "\"name\":\"orders\"", "\"resourceName\":\"m-7\"", "SnapshotFooter"] {
        assert!(
            dumped.contains(part),
            "{part} is missing in the checkpoint: {}",
            &dumped[..dumped.len().min(3000)]
        );
    }
    assert!(
        !files[1].ends_with("/00000000000000000000.log"),
        "it begins where the checkpoint ends: {files:?}"
    );
    assert!(
        dump(&mut tools, Path::new(&files[1]), &["--cluster-metadata-decoder"]).contains("isvalid: true")
    );
}

/// Changes configs until the controller has taken a checkpoint and dropped from memory what it covers.
fn fill_the_metadata_log(node: &Node) {
    let bytes = (bounds::CONTROLLER_LOG_BYTES_MAX + bounds::CONTROLLER_PUBLISHED_BYTES_MAX) * 5 / 4;
    let value = "m".repeat(bounds::CONFIG_VALUE_CHARS_MAX - 8);
    let resource = |turn: usize, n: usize| AlterConfigsResource {
        resource_type: 16,
        resource_name: Str::from(format!("m-{n}")),
        configs: vec![AlterableConfig {
            name: Str::from_static("metrics"),
            value: Some(Str::from(format!("{turn:04}.{value}"))),
            ..Default::default()
        }],
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = host::real::host();
        let cluster = Cluster::new(&host, [node.bootstrap()], ClusterOptions::default());
        for turn in 0..bytes / (100 * value.len()) {
            let resources = (0..100).map(|n| resource(turn, n)).collect();
            let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
            let answer = cluster.call_any(&request, true).await.expect("an answer");
            assert!(answer.responses.iter().all(|r| r.error_code == 0), "{answer:?}");
        }
    });
}
