//! Consumer groups of real clients against one node, over `kill -9`: nothing lost, nothing twice, offsets stay.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tests::kafka::Tools;
use tests::process::{Node, runtimes, signal};

const WITHIN: Duration = Duration::from_secs(60);

/// `prefix-0` and so on, a line each, with keys that spread over the partitions.
fn keyed(prefix: &str, count: usize) -> String {
    (0..count).map(|n| format!("{n}:{prefix}-{n}\n")).collect()
}

fn produce(node: &Node, topic: &str, prefix: &str, count: usize) -> BTreeSet<String> {
    runtimes::kcat(&["-b", &node.bootstrap(), "-P", "-t", topic, "-K", ":"], keyed(prefix, count).as_bytes());
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// Until so many members of a group own partitions.
fn wait_for_owners(node: &Node, group: &str, count: usize) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let told = String::from_utf8(node.weir(&["group", "describe", group]).stdout).unwrap();
        let owners: BTreeSet<&str> =
            told.split_whitespace().filter(|word| word.starts_with("rdkafka-")).collect();
        if owners.len() == count {
            return;
        }
        assert!(Instant::now() < deadline, "{count} members own partitions: {told}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A consumer in a group that runs until it is dropped, and the lines that it has read.
struct Consumer {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Consumer {
    fn start(node: &Node, group: &str, topic: &str) -> Consumer {
        let mut command = Command::new("kcat");
        let b = node.bootstrap();
        // One member alone waits no longer than it must; a session ends soon after its process.
        command.args(["-b", &b, "-G", group, "-q", "-u", "-E"]);
        command.args([
            "-X",
            "auto.offset.reset=earliest",
            "-X",
            "auto.commit.interval.ms=100",
            "-X",
            "session.timeout.ms=6000",
        ]);
        command.arg(topic).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("kcat starts");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Consumer { child, lines }
    }

    /// The next lines until `count` were read.
    fn read(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + WITHIN;
        let mut read = Vec::new();
        while read.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => read.push(line),
                Err(error) => panic!("{error} after {} of {count} lines", read.len()),
            }
        }
        read
    }

    /// SIGTERM: it commits, leaves and ends.
    fn stop(mut self) {
        signal(self.child.id(), "-TERM");
        self.child.wait().expect("it ends");
        assert!(self.lines.recv().is_err(), "it read more than was there");
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn create(node: &Node, topic: &str, partitions: &str) {
    let created = node.weir(&["topic", "create", topic, "--partitions", partitions]);
    assert!(created.status.success(), "{created:?}");
}

#[test]
fn a_group_goes_on_where_it_stopped_after_kill_9() {
    if !runtimes::have("kcat") {
        return;
    }
    let mut node = Node::start(&["group.initial.rebalance.delay.ms=0"]);
    create(&node, "t", "3");
    let first = produce(&node, "t", "first", 300);
    let consumer = Consumer::start(&node, "g", "t");
    let read = consumer.read(300);
    assert_eq!(read.iter().cloned().collect::<BTreeSet<_>>(), first);
    consumer.stop();

    node.kill();
    node.launch();
    let second = produce(&node, "t", "second", 200);
    let consumer = Consumer::start(&node, "g", "t");
    let read = consumer.read(200);
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), second, "only what is new, and all of it");
    consumer.stop();
}

#[test]
fn running_members_live_through_kill_9_and_share_what_comes() {
    if !runtimes::have("kcat") {
        return;
    }
    let mut node = Node::start(&["group.initial.rebalance.delay.ms=200"]);
    create(&node, "t", "4");
    let members = [Consumer::start(&node, "g", "t"), Consumer::start(&node, "g", "t")];
    wait_for_owners(&node, "g", 2);
    let mut expected = produce(&node, "t", "before", 200);
    let mut read = Vec::new();
    let mut gather = |expected: &BTreeSet<String>| {
        let deadline = Instant::now() + WITHIN;
        let mut shares = [0, 0];
        while read.iter().collect::<BTreeSet<&String>>().len() < expected.len() {
            for (member, share) in members.iter().zip(&mut shares) {
                let new: Vec<String> = member.lines.try_iter().collect();
                *share += new.len();
                read.extend(new);
            }
            assert!(Instant::now() < deadline, "{} of {} records came", read.len(), expected.len());
            std::thread::sleep(Duration::from_millis(20));
        }
        shares
    };
    gather(&expected);
    node.kill();
    node.launch();
    expected.extend(produce(&node, "t", "after", 200));
    let shares = gather(&expected);
    assert!(shares.iter().all(|share| *share > 0), "one of them got nothing: {shares:?}");
    assert_eq!(read.iter().cloned().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn kafkas_consumer_and_group_tools_agree_before_and_after_kill_9() {
    if !runtimes::have("kafka") || !runtimes::have("kcat") {
        return;
    }
    let mut node = Node::start(&["group.initial.rebalance.delay.ms=0"]);
    let b = node.bootstrap();
    create(&node, "t", "2");
    produce(&node, "t", "r", 100);
    let mut tools = Tools::start();
    let mut run = |tool: &str, args: &[&str]| {
        tools.run(tool, &[&["--bootstrap-server", b.as_str()], args].concat(), "").out()
    };
    let read = [
        "--topic",
        "t",
        "--group",
        "g",
        "--from-beginning",
        "--max-messages",
        "60",
        "--command-property",
        "max.poll.records=1",
    ];
    assert_eq!(run("console-consumer", &read).lines().count(), 60);
    let described = run("consumer-groups", &["--describe", "--group", "g"]);
    assert_eq!(lag(&described), 40, "{described}");

    node.kill();
    node.launch();
    assert_eq!(run("consumer-groups", &["--describe", "--group", "g"]), described, "offsets outlive it");
    let reset = ["--group", "g", "--topic", "t", "--reset-offsets", "--to-offset", "5", "--execute"];
    run("consumer-groups", &reset);
    assert_eq!(lag(&run("consumer-groups", &["--describe", "--group", "g"])), 90);
    let listed = run("consumer-groups", &["--list", "--state", "--type", "classic"]);
    assert!(listed.contains("g") && listed.contains("Empty"), "{listed}");
    let deleted = run("consumer-groups", &["--delete", "--group", "g"]);
    assert!(deleted.contains("Deletion of requested consumer groups ('g') was successful."), "{deleted}");
    node.kill();
    node.launch();
    assert_eq!(run("consumer-groups", &["--list"]).trim(), "", "and it stays away");
}

/// The sum of the column LAG.
fn lag(described: &str) -> i64 {
    let mut lines = described.lines().filter(|line| !line.trim().is_empty());
    let head: Vec<&str> = lines.next().expect("a head").split_whitespace().collect();
    let column = head.iter().position(|name| *name == "LAG").expect("a column LAG");
    let of = |line: &str| line.split_whitespace().nth(column).and_then(|n| n.parse::<i64>().ok());
    lines.map(|line| of(line).unwrap_or_else(|| panic!("no lag in {line}"))).sum()
}
