//! Kafka Streams on one node: a word count and a windowed join, at least once, over `kill -9` of the node.
//!
//! `Streams.java` is the application. Its state is in memory and in its changelogs on the node. What is asserted:
//! - Undisturbed, and after a restart of the application: the last count of every word is right, and every pair that the
//!   window allows is joined once.
//! - After `kill -9` of the node: the same, but for what the application says itself was delivered to it again. Each count
//!   lies between the right one and that much more, each pair came at least once, and none came that should not.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tests::process::{Node, root, runtimes};

use crate::program::{Producer, Program, SETTINGS, counted, create_topics, eventually, is_long, read};

const WINDOW_MS: u64 = 10_000;
const HOUR_MS: u64 = 3_600_000;
const KEYS: u64 = 5;

/// One of the two streams that are joined: who, and when.
struct Event {
    name: String,
    key: u64,
    at_ms: u64,
}

impl Event {
    fn value(&self) -> String {
        format!("{}@{}", self.name, self.at_ms)
    }
}

/// What went into the application, all in all.
struct Inputs {
    start_ms: u64,
    lines: Vec<String>,
    left: Vec<Event>,
    right: Vec<Event>,
}

impl Inputs {
    fn new() -> Inputs {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        // A broker takes no records from the future; windows older than their grace are gone.
        Inputs { start_ms: now - 6 * HOUR_MS, lines: Vec::new(), left: Vec::new(), right: Vec::new() }
    }

    /// `count` more lines.
    fn more_lines(&mut self, count: usize) -> &[String] {
        let from = self.lines.len();
        self.lines.extend((from..from + count).map(|n| format!("w{} v{} u{}", n % 7, n * 3 % 11, n / 50)));
        &self.lines[from..]
    }

    /// `count` more events on both sides, sent with their keys.
    fn send_events(&mut self, bootstrap: &str, count: u64) {
        let from = self.left.len() as u64;
        let event =
            |side: &str, n: u64, at_ms: u64| Event { name: format!("{side}{n}"), key: n % KEYS, at_ms };
        let start = self.start_ms;
        let left: Vec<Event> = (from..from + count).map(|n| event("l", n, start + n * 900)).collect();
        let right: Vec<Event> =
            (from..from + count).map(|n| event("r", n, start + n * 900 + n * 37 % 20_000)).collect();
        for (topic, events) in [("left", &left), ("right", &right)] {
            let text: String = events.iter().map(|e| format!("{}:{}\n", e.key, e.value())).collect();
            runtimes::kcat(&["-b", bootstrap, "-P", "-t", topic, "-K", ":"], text.as_bytes());
        }
        self.left.extend(left);
        self.right.extend(right);
    }

    /// How often each word came.
    fn words(&self) -> BTreeMap<String, usize> {
        counted(self.lines.iter().flat_map(|line| line.split(' ')).map(str::to_owned))
    }

    /// The pairs of one key that are at most a window apart.
    fn pairs(&self) -> BTreeMap<String, usize> {
        let is_pair = |l: &Event, r: &Event| l.key == r.key && l.at_ms.abs_diff(r.at_ms) <= WINDOW_MS;
        let with = |l: &Event| {
            let matching = self.right.iter().filter(|r| is_pair(l, r));
            matching.map(|r| format!("{} {} {}", l.key, l.value(), r.value())).collect::<Vec<_>>()
        };
        counted(self.left.iter().flat_map(with))
    }
}

/// The last count of each word.
fn counts(bootstrap: &str) -> BTreeMap<String, usize> {
    let pair = |line: String| {
        let (word, count) = line.split_once(' ').expect("a word and its count");
        (word.to_owned(), count.parse().expect("a number"))
    };
    read(bootstrap, "counts", "%k %s").into_iter().map(pair).collect()
}

/// How often each pair was joined.
fn joined(bootstrap: &str) -> BTreeMap<String, usize> {
    counted(read(bootstrap, "joined", "%k %s"))
}

fn start(node: &Node, settings: &[&str]) -> Program {
    let source = root().join("tests/frameworks/Streams.java");
    let state = format!("state.dir={}", node.dir.path().join("streams").display());
    let args = [source.to_str().expect("a UTF-8 path"), &node.bootstrap(), &state];
    Program::start(&[&args, settings].concat())
}

