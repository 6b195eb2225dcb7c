//! The differential suite: the same requests to Apache Kafka 4.3.1 and to Weir, the answers compared field by field.
//!
//! Plain `cargo test` compares with Kafka's recorded answers. With `CI=true` or `DIFFERENTIAL=kafka` a real Kafka is asked
//! as well; `DIFFERENTIAL=record` writes the recordings and `docs/conformance.md` anew, `DIFFERENTIAL=page` the page alone.
//! `SCENARIOS=word` plays the files and scenarios with that word in their names, `SCENARIOS=random` random requests alone. The
//! README says more.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, unreachable_pub)]

mod compare;
mod files;
mod generate;
mod mask;
mod page;
mod peers;
mod play;
mod recorded;
mod scenario;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use compare::{Accepted, Difference};
use play::{NOT_SENT, Outcome, Side, play};
use protocol::ApiKey;
use recorded::Recording;
use scenario::Scenario;
use serde_json::Value as Json;
use tests::process::{root, runtimes};

/// The file that is played first and always: it ends when the coordinators are there.
const START: &str = "00_start";
/// `SCENARIOS=random` plays random requests alone.
const STORIES: &str = "random";

/// A scenario that takes longer is told: something did not come that was waited for.
const SLOW: std::time::Duration = std::time::Duration::from_secs(5);

/// How many random requests are sent to both, where a real Kafka is asked: `DIFFERENTIAL_REQUESTS` says otherwise.
const REQUESTS: u64 = 2000;

fn here() -> PathBuf {
    root().join("tests/differential")
}

/// Where the scenarios for three nodes lie, and what was recorded of them.
const THREE_NODES: &str = "three_nodes";

/// Which scenarios are played, and against what.
struct Suite {
    /// Below `scenarios` and `recorded`.
    folder: &'static str,
    scenarios: Vec<Scenario>,
    /// Everything, and not what `SCENARIOS` chose.
    whole: bool,
    /// Random requests too.
    stories: bool,
}

impl Suite {
    /// What `SCENARIOS` chose in a folder.
    fn read(folder: &'static str) -> Suite {
        let mut scenarios = scenario::read_all(&here().join("scenarios").join(folder));
        let chosen = std::env::var("SCENARIOS").unwrap_or_default();
        scenarios.retain(|s| s.file == START || s.name.contains(&chosen) || s.file.contains(&chosen));
        let stories = chosen.is_empty() || chosen == STORIES;
        Suite { folder, scenarios, whole: chosen.is_empty(), stories }
    }

    /// Scenarios that no choice and no file touches.
    fn of(scenarios: Vec<Scenario>) -> Suite {
        Suite { folder: "", scenarios, whole: false, stories: false }
    }

    fn recorded(&self) -> Recording {
        recorded::read_all(&here().join("recorded").join(self.folder))
    }

    fn nodes(&self) -> u32 {
        if self.folder == THREE_NODES { 3 } else { 1 }
    }

    fn play(&self, side: &Side) -> Recording {
        let timed = |s: &Scenario| {
            let start = std::time::Instant::now();
            let outcomes = play(side, s);
            if start.elapsed() > SLOW {
                let told =
                    format!("{}.scn: {} took {:?} on {}\n", s.file, s.name, start.elapsed(), side.name);
                std::io::stderr().write_all(told.as_bytes()).ok();
            }
            (s.name.clone(), outcomes)
        };
        self.scenarios.iter().map(timed).collect()
    }

    fn record(&self, kafka: &Recording) {
        let mut files: BTreeMap<&str, Vec<&Scenario>> = BTreeMap::new();
        self.scenarios.iter().for_each(|s| files.entry(&s.file).or_default().push(s));
        let mut known = self.recorded();
        known.extend(kafka.clone());
        let all = scenario::read_all(&here().join("scenarios").join(self.folder));
        for file in files.keys() {
            let scenarios: Vec<&Scenario> = all.iter().filter(|s| s.file == *file).collect();
            let path = here().join("recorded").join(self.folder).join(format!("{file}.txt"));
            std::fs::write(path, recorded::text(&scenarios, &known)).expect("a recording is written");
        }
    }

    /// Where Kafka does not say what was recorded. It has races of its own (a group's first assignment may come a heartbeat
    /// late), so a fresh one is asked again, and only what differs there too counts.
    fn kafka_changed(&self, kafka: &Recording, recorded: &Recording) -> Vec<Difference> {
        let names: BTreeSet<String> =
            self.differences(kafka, recorded).into_iter().map(|difference| difference.scenario).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let told = format!("Kafka answers otherwise than recorded, asked again: {names:?}\n");
        std::io::stderr().write_all(told.as_bytes()).ok();
        let is_again = |s: &&Scenario| s.file == START || names.contains(&s.name);
        let scenarios: Vec<Scenario> = self.scenarios.iter().filter(is_again).cloned().collect();
        let again = Suite::of(scenarios);
        let mut differences = again.differences(&again.play(&peers::kafka(self.nodes())), recorded);
        differences.retain(|difference| names.contains(&difference.scenario));
        differences
    }

