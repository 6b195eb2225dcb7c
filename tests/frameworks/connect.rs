//! Kafka Connect, standalone and distributed: a file through Weir into a file.
//!
//! Connect's producers are not idempotent, so that a batch that was written when the node died may come twice. What is
//! asserted: undisturbed, and after a restart of the worker in order, the output goes on exactly as the input does; after
//! `kill -9` every line has arrived, in order, however often it came.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::process::{Node, free_port, runtimes};

use crate::program::{Program, SETTINGS, WITHIN, eventually, is_long};

/// A file that is read, and the one that it should become.
struct Files {
    dir: tempfile::TempDir,
    lines: usize,
}

impl Files {
    fn new() -> Files {
        Files { dir: tempfile::tempdir().expect("a directory"), lines: 0 }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a UTF-8 path").to_owned()
    }

    /// Adds `count` lines to the input, in one piece.
    fn append(&mut self, count: usize) {
        let text: String = (self.lines..self.lines + count).map(|n| format!("line {n}\n")).collect();
        self.lines += count;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.path("in"));
        file.expect("it can be written").write_all(text.as_bytes()).expect("written");
    }

    fn output(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The output goes on after what was there with the input's lines since `from`, and no others.
    fn await_exactly(&self, before: &[String], from: usize) {
        let right: Vec<String> = (from..self.lines).map(|n| format!("line {n}")).collect();
        let right = [before, &right].concat();
        let is_longer = |output: &Vec<String>| output.len() >= right.len();
        let output = eventually("every line arrives", || self.output(), is_longer);
        assert!(output == right, "{} lines, {} are right: {:?}", output.len(), right.len(), output.last());
    }

    /// Every line has arrived, and each came first after the one before it.
    fn await_all(&self) {
        let right: Vec<String> = (0..self.lines).map(|n| format!("line {n}")).collect();
        let first_times = || {
            let mut seen = HashSet::new();
            self.output().into_iter().filter(|line| seen.insert(line.clone())).collect::<Vec<_>>()
        };
        let output = eventually("every line arrives", first_times, |output| output.len() >= right.len());
        assert!(output == right, "not in order, or not of the input");
    }
}

fn source(files: &Files) -> Value {
    json!({"connector.class": "FileStreamSource", "tasks.max": "1", "topic": "lines", "file": files.path("in")})
}

fn sink(files: &Files) -> Value {
    json!({"connector.class": "FileStreamSink", "tasks.max": "1", "topics": "lines", "file": files.path("out")})
}

/// Writes a file of properties.
fn properties(path: &Path, values: &Value) {
    let lines = values.as_object().expect("names and values").iter();
    let text: String = lines.map(|(name, value)| format!("{name}={}\n", value.as_str().unwrap())).collect();
    std::fs::write(path, text).expect("written");
}

/// A worker: its settings, and where it answers.
struct Worker {
    class: &'static str,
    files: Vec<String>,
    port: u16,
    program: Option<Program>,
}

impl Worker {
    fn new(class: &'static str, dir: &Path, node: &Node, settings: &Value) -> Worker {
        let port = free_port();
        let mut all = json!({
            "bootstrap.servers": node.bootstrap(),
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "offset.flush.interval.ms": "500",
            "listeners": format!("http://127.0.0.1:{port}"),
            "plugin.discovery": "service_load",
        });
        let settings = settings.as_object().expect("names and values").clone();
        all.as_object_mut().expect("names and values").extend(settings);
        let file = dir.join("worker.properties");
        properties(&file, &all);
        Worker { class, files: vec![file.to_str().unwrap().to_owned()], port, program: None }
    }

    fn start(&mut self) {
        let class = format!("org.apache.kafka.connect.cli.{}", self.class);
        let mut args = vec![class.as_str()];
        args.extend(self.files.iter().map(String::as_str));
        self.program = Some(Program::start(&args));
    }

    /// In order.
    fn stop(&mut self) {
        self.program.take().expect("it runs").stop();
    }

    /// kill -9.
    fn kill(&mut self) {
        self.program = None;
    }

    /// Asks its REST interface; None while it does not answer.
    fn rest(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(WITHIN)).ok()?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json");
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    fn get(&self, path: &str) -> Value {
        self.rest("GET", path, &Value::Null).map_or(Value::Null, |(_, answer)| answer)
    }

    /// Waits until a connector and its only task run.
    fn await_running(&self, connector: &str) {
        let status = || self.get(&format!("/connectors/{connector}/status"));
        eventually("the connector runs", status, |status| {
            status["connector"]["state"] == "RUNNING" && status["tasks"][0]["state"] == "RUNNING"
        });
    }
}

/// Lines at a time, and how often the node is killed.
fn sizes() -> (usize, usize) {
    if is_long() { (50_000, 5) } else { (5_000, 1) }
}

