//! The JSON files of Kafka's `kafka-reassign-partitions` and `kafka-leader-election`, read and written.

use std::collections::BTreeSet;
use std::path::Path;

use protocol::Str;
use serde_json::{Value, json};
use wire::client::NamedPartition;

use crate::client::Client;

/// Partitions and where their replicas shall be, the preferred leader first.
pub(crate) type Assignment = Vec<(NamedPartition, Vec<i32>)>;

/// The file as JSON, and its name for sentences.
pub(crate) struct Named {
    name: String,
    value: Value,
}

pub(crate) async fn read(client: &Client, path: &Path) -> Result<Named, String> {
    let name = path.display().to_string();
    let (path, dir) = (path.to_owned(), directory(path));
    let read = client.host.disk(&dir).run(move |fs| fs.read_to_end(&path)).await;
    let read = read.map_err(|_| format!("{name}: the disk is gone"))?;
    let bytes = read.map_err(|e| format!("{name} cannot be read: {e}"))?;
    let value = serde_json::from_slice(&bytes).map_err(|e| format!("{name} is no JSON: {e}"))?;
    Ok(Named { name, value })
}

pub(crate) async fn write(client: &Client, path: &Path, assignment: &Assignment) -> Result<(), String> {
    let name = path.display().to_string();
    let text = format!("{:#}\n", to_json(assignment));
    let (path, dir) = (path.to_owned(), directory(path));
    // Whole or not at all: it may be the only way back.
    let job = move |fs: &host::Fs| fs.atomic_write(&path, text.as_bytes());
    let done = client.host.disk(&dir).run(job).await;
    let done = done.map_err(|_| format!("{name}: the disk is gone"))?;
    done.map_err(|e| format!("{name} cannot be written: {e}"))
}

fn directory(path: &Path) -> std::path::PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => std::path::PathBuf::from("."),
    }
}

fn to_json(assignment: &Assignment) -> Value {
    let partition = |((topic, index), replicas): &(NamedPartition, Vec<i32>)| json!({ "topic": topic.as_str(), "partition": index, "replicas": replicas });
    json!({ "version": 1, "partitions": assignment.iter().map(partition).collect::<Vec<_>>() })
}

/// `{"topics": [{"topic": "t"}]}`
pub(crate) fn topics(file: &Named) -> Result<Vec<String>, String> {
    let topics = list(file, "topics")?;
    topics.iter().map(|entry| text(file, entry, "topic")).collect()
}

/// `{"partitions": [{"topic": "t", "partition": 0}]}`; each once.
pub(crate) fn partitions(file: &Named) -> Result<Vec<NamedPartition>, String> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for entry in list(file, "partitions")? {
        let topic = text(file, entry, "topic")?;
        let index = number(file, entry.get("partition"), "partition")?;
        let key = (Str::from(topic.as_str()), index);
        if !seen.insert(key.clone()) {
            return Err(format!("{}: {topic}-{index} stands there twice", file.name));
        }
        found.push(key);
    }
    Ok(found)
}

/// `{"partitions": [{"topic": "t", "partition": 0, "replicas": [1, 2]}]}`
pub(crate) fn assignment(file: &Named) -> Result<Assignment, String> {
    let keys = partitions(file)?;
    let entries = list(file, "partitions")?;
    let mut found = Assignment::new();
    for (key, entry) in keys.into_iter().zip(entries) {
        let what = format!("{}: {}-{}", file.name, key.0, key.1);
        let replicas = entry.get("replicas").and_then(Value::as_array);
        let replicas = replicas.ok_or_else(|| format!("{what} names no \"replicas\""))?;
        let replicas: Vec<i32> =
            replicas.iter().map(|id| number(file, Some(id), "replicas")).collect::<Result<_, _>>()?;
        let distinct: BTreeSet<&i32> = replicas.iter().collect();
        if replicas.is_empty() || distinct.len() < replicas.len() {
            return Err(format!("{what}: {replicas:?} is no list of different brokers"));
        }
        let dirs = entry.get("log_dirs").and_then(Value::as_array);
        if dirs.is_some_and(|dirs| dirs.iter().any(|dir| dir != "any")) {
            return Err(format!("{what}: log_dirs other than \"any\" are not moved to yet; leave them out"));
        }
        found.push((key, replicas));
    }
    Ok(found)
}

fn list<'a>(file: &'a Named, name: &str) -> Result<&'a Vec<Value>, String> {
    let list = file.value.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    list.ok_or_else(|| format!("{} has no list {name:?} with something in it", file.name))
}

fn text(file: &Named, entry: &Value, name: &str) -> Result<String, String> {
    let text = entry.get(name).and_then(Value::as_str);
    Ok(text.ok_or_else(|| format!("{}: {entry} has no {name:?}", file.name))?.to_owned())
}

fn number(file: &Named, value: Option<&Value>, name: &str) -> Result<i32, String> {
    let number = value.and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).filter(|n| *n >= 0);
    number.ok_or_else(|| {
        let shown = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!("{}: {name:?} wants a number from 0 on, not {shown}", file.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: Value) -> Named {
        Named { name: "plan.json".to_owned(), value }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let plan: Assignment =
            vec![((Str::from_static("t"), 0), vec![3, 1]), ((Str::from_static("u"), 2), vec![2])];
        assert_eq!(assignment(&named(to_json(&plan))), Ok(plan));
    }

    #[test]
    fn kafkas_own_file_is_read() {
        let file = named(json!({ "version": 1, "partitions": [
            { "topic": "t", "partition": 0, "replicas": [1, 2], "log_dirs": ["any", "any"] } ] }));
        assert_eq!(assignment(&file), Ok(vec![((Str::from_static("t"), 0), vec![1, 2])]));
        let file = named(json!({ "topics": [{ "topic": "a" }, { "topic": "b" }], "version": 1 }));
        assert_eq!(topics(&file), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn slips_are_told_with_the_name_of_the_file() {
        let one = |entry: Value| json!({ "partitions": [entry] });
        let slips = [
            (json!({}), "no list \"partitions\""),
            (one(json!({ "partition": 0, "replicas": [1] })), "no \"topic\""),
            (
                one(json!({ "topic": "t", "partition": "0", "replicas": [1] })),
                "a number from 0 on, not \"0\"",
            ),
            (one(json!({ "topic": "t", "partition": 0 })), "names no \"replicas\""),
            (one(json!({ "topic": "t", "partition": 0, "replicas": [] })), "different brokers"),
            (one(json!({ "topic": "t", "partition": 0, "replicas": [1, 1] })), "different brokers"),
            (
                one(json!({ "topic": "t", "partition": 0, "replicas": [1], "log_dirs": ["/data"] })),
                "not moved to yet",
            ),
        ];
        for (value, expected) in slips {
            let said = assignment(&named(value)).expect_err(expected);
            assert!(said.contains("plan.json") && said.contains(expected), "{said}");
        }
        let twice = json!({ "topic": "t", "partition": 0, "replicas": [1] });
        let said = assignment(&named(json!({ "partitions": [twice.clone(), twice] }))).expect_err("twice");
        assert!(said.contains("t-0 stands there twice"), "{said}");
    }
}
