//! `weir cluster rolling-restart`: every node of three is stopped and started again while producers and consumers go on, and nobody
//! notices: no failed produce, no consumer error, every record read once and in order.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::process::{CLUSTER_ID, Node, runtimes, weir_binary};

/// Of the whole restart, and of what is read after it; the machine may be busy.
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// A client waits 100 ms before it tries again, and a machine may be busy; no client waits for a time-out.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// kcat reads its input in pieces of 1 KiB, and shorter lines would wait for each other.
const LINE_LENGTH: usize = 1023;
const BETWEEN_RECORDS: Duration = Duration::from_millis(4);

fn cluster() -> Vec<Node> {
    Node::cluster(3, &[CLUSTER_ID, "offsets.topic.replication.factor=3", "offsets.topic.num.partitions=3"])
}

fn kcat(bootstrap: &str, args: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", bootstrap]).args(args);
    command
}

fn weir(bootstrap: &str, args: &[&str]) -> Command {
    let mut command = Command::new(weir_binary());
    command.env("WEIR_BOOTSTRAP", bootstrap).args(args);
    command
}

/// What a process writes to its standard error, as it comes.
fn said_by(child: &mut Child) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let (err, all) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&said));
    std::thread::spawn(move || {
        err.lines().map_while(Result::ok).for_each(|l| all.lock().unwrap().push_str(&(l + "\n")));
    });
    said
}

/// A process that writes lines, all of which are kept.
struct Reader {
    what: &'static str,
    child: Child,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    said: Arc<Mutex<String>>,
}