    /// Steps that could not be sent to Kafka: the scenario is wrong.
    fn unsound(&self, kafka: &Recording) -> Vec<String> {
        let is_wrong = |o: &&Outcome| o.answer.as_str().is_some_and(|text| text.starts_with(NOT_SENT));
        let wrong = |s: &Scenario| {
            let outcomes = kafka.get(&s.name).into_iter().flatten().filter(is_wrong);
            outcomes.map(|o| format!("{} ({}) {}: {}", s.file, s.name, o.what, o.answer)).collect::<Vec<_>>()
        };
        self.scenarios.iter().flat_map(wrong).collect()
    }

    /// Entries of the list of accepted differences that no difference needs any more.
    fn unneeded(&self, accepted: &Accepted) -> Vec<String> {
        let unused = accepted.unused(|pattern| self.concerns(pattern));
        unused.into_iter().map(|entry| format!("no difference needs this any more: {entry}")).collect()
    }

    /// Whether an accepted difference for scenarios of this name must show here. One for any scenario is for a single node.
    fn concerns(&self, pattern: &str) -> bool {
        let is_played = |s: &Scenario| compare::matches(pattern, &s.name);
        match self.folder {
            THREE_NODES => pattern != "*" && self.scenarios.iter().any(is_played),
            _ => !Suite::read(THREE_NODES).concerns(pattern),
        }
    }

    fn differences(&self, kafka: &Recording, weir: &Recording) -> Vec<Difference> {
        let of = |s: &Scenario| {
            let side = |recording: &'static str, all: &Recording| {
                all.get(&s.name).cloned().unwrap_or_else(|| panic!("{recording} has no scenario {}", s.name))
            };
            compare::scenario(s, &side("the recording", kafka), &side("Weir", weir))
        };
        self.scenarios.iter().flat_map(of).collect()
    }
}

/// `DIFFERENTIAL`: `kafka` asks a real Kafka too, `record` writes down what it says, `page` writes the page.
fn mode() -> String {
    std::env::var("DIFFERENTIAL").unwrap_or_default()
}

/// Whether a real Kafka is asked: by wish, or in CI.
fn with_kafka() -> bool {
    let wished = ["kafka", "record"].contains(&mode().as_str());
    (wished || std::env::var_os("CI").is_some()) && runtimes::have("kafka")
}

/// The two sides, for the length of a test.
struct Sides {
    weir: Side,
    kafka: Option<Side>,
}

impl Sides {
    /// So many nodes on each.
    fn start(nodes: u32) -> Sides {
        std::thread::scope(|threads| {
            let kafka = threads.spawn(|| with_kafka().then(|| peers::kafka(nodes)));
            let weir = peers::weir(nodes, &[]);
            Sides { weir, kafka: kafka.join().expect("Kafka starts") }
        })
    }

    /// What each answered.
    fn play(&self, suite: &Suite) -> (Recording, Option<Recording>) {
        std::thread::scope(|threads| {
            let weir = threads.spawn(|| suite.play(&self.weir));
            let kafka = self.kafka.as_ref().map(|kafka| suite.play(kafka));
            (weir.join().expect("Weir is played against"), kafka)
        })
    }

    /// Random requests to both: what differs, each kind of difference once with the line that a scenario needs.
    fn play_stories(&self, accepted: &Accepted) -> Vec<String> {
        let number =
            |name: &str, or: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or);
        let (seed, count) = (number("DIFFERENTIAL_SEED", 1), number("DIFFERENTIAL_REQUESTS", REQUESTS));
        let stories = generate::stories(seed, count as usize, &self.served());
        let suite = Suite::of(stories);
        let (weir, kafka) = self.play(&suite);
        let Some(kafka) = kafka else { return Vec::new() };
        let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for story in &suite.scenarios {
            let differences = compare::scenario(story, &kafka[&story.name], &weir[&story.name]);
            for difference in differences.iter().filter(|d| accepted.reason(d).is_none()) {
                let line = generate::line(story, difference.line);
                let before = match suite.scenarios.len() {
                    1 => generate::text(story),
                    _ => String::new(),
                };
                let first = || (0, format!("{difference}\n    as a line of a scenario: {line}\n{before}"));
                kinds.entry(difference.kind()).or_insert_with(first).0 += 1;
            }
        }
        kinds.into_values().map(|(count, first)| format!("{count} times: {first}")).collect()
    }

    /// What Weir's ApiVersions offers.
    fn served(&self) -> Vec<ApiKey> {
        let text = "== offers\nApiVersions 4 {clientSoftwareName: tests, clientSoftwareVersion: \"1\"}\n";
        let suite = Suite::of(scenario::read("offers", text));
        let served = page::served(&suite.play(&self.weir));
        let served: Vec<ApiKey> =
            ApiKey::all().filter(|key| served.contains(&i64::from(key.code()))).collect();
        assert!(served.len() > 30, "ApiVersions tells what is served: {served:?}");
        served
    }

    /// Lines of Weir's log that tell of a panic.
    fn panics(&self) -> Vec<String> {
        let nodes = self.weir.nodes.lock().expect("nobody plays any more");
        let log = nodes.iter().map(|node| node.log()).collect::<Vec<_>>().concat();
        log.lines().filter(|l| l.contains("panicked")).map(|l| format!("Weir: {l}")).collect()
    }
}

