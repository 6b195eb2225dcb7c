//! Kafka's answers, kept in the tree, so that Weir is compared where no Java is.
//!
//! `recorded/NAME.txt` belongs to `scenarios/NAME.scn`: `== scenario`, then a line `KEY VERSION<tab>answer` for each step; a
//! `"` instead of the answer says that it is the same as the one above.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value as Json;

use crate::play::Outcome;
use crate::scenario::Scenario;

/// Answers by scenario.
pub type Recording = BTreeMap<String, Vec<Outcome>>;

/// Everything that was recorded in a directory.
pub fn read_all(dir: &Path) -> Recording {
    let mut all = Recording::new();
    let entries = std::fs::read_dir(dir).expect("the recordings").map(|entry| entry.expect("a file").path());
    for path in entries.filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(path).expect("a recording is text");
        let mut name = String::new();
        for line in text.lines().filter(|l| !l.is_empty()) {
            if let Some(scenario) = line.strip_prefix("== ") {
                name = scenario.to_owned();
                all.insert(name.clone(), Vec::new());
                continue;
            }
            let outcomes = all.get_mut(&name).expect("a scenario comes first");
            let (what, answer) = line.split_once('\t').expect("a tab stands before the answer");
            let answer = match answer {
                "\"" => outcomes.last().expect("an answer above").answer.clone(),
                text => serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {text}: {e}")),
            };
            outcomes.push(Outcome { line: 0, what: what.to_owned(), answer });
        }
    }
    all
}

/// The recording of one file's scenarios.
pub fn text(scenarios: &[&Scenario], outcomes: &Recording) -> String {
    let mut text = String::new();
    for scenario in scenarios {
        let Some(outcomes) = outcomes.get(&scenario.name) else { continue };
        writeln!(text, "== {}", scenario.name).expect("into a string");
        let mut former: Option<&Json> = None;
        for outcome in outcomes {
            let same = former == Some(&outcome.answer);
            let answer = if same { "\"".to_owned() } else { outcome.answer.to_string() };
            writeln!(text, "{}\t{answer}", outcome.what).expect("into a string");
            former = Some(&outcome.answer);
        }
    }
    text
}