impl Reader {
    fn start(what: &'static str, mut command: Command) -> Reader {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, all) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&lines));
        std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            lines.for_each(|line| all.lock().unwrap().push((Instant::now(), line)));
        });
        let said = said_by(&mut child);
        Reader { what, child, lines, said }
    }

    /// Waits until it reads, so that the restart meets it in the middle.
    fn await_first(&mut self) {
        let deadline = Instant::now() + DONE_WITHIN;
        while self.lines.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline, "{} reads nothing: {}", self.what, self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has read so many of each partition, and checks that these are they.
    fn expect_all(mut self, count: usize, partitions: usize) {
        let deadline = Instant::now() + DONE_WITHIN;
        while self.lines.lock().unwrap().len() < count * partitions && Instant::now() < deadline {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "{} ended: {}",
                self.what,
                self.said.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        // Whatever comes twice may come late.
        std::thread::sleep(Duration::from_millis(200));
        let (timed, said) = (self.lines.lock().unwrap().clone(), self.said.lock().unwrap().clone());
        let silence = longest_silence(&timed);
        assert!(
            silence < SILENCE_MAX,
            "{}: {silence:?} without a record of one partition\n{said}",
            self.what
        );
        let lines: Vec<String> = timed.into_iter().map(|(_, line)| line).collect();
        expect_each_once(&format!("{} {said}", self.what), &lines, count);
    }
}

/// Of one partition.
fn longest_silence(timed: &[(Instant, String)]) -> Duration {
    let mut before: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for (at, line) in timed {
        let partition = line.split_once(' ').unwrap().0;
        if let Some(before) = before.insert(partition, *at) {
            longest = longest.max(*at - before);
        }
    }
    longest
}

/// `0 17`: partition and number. Each partition has every number, once and in order.
fn expect_each_once(what: &str, lines: &[String], count: usize) {
    let mut by_partition: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for line in lines {
        let (partition, number) = line.split_once(' ').unwrap();
        by_partition.entry(partition).or_default().push(number.trim().parse().unwrap());
    }
    for (partition, numbers) in &by_partition {
        let out_of_order = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
        assert!(out_of_order.is_none(), "{what}: {out_of_order:?} in partition {partition}");
        assert!(*numbers == (0..count).collect::<Vec<_>>(), "{what}: {} of {count} records", numbers.len());
    }
    assert!(!by_partition.is_empty(), "{what}");
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is fed numbers, one a line.
struct Writer {
    what: &'static str,
    child: Child,
    input: ChildStdin,
    said: Arc<Mutex<String>>,
}

impl Writer {
    fn start(what: &'static str, mut command: Command) -> Writer {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let said = said_by(&mut child);
        Writer { what, child, input, said }
    }

    /// Ends its input; every record must have been acknowledged.
    fn finish(self) {
        let Writer { what, mut child, input, said } = self;
        drop(input);
        let status = child.wait().unwrap();
        let said = said.lock().unwrap();
        assert!(status.success() && !said.contains("Delivery failed"), "{what} ended with {status}: {said}");
    }
}

/// Feeds the writers until it is told to stop; returns how many records each was given.
fn feed(mut writers: Vec<Writer>, enough: Arc<AtomicBool>) -> std::thread::JoinHandle<(usize, Vec<Writer>)> {
    std::thread::spawn(move || {
        let mut count = 0;
        while !enough.load(Ordering::SeqCst) {
            for writer in &mut writers {
                let written = writeln!(writer.input, "{count:<LINE_LENGTH$}");
                written.unwrap_or_else(|e| panic!("{}: {e}: {}", writer.what, writer.said.lock().unwrap()));
            }
            count += 1;
            std::thread::sleep(BETWEEN_RECORDS);
        }
        (count, writers)
    })
}

/// The node that came back last has heard that everything is in sync again: only then may the next one be stopped.
fn expect_in_sync(node: &Node) {
    let listed = node.weir(&["partition", "list", "--under-replicated", "-o", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed, json!([]), "the next node is stopped too early");
}

/// Stops and starts nodes as the files in `dir` ask for it, until the process that makes them has ended. Returns the ids in turn.
fn serve_restarts(nodes: &mut [Node], dir: &Path, asks: &mut Child) -> Vec<u32> {
    let deadline = Instant::now() + DONE_WITHIN;
    let (mut restarted, mut last) = (Vec::new(), None);
    while asks.try_wait().unwrap().is_none() {
        for at in 0..nodes.len() {
            let asked = dir.join(nodes[at].id().to_string());
            if asked.exists() {
                last.into_iter().for_each(|last: usize| expect_in_sync(&nodes[last]));
                assert_eq!(nodes[at].stop(), Some(0));
                nodes[at].launch();
                std::fs::remove_file(&asked).unwrap();
                restarted.push(nodes[at].id());
                last = Some(at);
            }
        }
        assert!(Instant::now() < deadline, "{restarted:?} in {DONE_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    restarted
}

/// A command that asks for a restart of a node, and ends when it is done.
fn asking(dir: &Path) -> String {
    let file = format!("{}/{{id}}", dir.display());
    format!("touch {file}; while test -e {file}; do sleep 0.05; done")
}

#[test]
fn every_node_is_restarted_and_no_client_notices() {
    if !runtimes::have("kcat") {
        return;
    }
    let mut nodes = cluster();
    let bootstrap = Node::bootstrap_of(&nodes);
    for (topic, partitions) in [("librdkafka", "3"), ("own", "1")] {
        let create = ["topic", "create", topic, "-p", partitions, "-r", "3", "-c", "min.insync.replicas=2"];
        assert!(nodes[0].weir(&create).status.success());
        nodes[0].wait_for_leader(topic, "three in sync", |(_, isr)| isr == 3);
    }
    // A partition each: librdkafka's own choice avoids partitions whose leader it has no connection to yet.
    let exactly_once =
        ["-P", "-t", "librdkafka", "-X", "enable.idempotence=true", "-X", "message.timeout.ms=8000", "-p"];
    let mut writers: Vec<Writer> = ["0", "1", "2"]
        .map(|partition| {
            Writer::start("kcat -P", kcat(&bootstrap, &[&exactly_once[..], &[partition]].concat()))
        })
        .into();
    writers.push(Writer::start("weir produce", weir(&bootstrap, &["produce", "own", "--timeout", "8"])));
    let follows = ["-t", "librdkafka", "-o", "beginning", "-q", "-u", "-f", "%p %s\\n"];
    let group = ["-G", "group", "-o", "beginning", "-q", "-u", "-f", "%p %s\\n", "librdkafka"];
    let mut readers = vec![
        Reader::start("kcat -C", kcat(&bootstrap, &[&["-C"], &follows[..]].concat())),
        Reader::start("kcat -G", kcat(&bootstrap, &group)),
    ];
    let enough = Arc::new(AtomicBool::new(false));
    let feeding = feed(writers, Arc::clone(&enough));
    readers.iter_mut().for_each(Reader::await_first);

    let asked = tempfile::tempdir().unwrap();
    let command = asking(asked.path());
    let args = ["cluster", "rolling-restart", "--command", &command, "--timeout", "50", "-o", "json"];
    let mut restart = weir(&bootstrap, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut restarted = serve_restarts(&mut nodes, asked.path(), &mut restart);
    let output = restart.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    enough.store(true, Ordering::SeqCst);
    let (count, writers) = feeding.join().unwrap();
    writers.into_iter().for_each(Writer::finish);

    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<u64> = rows.as_array().unwrap().iter().filter_map(|row| row["node"].as_u64()).collect();
    assert_eq!(told, restarted.iter().map(|id| u64::from(*id)).collect::<Vec<_>>());
    restarted.sort_unstable();
    assert_eq!(restarted, [1, 2, 3], "each once");
    assert_eq!(rows[2]["roles"], json!(["broker", "active controller"]), "the active controller is the last");
    readers.into_iter().for_each(|reader| reader.expect_all(count, 3));
    let own = nodes[0].weir(&["consume", "own", "--from", "earliest", "-e", "-o", "json"]);
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    let line = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        format!("{} {}", record["partition"], record["value"].as_str().unwrap())
    };
    expect_each_once("weir produce", &own.lines().map(line).collect::<Vec<_>>(), count);
    for node in &nodes {
        assert!(!node.log().contains("no controller let this broker go"), "{}", node.log());
    }
}

/// What a command says that must fail.
fn refused(node: &Node, args: &[&str]) -> String {
    let output = node.weir(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_would_lose_something_is_refused_and_the_operators_own_hand_is_seen() {
    let mut nodes = cluster();
    nodes[0].create_replicated("t", &["--config", "min.insync.replicas=2"]);
    nodes[0].wait_for_leader("t", "three in sync", |(_, isr)| isr == 3);
    let restart = ["cluster", "rolling-restart"];
    let planned = nodes[0].weir(&[&restart[..], &["--dry-run", "-o", "json"]].concat());
    let planned: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!(planned[2]["roles"], json!(["broker", "active controller"]), "{planned}");
    assert!((0..3).all(|at| planned[at]["safe"] == true && planned[at]["step"] == at + 1), "{planned}");

    let said = refused(&nodes[0], &[&restart[..], &["--command", "exit 3 # {id}", "--node", "2"]].concat());
    assert!(
        said.contains("`exit 3 # 2` ended with") && said.contains("rolling-restart --node 2` goes on"),
        "{said}"
    );
    let said = refused(&nodes[0], &[&restart[..], &["--command", "true", "--timeout", "1"]].concat());
    assert!(said.contains("was not seen to stop within 1 s"), "{said}");
    let said = refused(&nodes[0], &[&restart[..], &["--node", "7"]].concat());
    assert!(said.contains("node 7 is not one of the cluster's, which are"), "{said}");

    // By hand: it tells whom to restart, and sees it happen.
    let mut command = weir(&nodes[0].bootstrap(), &[&restart[..], &["--node", "2"]].concat());
    let mut watching = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(watching.stderr.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    assert!(first.starts_with("node 2 (broker and ") && first.contains("restart it now"), "{first}");
    assert_eq!(nodes[1].stop(), Some(0));
    assert!(watching.try_wait().unwrap().is_none(), "it waits for the node to come back");
    nodes[1].launch();
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    assert!(watching.wait().unwrap().success() && rest[0].contains("back and in sync"), "{rest:?}");

    // Another node is down: two of three replicas are left, and two of three controllers.
    assert_eq!(nodes[2].stop(), Some(0));
    let said = refused(&nodes[0], &[&restart[..], &["--dry-run"]].concat());
    assert!(said.contains("stopping node 1: t-0 would have fewer replicas in sync"), "{said}");
    assert!(
        said.contains("no majority of the controllers would be left") && said.contains("behind: 3"),
        "{said}"
    );
    assert!(!said.contains("stopping node 3"), "it is down already: {said}");
    let said =
        refused(&nodes[0], &[&restart[..], &["--node", "2", "--command", "true", "--timeout", "1"]].concat());
    assert!(said.contains("after 1 s, node 2 cannot be stopped: t-0"), "{said}");
    nodes[2].launch();

    assert!(nodes[0].weir(&["topic", "create", "alone", "-p", "3", "-r", "1"]).status.success());
    let said = refused(&nodes[0], &[&restart[..], &["--command", "true"]].concat());
    assert!(said.contains("nothing was restarted") && said.contains("alone-"), "{said}");
    assert!(said.contains("--replication-factor") && said.contains("--force"), "{said}");
}