/// What a suite found.
struct Found {
    weir: Recording,
    differences: Vec<Difference>,
    /// What must not be.
    faults: Vec<String>,
}

/// Plays a suite, or records what Kafka says to it.
fn play_beside_kafka(suite: &Suite, sides: &Sides, accepted: &Accepted) -> Found {
    let (weir, kafka) = sides.play(suite);
    let recorded = match &kafka {
        Some(kafka) if mode() == "record" => {
            suite.record(kafka);
            kafka.clone()
        }
        _ => suite.recorded(),
    };
    let mut faults = suite.unsound(&recorded);
    let differences = suite.differences(&recorded, &weir);
    let unexplained = differences.iter().filter(|d| accepted.reason(d).is_none());
    faults.extend(unexplained.map(Difference::to_string));
    for difference in kafka.iter().flat_map(|kafka| suite.kafka_changed(kafka, &recorded)) {
        faults.push(format!("Kafka answers otherwise than recorded (here \"Weir\"): {difference}"));
    }
    Found { weir, differences, faults }
}

/// The machine has few processors, and Kafka needs them.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn weir_answers_as_kafka_does() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let suite = Suite::read("");
    assert!(!suite.scenarios.is_empty(), "there are scenarios");
    let accepted = Accepted::read(&here().join("accepted.txt"));
    let sides = Sides::start(suite.nodes());
    let Found { weir, differences, mut faults } = play_beside_kafka(&suite, &sides, &accepted);
    if suite.stories {
        faults.extend(sides.play_stories(&accepted));
    }
    if suite.whole {
        faults.extend(suite.unneeded(&accepted));
        faults.extend(check_page(page::text(&weir, &differences, &accepted)));
    }
    faults.extend(sides.panics());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn three_nodes_answer_as_three_of_kafka_do() {
    let suite = Suite::read(THREE_NODES);
    if suite.scenarios.is_empty() {
        assert!(!suite.whole, "there are scenarios");
        return; // None of them was chosen.
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let accepted = Accepted::read(&here().join("accepted.txt"));
    let sides = Sides::start(suite.nodes());
    let mut faults = play_beside_kafka(&suite, &sides, &accepted).faults;
    if suite.whole {
        faults.extend(suite.unneeded(&accepted));
    }
    faults.extend(sides.panics());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Writes the page, or says that it is old.
fn check_page(page: String) -> Option<String> {
    let path = root().join("docs/conformance.md");
    if ["record", "page"].contains(&mode().as_str()) {
        std::fs::write(&path, page).expect("the page is written");
        return None;
    }
    let is_old = std::fs::read_to_string(&path).unwrap_or_default() != page;
    is_old.then(|| {
        "docs/conformance.md is not what the suite says now: write it with DIFFERENTIAL=page".to_owned()
    })
}

/// The paths at which a node that was changed differs from what is recorded, beyond what is accepted.
fn found(scenarios: &[&str], settings: &[&str], lie: Option<fn(&str, &mut Json)>) -> Vec<String> {
    let mut scenarios_read = scenario::read_all(&here().join("scenarios"));
    scenarios_read.retain(|s| scenarios.contains(&s.name.as_str()));
    assert_eq!(scenarios_read.len(), scenarios.len(), "they are there: {scenarios:?}");
    let suite = Suite::of(scenarios_read);
    let weir = suite.play(&Side { lie, ..peers::weir(1, settings) });
    let recorded = suite.recorded();
    let accepted = Accepted::read(&here().join("accepted.txt"));
    let differences = suite.differences(&recorded, &weir);
    let unexplained = differences.into_iter().filter(|d| accepted.reason(d).is_none());
    unexplained.map(|d| format!("{}: {}", d.what, d.path)).collect()
}

#[test]
fn a_changed_error_code_is_found() {
    let wrong_code = |what: &str, answer: &mut Json| {
        if what == "Metadata 9" && answer["topics"][0]["errorCode"] == 17 {
            answer["topics"][0]["errorCode"] = Json::from(3);
        }
    };
    let found = found(&["metadata-of-unknown-topics"], &[], Some(wrong_code));
    assert!(!found.is_empty() && found.iter().all(|f| f == "Metadata 9: topics[0].errorCode"), "{found:?}");
}

#[test]
fn a_changed_default_is_found() {
    let found = found(&["create-topics"], &["num.partitions=2"], None);
    assert!(found.contains(&"CreateTopics 7: topics[0].numPartitions".to_owned()), "{found:?}");
}

#[test]
fn a_changed_range_of_versions_is_found() {
    let short = |what: &str, answer: &mut Json| {
        if what == "ApiVersions 4" {
            let fetch = answer["apiKeys"].as_array_mut().into_iter().flatten().find(|row| row["apiKey"] == 1);
            fetch.expect("Fetch is offered")["maxVersion"] = Json::from(17);
        }
    };
    let found = found(&["api-versions"], &[], Some(short));
    assert_eq!(found, ["ApiVersions 4: apiKeys[1].maxVersion"]);
}
