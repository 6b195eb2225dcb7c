//! Two sides' answers, field by field, and the differences that are accepted.

use std::cell::Cell;
use std::fmt;
use std::path::Path;

use serde_json::Value as Json;

use crate::play::Outcome;
use crate::scenario::Scenario;

/// One field in which the sides differ.
#[derive(Clone, Debug)]
pub struct Difference {
    pub file: String,
    pub scenario: String,
    pub line: usize,
    /// E.g. `Fetch 17`.
    pub what: String,
    pub path: String,
    /// None: the side has no such field.
    pub kafka: Option<Json>,
    pub weir: Option<Json>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |json: &Option<Json>| json.as_ref().map_or("(nothing)".to_owned(), Json::to_string);
        write!(
            f,
            "{}.scn:{} ({}) {}: {}\n    Kafka {}\n    Weir  {}",
            self.file,
            self.line,
            self.scenario,
            self.what,
            if self.path.is_empty() { "the answer" } else { &self.path },
            side(&self.kafka),
            side(&self.weir)
        )
    }
}

impl Difference {
    /// The same for differences that have one cause, as far as that can be seen: the key, the field, both values.
    pub fn kind(&self) -> String {
        let key = self.what.split(' ').next().unwrap_or_default();
        let path: String = self.path.split(|c: char| "[]".contains(c)).step_by(2).collect();
        let side = |json: &Option<Json>| match json {
            Some(Json::Array(items)) => format!("{} items", items.len()),
            Some(Json::Object(_)) => "{..}".to_owned(),
            Some(value) => value.to_string(),
            None => "(nothing)".to_owned(),
        };
        format!("{key} {path} {} {}", side(&self.kafka), side(&self.weir))
    }
}

/// Every difference between what the two sides answered in one scenario.
pub fn scenario(scenario: &Scenario, kafka: &[Outcome], weir: &[Outcome]) -> Vec<Difference> {
    let mut found = Vec::new();
    let longer = kafka.len().max(weir.len());
    for at in 0..longer {
        let side = |outcomes: &[Outcome]| outcomes.get(at).map(|o| o.answer.clone());
        let step = weir.get(at).or(kafka.get(at)).expect("one of them is this long");
        for (path, kafka, weir) in fields(side(kafka), side(weir)) {
            let (file, name) = (scenario.file.clone(), scenario.name.clone());
            let (line, what) = (step.line, step.what.clone());
            found.push(Difference { file, scenario: name, line, what, path, kafka, weir });
        }
    }
    found
}

type Field = (String, Option<Json>, Option<Json>);

/// The fields in which two answers differ.
pub fn fields(left: Option<Json>, right: Option<Json>) -> Vec<Field> {
    let mut found = Vec::new();
    fields_at("", left.as_ref(), right.as_ref(), &mut found);
    found
}

fn fields_at(path: &str, left: Option<&Json>, right: Option<&Json>, found: &mut Vec<Field>) {
    match (left, right) {
        (Some(Json::Object(a)), Some(Json::Object(b))) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields_at(&path, a.get(name), b.get(name), found);
            }
        }
        (Some(Json::Array(a)), Some(Json::Array(b))) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                fields_at(&format!("{path}[{at}]"), Some(a), Some(b), found);
            }
        }
        (a, b) if a == b => {}
        (Some(Json::Array(a)), Some(Json::Array(b)))
            if !a.is_empty() && !b.is_empty() && named(a) && named(b) =>
        {
            let of = |all: &'_ [Json], name: &str| {
                all.iter().position(|item| name_of(item).as_deref() == Some(name))
            };
            for name in a.iter().filter_map(name_of) {
                let (left, right) = (of(a, &name).map(|at| &a[at]), of(b, &name).map(|at| &b[at]));
                fields_at(&format!("{path}[{name}]"), left, right, found);
            }
            for name in b.iter().filter_map(name_of).filter(|name| of(a, name).is_none()) {
                let right = of(b, &name).map(|at| &b[at]);
                fields_at(&format!("{path}[{name}]"), None, right, found);
            }
        }
        (a, b) => found.push((path.to_owned(), a.cloned(), b.cloned())),
    }
}

