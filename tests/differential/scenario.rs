//! Scenarios as text, `scenarios/*.scn`.
//!
//! ```text
//! == a name                                 begins a scenario; `| v of Fetch` plays it once for each version of Fetch as $v
//! topic $t 2 {retention.ms: 1000}           creates a topic and waits until all its partitions are led
//! Fetch 4..13 {maxWaitMs: 0, topics: []}    a request: Key VERSIONS {json}; `*` is every version, `last` the newest, $v the loop's
//!   id = topics[0].topicId                  binds a name to a part of the answer
//!   until topics[0].errorCode = 0           asks again (15 s) until the answer says so; several must be true of one answer
//! @b later JoinGroup 9 {..}                 on connection b, without waiting for the answer ...
//! @b answer                                 ... which is taken here
//! oneway Produce 9 {..}                     a request that is not answered
//! raw 0012 7fff as ApiVersions 0            bytes as they are; the answer is read as the response of a key and version
//! @b close                                  closes the connection
//! files $t-0                                what lies in the directory of a partition
//! stop 2                                    ends node 2 with SIGTERM; `kill 2` without mercy; `start 2` starts it again
//! ```
//! Where there are several nodes a connection whose name begins with a number goes to that node, `@controller` to the active
//! controller, and every other one to node 1.
//!
//! A line that begins with more than two spaces goes on with the line above. `$t` and `$g` are the scenario's own name. A
//! request for several versions leaves out the fields that a version lacks.

use std::ops::RangeInclusive;
use std::path::Path;

use protocol::ApiKey;
use serde_json::Value as Json;

use crate::text;

#[derive(Clone)]
pub struct Scenario {
    /// The file's stem.
    pub file: String,
    /// Unique; topics and groups are named after it.
    pub name: String,
    /// `$v`, where the scenario is played for each version of a key.
    pub version: Option<i16>,
    pub steps: Vec<Step>,
}

#[derive(Clone)]
pub struct Step {
    pub line: usize,
    pub connection: String,
    pub action: Action,
    /// Name and path.
    pub binds: Vec<(String, String)>,
    /// Paths and values, all of which must be there.
    pub until: Vec<(String, Json)>,
}

#[derive(Clone)]
pub enum Action {
    Request { key: ApiKey, versions: Vec<i16>, body: Json, waits: Waits },
    Answer,
    Raw { bytes: Vec<u8>, key: ApiKey, version: i16 },
    Close,
    Topic { name: String, partitions: i64, configs: Json },
    Files { partition: String },
    Process { what: Process, id: usize },
}

#[derive(Clone, Copy)]
pub enum Process {
    Stop,
    Kill,
    Start,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Waits {
    Now,
    Later,
    Never,
}

/// All scenarios of the directory, by file and in the order of the text.
pub fn read_all(dir: &Path) -> Vec<Scenario> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("the scenarios").map(|e| e.unwrap().path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "scn")) {
        let stem = path.file_stem().unwrap().to_string_lossy();
        all.extend(read(&stem, &std::fs::read_to_string(path).unwrap()));
    }
    let mut names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
        panic!("two scenarios are called {}", twice[0]);
    }
    all
}

/// The scenarios of one file.
pub fn read(file: &str, text: &str) -> Vec<Scenario> {
    let mut all: Vec<Scenario> = Vec::new();
    let mut loops: Vec<Option<ApiKey>> = Vec::new();
    for (line, text) in logical_lines(text) {
        let wrong = |why: String| -> ! { panic!("{file}.scn:{line}: {why}") };
        if let Some(title) = text.strip_prefix("== ") {
            let (name, key) = match title.split_once(" | v of ") {
                Some((name, key)) => (name, Some(key_of(key).unwrap_or_else(|e| wrong(e)))),
                None => (title, None),
            };
            let name = name.trim().replace(' ', "-");
            all.push(Scenario { file: file.to_owned(), name, version: None, steps: Vec::new() });
            loops.push(key);
            continue;
        }
        let Some(scenario) = all.last_mut() else { wrong("a scenario begins with ==".to_owned()) };
        if let Some(under) = text.strip_prefix("  ") {
            let step =
                scenario.steps.last_mut().unwrap_or_else(|| wrong("there is no step above".to_owned()));
            read_under(under, step).unwrap_or_else(|e| wrong(e));
        } else {
            scenario.steps.push(read_step(line, &text).unwrap_or_else(|e| wrong(e)));
        }
    }
    all.into_iter().zip(loops).flat_map(|(scenario, key)| each_version(scenario, key)).collect()
}

fn each_version(scenario: Scenario, key: Option<ApiKey>) -> Vec<Scenario> {
    let Some(key) = key else { return vec![scenario] };
    let of = |version| Scenario {
        file: scenario.file.clone(),
        name: format!("{}-v{version}", scenario.name),
        version: Some(version),
        steps: scenario.steps.clone(),
    };
    key.stable_versions().map(of).collect()
}

