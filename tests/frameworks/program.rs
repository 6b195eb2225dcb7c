//! A program of Kafka's that runs beside a node, and what everybody here asks of a cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::process::{Node, runtimes};

/// How long anything may take; a JVM beside a busy compiler is slow.
pub(crate) const WITHIN: Duration = Duration::from_secs(90);

/// Internal topics are small, so that their coordinators load at once, and a group waits for nobody.
pub(crate) const SETTINGS: &[&str] = &[
    "offsets.topic.num.partitions=2",
    "offsets.topic.replication.factor=1",
    "group.initial.rebalance.delay.ms=0",
];

/// Whether the long form is asked for: `make frameworks`.
pub(crate) fn is_long() -> bool {
    std::env::var_os("FRAMEWORKS").is_some_and(|form| form == "long")
}

/// Asks until the answer is right.
pub(crate) fn eventually<T: Debug>(what: &str, ask: impl Fn() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        let answer = ask();
        if is_right(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not in {WITHIN:?}, but\n{answer:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How often each of these came.
pub(crate) fn counted<T: Ord>(all: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    all.into_iter().for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

pub(crate) fn create_topics(node: &Node, partitions: u32, topics: &[&str]) {
    for topic in topics {
        let told = node.weir(&["topic", "create", topic, "--partitions", &partitions.to_string()]);
        assert!(told.status.success(), "{told:?}");
    }
}

/// All records of a topic as kcat's `format` shows them, a line each.
pub(crate) fn read(bootstrap: &str, topic: &str, format: &str) -> Vec<String> {
    let format = format!("{format}\n");
    let read = ["-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", &format];
    runtimes::kcat(&read, b"").lines().map(str::to_owned).collect()
}

/// A class of Kafka's, or a source file of ours, in a JVM of its own, until it is stopped.
pub(crate) struct Program {
    child: Child,
    dir: tempfile::TempDir,
}

impl Program {
    /// `java ARGS`.
    pub(crate) fn start(args: &[&str]) -> Program {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = std::fs::File::create(dir.path().join("log")).expect("the log can be written");
        let mut command = runtimes::script();
        command.env("KAFKA_HEAP", "-Xms32m -Xmx256m").arg("java").args(args).stdin(Stdio::piped());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        Program { child: command.spawn().expect("the launcher runs"), dir }
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// SIGTERM: it stops in order. What it printed.
    pub(crate) fn stop(self) -> String {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(asked.success(), "it still ran:\n{}", self.log());
        self.await_end()
    }

    /// Ends its input, which is its sign to stop in order. What it printed.
    pub(crate) fn end(mut self) -> String {
        drop(self.child.stdin.take());
        self.await_end()
    }

    /// Waits until it has ended. What it printed.
    pub(crate) fn await_end(mut self) -> String {
        let deadline = Instant::now() + WITHIN;
        while self.child.try_wait().expect("its state can be asked").is_none() {
            assert!(Instant::now() < deadline, "it does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.log()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            std::io::stderr().write_all(format!("the program said at last:\n{tail}\n").as_bytes()).ok();
        }
    }
}

/// kcat that produces what it is given, over a node that goes and comes.
pub(crate) struct Producer {
    child: Child,
}

impl Producer {
    pub(crate) fn start(bootstrap: &str, topic: &str) -> Producer {
        let mut command = Command::new("kcat");
        // -E: that no broker is there is no reason to give up.
        command.args(["-b", bootstrap, "-P", "-t", topic, "-E", "-X", "enable.idempotence=true"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Producer { child: command.spawn().expect("kcat starts") }
    }

    pub(crate) fn send(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let input = self.child.stdin.as_mut().expect("it was asked for");
        input.write_all(text.as_bytes()).expect("kcat listens");
    }

    /// Waits until everything is acknowledged.
    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