#[test]
fn connect_standalone_copies_every_line_over_kill_9() {
    if !runtimes::have("kafka") {
        return;
    }
    let (lines, kills) = sizes();
    let mut node = Node::start(SETTINGS);
    let mut files = Files::new();
    let offsets = json!({"offset.storage.file.filename": files.path("offsets")});
    let mut worker = Worker::new("ConnectStandalone", files.dir.path(), &node, &offsets);
    for (name, mut connector) in [("source", source(&files)), ("sink", sink(&files))] {
        connector["name"] = name.into();
        let file = files.path(&format!("{name}.properties"));
        properties(&PathBuf::from(&file), &connector);
        worker.files.push(file);
    }
    files.append(lines);
    worker.start();
    files.await_exactly(&[], 0);

    worker.stop();
    let (before, from) = (files.output(), files.lines);
    files.append(lines);
    worker.start();
    files.await_exactly(&before, from);

    for _ in 0..kills {
        kill_under_way(&mut node, &mut files, lines);
    }
    worker.stop();
}

#[test]
fn connect_distributed_goes_on_where_it_was() {
    if !runtimes::have("kafka") {
        return;
    }
    let (lines, kills) = sizes();
    let mut node = Node::start(SETTINGS);
    let mut files = Files::new();
    let topics = ["connect-configs", "connect-offsets", "connect-status"];
    let settings = json!({
        "group.id": "workers",
        "config.storage.topic": topics[0], "config.storage.replication.factor": "1",
        "offset.storage.topic": topics[1], "offset.storage.replication.factor": "1", "offset.storage.partitions": "3",
        "status.storage.topic": topics[2], "status.storage.replication.factor": "1", "status.storage.partitions": "2",
    });
    let mut worker = Worker::new("ConnectDistributed", files.dir.path(), &node, &settings);
    worker.start();
    eventually("it is ready", || worker.get("/connectors"), |connectors| *connectors == json!([]));
    files.append(lines);
    for (name, config) in [("source", source(&files)), ("sink", sink(&files))] {
        let created = worker.rest("POST", "/connectors", &json!({"name": name, "config": config}));
        assert!(created.as_ref().is_some_and(|(status, _)| *status == 201), "{created:?}");
        worker.await_running(name);
    }
    files.await_exactly(&[], 0);
    await_positions(&worker, &files);
    for (topic, partitions) in topics.iter().zip([1, 3, 2]) {
        assert_is_compacted(&node, topic, partitions);
    }

    worker.stop();
    let (before, from) = (files.output(), files.lines);
    files.append(lines);
    worker.start();
    files.await_exactly(&before, from);

    for _ in 0..kills {
        kill_under_way(&mut node, &mut files, lines);
    }
    if is_long() {
        files.append(lines);
        worker.kill();
        worker.start();
        files.await_all();
    }
    await_deleted(&worker);
    worker.stop();
}

/// kill -9 while lines are copied.
fn kill_under_way(node: &mut Node, files: &mut Files, lines: usize) {
    let before = files.output().len();
    files.append(lines);
    eventually("lines arrive", || files.output().len(), |now| *now > before);
    node.kill();
    files.append(lines);
    node.launch();
    files.await_all();
}

/// Both connectors have committed that they are at the end.
fn await_positions(worker: &Worker, files: &Files) {
    let at = |connector: &str, field: &str| {
        worker.get(&format!("/connectors/{connector}/offsets"))["offsets"][0]["offset"][field].as_u64()
    };
    let size = std::fs::metadata(files.path("in")).expect("it is there").len();
    eventually("the source is at the end", || at("source", "position"), |at| *at == Some(size));
    let lines = files.lines as u64;
    eventually("the sink is at the end", || at("sink", "kafka_offset"), |at| *at == Some(lines));
}

/// Connect has made this topic, as it wants it.
fn assert_is_compacted(node: &Node, topic: &str, partitions: usize) {
    let described = node.weir(&["topic", "describe", topic, "-o", "json"]);
    let described = String::from_utf8_lossy(&described.stdout).into_owned();
    assert_eq!(described.matches("\"partition\"").count(), partitions, "{described}");
    let configs = node.weir(&["config", "describe", "topic", topic]);
    let configs = String::from_utf8_lossy(&configs.stdout).into_owned();
    assert!(configs.lines().any(|l| l.contains("cleanup.policy") && l.contains("compact")), "{configs}");
}

/// Removes the connectors: they are gone from the worker's list.
fn await_deleted(worker: &Worker) {
    for name in ["source", "sink"] {
        let delete = || worker.rest("DELETE", &format!("/connectors/{name}"), &Value::Null);
        // Refused (409) while the group of workers settles.
        let deleted =
            |answer: &Option<(u16, Value)>| answer.as_ref().is_some_and(|(status, _)| *status == 204);
        eventually("the connector is deleted", delete, deleted);
    }
    eventually("no connector is left", || worker.get("/connectors"), |connectors| *connectors == json!([]));
}