/// Lines without comments, continued lines joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with("   ") => *last = format!("{last} {}", line.trim()),
            _ => lines.push((at + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

fn read_under(text: &str, step: &mut Step) -> Result<(), String> {
    let (left, right) = text.split_once(" = ").ok_or("`name = path` or `until path = value`")?;
    match left.strip_prefix("until ") {
        Some(path) => step.until.push((path.to_owned(), text::parse(right)?.0)),
        None => step.binds.push((left.to_owned(), right.to_owned())),
    }
    Ok(())
}

fn read_step(line: usize, text: &str) -> Result<Step, String> {
    let (connection, text) = match text.strip_prefix('@') {
        Some(rest) => rest.split_once(' ').ok_or("a step follows the connection")?,
        None => ("main", text),
    };
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let action = match word {
        "answer" => Action::Answer,
        "close" => Action::Close,
        "files" => Action::Files { partition: rest.to_owned() },
        "stop" => Action::Process { what: Process::Stop, id: node_id(rest)? },
        "kill" => Action::Process { what: Process::Kill, id: node_id(rest)? },
        "start" => Action::Process { what: Process::Start, id: node_id(rest)? },
        "later" => read_request(rest, Waits::Later)?,
        "oneway" => read_request(rest, Waits::Never)?,
        "topic" => {
            let mut words = rest.splitn(3, ' ');
            let name = words.next().unwrap_or_default().to_owned();
            let partitions = words.next().unwrap_or("1").parse().map_err(|_| "topic NAME PARTITIONS")?;
            let configs = text::parse(words.next().unwrap_or("{}"))?.0;
            Action::Topic { name, partitions, configs }
        }
        "raw" => {
            let (hex, of) = rest.split_once(" as ").ok_or("raw HEX as KEY VERSION")?;
            let (key, version) = of.split_once(' ').ok_or("raw HEX as KEY VERSION")?;
            let version = version.parse().map_err(|_| "a version is a number")?;
            Action::Raw { bytes: text::unhex(hex)?, key: key_of(key)?, version }
        }
        _ => read_request(text, Waits::Now)?,
    };
    Ok(Step { line, connection: connection.to_owned(), action, binds: Vec::new(), until: Vec::new() })
}

fn node_id(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("{text} is no node's number"))
}

fn read_request(text: &str, waits: Waits) -> Result<Action, String> {
    let mut words = text.splitn(3, ' ');
    let key = key_of(words.next().unwrap_or_default())?;
    let versions = versions_of(key, words.next().ok_or("a version is missing")?)?;
    let (body, rest) = text::parse(words.next().unwrap_or("{}"))?;
    if !rest.trim().is_empty() {
        return Err(format!("left over: {rest}"));
    }
    Ok(Action::Request { key, versions, body, waits })
}

/// `*`, `last`, `3`, `3..5`, `..5`, `3..`; none for `$v`.
fn versions_of(key: ApiKey, text: &str) -> Result<Vec<i16>, String> {
    let all: RangeInclusive<i16> = key.stable_versions();
    let number = |text: &str, or: i16| match text {
        "" => Ok(or),
        text => text.parse::<i16>().map_err(|_| format!("{text} is no version")),
    };
    Ok(match text {
        "*" => all.collect(),
        "last" => vec![*all.end()],
        "$v" => Vec::new(),
        _ => match text.split_once("..") {
            Some((first, last)) => (number(first, *all.start())?..=number(last, *all.end())?).collect(),
            None => vec![number(text, 0)?],
        },
    })
}

fn key_of(name: &str) -> Result<ApiKey, String> {
    ApiKey::all().find(|key| key.name() == name).ok_or(format!("there is no request {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_line_by_line() {
        let text = "== a b | v of SyncGroup\n# comment\ntopic $t 2\n@x later Fetch 4..6 {maxWaitMs:\n    7}\n  id = a[0].b\n  until e = 0\n@x answer\n";
        let all = read("f", text);
        assert_eq!(all.len(), ApiKey::SyncGroup.stable_versions().count());
        let steps = &all[0].steps;
        assert_eq!((all[0].name.as_str(), all[0].version, steps.len()), ("a-b-v0", Some(0), 3));
        let Action::Request { versions, body, waits, .. } = &steps[1].action else { panic!("a request") };
        assert_eq!((versions.len(), body["maxWaitMs"].as_i64(), *waits == Waits::Later), (3, Some(7), true));
        assert_eq!((steps[1].line, steps[1].connection.as_str()), (4, "x"));
        assert_eq!(steps[1].binds, [("id".to_owned(), "a[0].b".to_owned())]);
        assert!(steps[1].until.len() == 1 && steps[2].until.is_empty());
    }
}
