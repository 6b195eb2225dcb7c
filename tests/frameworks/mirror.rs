//! MirrorMaker 2 between a node of Weir and one of a real Kafka, both ways in one process, at least once.
//!
//! Each cluster has a topic of its own and a group that has read it; MirrorMaker copies topics with their partitions and
//! configs, records, and where the groups are. What is asserted: undisturbed, a copy is the original, with its offsets,
//! and a group goes on at the copy where it was at the original; after `kill -9` of the node of Weir no record is missing,
//! and each came first after those before it, however often it came.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::kafka::Kafka;
use tests::process::{Node, runtimes, weir_binary};

use crate::program::{Program, SETTINGS, WITHIN, counted, eventually, is_long, read};

/// One of the two clusters, and its own topic.
struct Side {
    name: &'static str,
    bootstrap: String,
    topic: &'static str,
    sent: usize,
}

impl Side {
    /// `weir ARGS`, which works with either.
    fn weir(&self, args: &[&str]) -> String {
        let told = Command::new(weir_binary()).args(args).args(["-b", &self.bootstrap]).output();
        let told = told.expect("weir runs");
        assert!(told.status.success(), "{args:?}: {told:?}");
        String::from_utf8_lossy(&told.stdout).into_owned()
    }

    /// Sends `count` more records with keys and headers, no two alike; every tenth is a tombstone.
    fn send(&mut self, count: usize) {
        let record = |n: usize| match n % 10 {
            9 => format!("gone{n}:\n"),
            _ => format!("k{}:{} {n}\n", n % 7, self.name),
        };
        let text: String = (self.sent..self.sent + count).map(record).collect();
        let args = ["-b", &self.bootstrap, "-P", "-t", self.topic, "-K", ":", "-Z", "-H", "of=a record"];
        runtimes::kcat(&[&args[..], &["-X", "enable.idempotence=true"]].concat(), text.as_bytes());
        self.sent += count;
    }

    /// The next `count` records of a topic as a member of a group, which commits and leaves.
    fn read_in_group(&self, group: &str, topic: &str, count: usize) -> Vec<String> {
        let mut command = Command::new("timeout");
        command.args([&WITHIN.as_secs().to_string(), "kcat", "-b", &self.bootstrap, "-G", group, "-q"]);
        command.args([
            "-c",
            &count.to_string(),
            "-f",
            "%p %k %s\n",
            "-X",
            "auto.offset.reset=earliest",
            topic,
        ]);
        runtimes::run(command, b"").lines().map(str::to_owned).collect()
    }