/// Ends the application; how many records came to it again.
fn redelivered(app: Program) -> usize {
    let log = app.end();
    assert!(!log.contains("FAILED"), "{log}");
    let number = log.lines().find_map(|line| line.strip_prefix("REDELIVERED ")?.parse().ok());
    number.unwrap_or_else(|| panic!("it did not end in order:\n{log}"))
}

/// kill -9 while lines come and counts go.
fn kill_under_way(node: &mut Node, inputs: &mut Inputs, lines: usize) {
    let b = node.bootstrap();
    let before = read(&b, "counts", "%o").len();
    let mut producer = Producer::start(&b, "lines");
    producer.send(inputs.more_lines(lines / 2));
    eventually("it counts", || read(&b, "counts", "%o").len(), |counted| *counted > before);
    node.kill();
    producer.send(inputs.more_lines(lines / 2));
    node.launch();
    producer.finish();
    inputs.send_events(&b, lines as u64 / 4);
}

/// Whether each has at least what it should have, and at most `more` above it, and nothing else is there.
fn is_within(found: &BTreeMap<String, usize>, right: &BTreeMap<String, usize>, more: usize) -> bool {
    found.len() == right.len()
        && right
            .iter()
            .all(|(what, count)| found.get(what).is_some_and(|found| (*count..=count + more).contains(found)))
}

#[test]
fn streams_counts_words_and_joins_windows_over_kill_9() {
    if !runtimes::have("kafka") || !runtimes::have("kcat") {
        return;
    }
    let (lines, kills) = if is_long() { (4_000, 5) } else { (400, 1) };
    let mut node = Node::start(SETTINGS);
    let b = node.bootstrap();
    create_topics(&node, 2, &["lines", "counts", "left", "right", "joined"]);
    let mut inputs = Inputs::new();

    let app = start(&node, &[]);
    let mut producer = Producer::start(&b, "lines");
    producer.send(inputs.more_lines(lines));
    producer.finish();
    inputs.send_events(&b, lines as u64 / 4);
    let (words, pairs) = (inputs.words(), inputs.pairs());
    eventually("the words are counted", || counts(&b), |counts| *counts == words);
    eventually("the pairs are joined", || joined(&b), |joined| *joined == pairs);

    for _ in 0..kills {
        kill_under_way(&mut node, &mut inputs, lines);
    }
    let (words, pairs) = (inputs.words(), inputs.pairs());
    // What came again is known when the application has ended only.
    eventually("no word is lost", || counts(&b), |counts| is_within(counts, &words, usize::MAX / 2));
    eventually("no pair is lost", || joined(&b), |joined| is_within(joined, &pairs, usize::MAX / 2));
    let more = redelivered(app);
    let (found, twice) = (counts(&b), joined(&b));
    assert!(is_within(&found, &words, more), "{more} came again\n{found:?}\n{words:?}");
    assert!(is_within(&twice, &pairs, more), "{more} came again\n{twice:?}\n{pairs:?}");

    // Counts go on from the changelog, whatever they were.
    let app = start(&node, &[]);
    let mut producer = Producer::start(&b, "lines");
    producer.send(inputs.more_lines(lines));
    producer.finish();
    let mut right = found;
    for (word, count) in inputs.words() {
        *right.entry(word.clone()).or_default() += count - words.get(&word).copied().unwrap_or(0);
    }
    eventually("the counts go on", || counts(&b), |counts| *counts == right);
    assert_eq!(redelivered(app), 0);
}

/// Transactions and streams groups are not there yet; the application is told so at once.
#[test]
fn streams_is_told_what_is_not_there_yet() {
    if !runtimes::have("kafka") {
        return;
    }
    let node = Node::start(SETTINGS);
    create_topics(&node, 2, &["lines", "counts", "left", "right", "joined"]);
    let refused = [
        ("group.protocol=streams", "The cluster does not support the STREAMS group protocol"),
        ("processing.guarantee=exactly_once_v2", "Could not find a coordinator with type TRANSACTION"),
    ];
    for (setting, answer) in refused {
        let log = start(&node, &[setting]).await_end();
        assert!(log.lines().any(|line| line.starts_with("FAILED") && line.contains(answer)), "{log}");
    }
}