/// What names an element among others.
fn name_of(item: &Json) -> Option<String> {
    let name = ["name", "topicName", "topic", "groupId", "resourceName", "apiKey"]
        .iter()
        .find_map(|n| item.get(n))?;
    Some(name.as_str().map_or_else(|| name.to_string(), str::to_owned))
}

fn named(items: &[Json]) -> bool {
    items.iter().all(|item| name_of(item).is_some())
}

/// One accepted difference: patterns in which `*` stands for anything.
struct Entry {
    line: usize,
    key: String,
    versions: String,
    scenario: String,
    path: String,
    /// Kafka's and Weir's value as compact JSON.
    values: Option<(String, String)>,
    reason: String,
    used: Cell<bool>,
}

/// `accepted.txt`.
pub struct Accepted(Vec<Entry>);

impl Accepted {
    /// Lines of `KEY VERSIONS SCENARIO PATH [KAFKA => WEIR]` under lines of `- reason`.
    pub fn read(path: &Path) -> Accepted {
        let text = std::fs::read_to_string(path).expect("the list of accepted differences");
        let mut reason = String::new();
        let mut entries = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
            if let Some(text) = line.strip_prefix("- ") {
                reason = text.to_owned();
                continue;
            }
            let mut words = line.split_whitespace();
            let mut word = || words.next().unwrap_or("*").to_owned();
            let (key, versions, scenario, path) = (word(), word(), word(), word());
            let rest: Vec<&str> = words.collect();
            let values = rest.join(" ").split_once(" => ").map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert!(!reason.is_empty(), "accepted.txt:{}: a reason stands above", at + 1);
            let (line, reason, used) = (at + 1, reason.clone(), Cell::new(false));
            entries.push(Entry { line, key, versions, scenario, path, values, reason, used });
        }
        Accepted(entries)
    }

    /// Why a difference is accepted, if it is.
    pub fn reason(&self, difference: &Difference) -> Option<&str> {
        let (key, version) = difference.what.split_once(' ').unwrap_or((&difference.what, "0"));
        let text = |json: &Option<Json>| json.as_ref().map_or("(nothing)".to_owned(), Json::to_string);
        let entry = self.0.iter().find(|e| {
            matches(&e.key, key)
                && includes(&e.versions, version)
                && matches(&e.scenario, &difference.scenario)
                && matches(&e.path, &difference.path)
                && e.values.as_ref().is_none_or(|(kafka, weir)| {
                    matches(kafka, &text(&difference.kafka)) && matches(weir, &text(&difference.weir))
                })
        })?;
        entry.used.set(true);
        Some(&entry.reason)
    }

    /// Entries that no difference needed: the list only shrinks. `concerns` tells of a pattern of scenarios whether they were
    /// played.
    pub fn unused(&self, concerns: impl Fn(&str) -> bool) -> Vec<String> {
        let unused = self.0.iter().filter(|e| !e.used.get() && concerns(&e.scenario));
        unused
            .map(|e| format!("accepted.txt:{}: {} {} {} {}", e.line, e.key, e.versions, e.scenario, e.path))
            .collect()
    }
}

fn includes(versions: &str, version: &str) -> bool {
    match versions.split_once("..") {
        Some((first, last)) => {
            let number = |text: &str, or: i16| text.parse().unwrap_or(or);
            version.parse().is_ok_and(|v: i16| (number(first, 0)..=number(last, i16::MAX)).contains(&v))
        }
        None => versions == "*" || versions == version,
    }
}

/// Whether `text` has the form of `pattern`, where `*` is any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_the_path_of_the_field() {
        let left = json!({"topics": [{"name": "t", "errorCode": 3}], "x": [1]});
        let right = json!({"topics": [{"name": "t", "errorCode": 0}], "x": [1, 2], "y": 1});
        let paths: Vec<String> = fields(Some(left), Some(right)).into_iter().map(|f| f.0).collect();
        assert_eq!(paths, ["topics[0].errorCode", "x", "y"]);
    }

    #[test]
    fn patterns_and_versions() {
        assert!(matches("topics[*].errorCode", "topics[12].errorCode"));
        assert!(!matches("topics[*].errorCode", "topics[12].error"));
        assert!(matches("*", "") && !matches("", "x"));
        assert!(
            includes("3..5", "4") && includes("3..", "9") && !includes("3..5", "6") && includes("*", "1")
        );
    }
}