    /// How many records of each partition of a topic a group has not read.
    fn lags(&self, group: &str, topic: &str) -> Vec<u64> {
        let described = self.weir(&["group", "describe", group, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&described).unwrap_or_default();
        let of_topic = rows.iter().filter(|row| row["topic"] == topic);
        of_topic.filter_map(|row| row["lag"].as_u64()).collect()
    }

    /// The configs of a topic that are its own.
    fn configs(&self, topic: &str) -> BTreeMap<String, String> {
        let described = self.weir(&["config", "describe", "topic", topic, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&described).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (text(&row["config"]), text(&row["value"]))).collect()
    }

    fn partitions(&self, topic: &str) -> usize {
        let described = self.weir(&["topic", "describe", topic, "-o", "json"]);
        serde_json::from_str::<Vec<Value>>(&described).map_or(0, |rows| rows.len())
    }

    /// All records of a topic, with their offsets.
    fn records(&self, topic: &str) -> BTreeSet<String> {
        read(&self.bootstrap, topic, "%p %o %T %k %s %h").into_iter().collect()
    }

    /// The records of each partition, in the order in which they came first.
    fn first_times(&self, topic: &str) -> BTreeMap<String, Vec<String>> {
        let mut partitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for record in read(&self.bootstrap, topic, "%p %T %k %s %h") {
            if seen.insert(record.clone()) {
                let (partition, _) = record.split_once(' ').expect("it begins with its partition");
                partitions.entry(partition.to_owned()).or_default().push(record);
            }
        }
        partitions
    }
}

/// The copy of `from`'s topic.
fn copy(from: &Side) -> String {
    format!("{}.{}", from.name, from.topic)
}

fn start(weir: &Side, kafka: &Side, dir: &Path) -> Program {
    let mut text = format!(
        "clusters=weir,kafka\nweir.bootstrap.servers={}\nkafka.bootstrap.servers={}\n\
         weir->kafka.enabled=true\nweir->kafka.topics={}\nkafka->weir.enabled=true\nkafka->weir.topics={}\n\
         sync.group.offsets.enabled=true\noffset.lag.max=0\noffset.flush.interval.ms=500\n",
        weir.bootstrap, kafka.bootstrap, weir.topic, kafka.topic
    );
    for topic in ["", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic."] {
        text += &format!("{topic}replication.factor=1\n");
    }
    for storage in ["offset", "status", "config"] {
        text += &format!("{storage}.storage.replication.factor=1\n");
    }
    for work in [
        "refresh.topics",
        "refresh.groups",
        "emit.checkpoints",
        "emit.heartbeats",
        "sync.group.offsets",
        "sync.topic.configs",
        "sync.topic.acls",
    ] {
        text += &format!("{work}.interval.seconds=1\n");
    }
    let file = dir.join("mm2.properties");
    std::fs::write(&file, text).expect("written");
    Program::start(&["org.apache.kafka.connect.mirror.MirrorMaker", file.to_str().expect("a UTF-8 path")])
}

#[test]
fn mirror_maker_copies_both_ways_over_kill_9() {
    if !runtimes::have("kafka") || !runtimes::have("kcat") {
        return;
    }
    let (records, kills) = if is_long() { (5_000, 5) } else { (300, 1) };
    let mut real = Kafka::launch(SETTINGS);
    let mut node = Node::start(SETTINGS);
    real.await_ready();
    let bootstrap = format!("127.0.0.1:{}", real.port);
    let mut weir = Side { name: "weir", bootstrap: node.bootstrap(), topic: "orders", sent: 0 };
    let mut kafka = Side { name: "kafka", bootstrap, topic: "payments", sent: 0 };
    for side in [&mut weir, &mut kafka] {
        let config = ["--config", "max.message.bytes=2000000", "--config", "cleanup.policy=compact"];
        side.weir(&[&["topic", "create", side.topic, "--partitions", "2"], &config[..]].concat());
        side.send(records);
        assert_eq!(side.read_in_group(side.topic, side.topic, records).len(), records);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mirror = start(&weir, &kafka, dir.path());
    copies_are_the_originals(&weir, &kafka);
    copies_are_the_originals(&kafka, &weir);
    copies_follow(&mut weir, &kafka);
    copies_follow(&mut kafka, &weir);
    assert!(!mirror.log().contains("UnsupportedVersionException"), "{}", mirror.log());

    for _ in 0..kills {
        let before = kafka.records(&copy(&weir)).len();
        weir.send(records);
        kafka.send(records);
        eventually("more arrives", || kafka.records(&copy(&weir)).len(), |now| *now > before);
        node.kill();
        kafka.send(records);
        node.launch();
        weir.send(records);
    }
    for (from, to) in [(&weir, &kafka), (&kafka, &weir)] {
        let right = from.first_times(from.topic);
        eventually("no record is missing", || to.first_times(&copy(from)), |copied| *copied == right);
    }
    mirror.stop();
}

/// The copy is there with its configs and all records, at the same offsets, and the group at the same place.
fn copies_are_the_originals(from: &Side, to: &Side) {
    let copy = copy(from);
    eventually("the topic is copied", || to.weir(&["topic", "list"]), |list| list.contains(&copy));
    let records = from.records(from.topic);
    eventually("the copy is the original", || to.records(&copy), |copied| *copied == records);
    let configs = to.configs(&copy);
    for (name, value) in from.configs(from.topic) {
        assert_eq!(configs.get(&name), Some(&value), "{name} of {copy}");
    }
    let groups = || to.weir(&["group", "list"]);
    eventually("the group is copied", groups, |list| list.contains(from.topic));
    eventually("it has read all", || to.lags(from.topic, &copy), |lags| *lags == [0, 0]);
}

/// Configs and partitions change with the original's, and the group goes on at the copy.
fn copies_follow(from: &mut Side, to: &Side) {
    let copy = copy(from);
    from.weir(&["config", "set", "topic", from.topic, "max.message.bytes=3000000"]);
    from.weir(&["topic", "alter", from.topic, "--partitions", "3"]);
    let is_new = |configs: &BTreeMap<String, String>| {
        configs.get("max.message.bytes").is_some_and(|bytes| bytes == "3000000")
    };
    eventually("the config follows", || to.configs(&copy), is_new);
    eventually("the partitions follow", || to.partitions(&copy), |partitions| *partitions == 3);
    let before = to.records(&copy);
    from.send(50);
    let records = from.records(from.topic);
    eventually("the new records are copied", || to.records(&copy), |copied| *copied == records);
    let added = records.difference(&before).map(|record| without_offset(record));
    let read = to.read_in_group(from.topic, &copy, 50);
    assert_eq!(counted(read), counted(added), "the group goes on at {copy}");
}

/// Of `partition offset timestamp key value header=its value` what a member of a group shows.
fn without_offset(record: &str) -> String {
    let record = record.strip_suffix(" of=a record").expect("its header");
    let mut parts = record.splitn(4, ' ');
    let partition = parts.next().expect("a partition");
    format!("{partition} {}", parts.nth(2).expect("a key and a value"))
}
