//! Plays scenarios against one node and writes down what it answers.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::header::{RequestHeader, decode_response_header};
use protocol::schema::{Kind, Message, Struct};
use protocol::value::{self, Value};
use protocol::{ApiKey, Decoder, Encoder, Str};
use serde_json::{Value as Json, json};
use tests::process::Server;

use crate::files;
use crate::mask::{self, Ids};
use crate::scenario::{Action, Process, Scenario, Step, Waits};
use crate::text::{Names, resolve};

/// A node takes this long at most for any answer of a scenario.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// `until` asks this often for this long.
const UNTIL_EVERY: Duration = Duration::from_millis(30);
const UNTIL_WITHIN: Duration = Duration::from_secs(15);

/// Where a node listens.
#[derive(Clone, Copy)]
pub struct Ports {
    pub broker: u16,
    pub controller: u16,
}

/// What is played against: one node, or several.
#[derive(Clone)]
pub struct Side {
    pub name: &'static str,
    /// Of node 1, 2, ...
    pub ports: Vec<Ports>,
    /// The only log directory of the first node.
    pub data: PathBuf,
    pub nodes: Arc<Mutex<Vec<Box<dyn Server>>>>,
    /// Changes what it answers, by request and version: a test of the suite itself.
    pub lie: Option<fn(&str, &mut Json)>,
}

/// The connection to the listener of the active controller.
const ACTIVE_CONTROLLER: &str = "controller";

/// Begins the outcome of a request that cannot be written: a name that it needs was bound to nothing.
pub const NOT_SENT: &str = "not sent: ";

/// What a step brought, masked.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub line: usize,
    /// E.g. `Fetch 17`.
    pub what: String,
    /// The answer; or the text `closed`, `silent`, [`NOT_SENT`].
    pub answer: Json,
}

/// Plays one scenario to its end.
pub fn play(side: &Side, scenario: &Scenario) -> Vec<Outcome> {
    let mut player = Player::new(side, scenario);
    for step in &scenario.steps {
        player.step(step);
    }
    player.outcomes
}

struct Player<'a> {
    side: &'a Side,
    scenario: &'a Scenario,
    names: Names,
    ids: Ids,
    connections: BTreeMap<String, Connection>,
    outcomes: Vec<Outcome>,
}

impl Player<'_> {
    fn new<'a>(side: &'a Side, scenario: &'a Scenario) -> Player<'a> {
        let name = Json::from(scenario.name.as_str());
        let mut names: Names = [("t".to_owned(), name.clone()), ("g".to_owned(), name)].into();
        if let Some(version) = scenario.version {
            names.insert("v".to_owned(), Json::from(version));
        }
        Player {
            side,
            scenario,
            names,
            ids: Ids::of(side.ports.len()),
            connections: BTreeMap::new(),
            outcomes: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match &step.action {
            Action::Request { key, versions, body, waits } => {
                let looped = self.scenario.version.map(|v| {
                    let all = key.stable_versions();
                    v.clamp(*all.start(), *all.end())
                });
                let versions =
                    if versions.is_empty() { looped.into_iter().collect() } else { versions.clone() };
                for version in &versions {
                    self.names.insert("v".to_owned(), Json::from(self.scenario.version.unwrap_or(*version)));
                    let prune = versions.len() > 1 || self.scenario.version.is_some();
                    self.request(step, *key, *version, body, *waits, prune);
                }
            }
            Action::Answer => {
                let connection = self.connection(&step.connection);
                let asked = connection.asked.front().map(|a| (a.key, a.version));
                let answer = connection.answer();
                let (key, version) = asked.unwrap_or((ApiKey::ApiVersions, 0));
                self.take(step, key, version, &answer);
            }
            Action::Raw { bytes, key, version } => {
                let connection = self.connection(&step.connection);
                connection.send_raw(bytes, *key, *version);
                let answer = connection.answer();
                self.take(step, *key, *version, &answer);
            }
            Action::Process { what, id } => self.process(*what, *id),
            Action::Close => drop(self.connections.remove(&step.connection)),
            Action::Topic { name, partitions, configs } => self.topic(step, name, *partitions, configs),
            Action::Files { partition } => {
                let partition = resolve(&Json::from(partition.as_str()), &self.names);
                let partition = partition.expect("a name of this scenario");
                let seen =
                    files::partition(&self.side.data, partition.as_str().expect("text"), &mut self.ids);
                self.note(step.line, "files".to_owned(), seen);
            }
        }
    }

    fn request(&mut self, step: &Step, key: ApiKey, version: i16, body: &Json, waits: Waits, prune: bool) {
        let deadline = Instant::now() + UNTIL_WITHIN;
        loop {
            let frame = match self.encoded(key, version, body, prune) {
                Ok(frame) => frame,
                Err(why) => {
                    let why = Json::String(format!("{NOT_SENT}{why}"));
                    return self.note(step.line, format!("{} {version}", key.name()), why);
                }
            };
            let connection = self.connection(&step.connection);
            connection.send(frame, key, version, waits);
            if waits != Waits::Now {
                return;
            }
            let answer = connection.answer();
            let json = answer.json(key, version);
            let done = step.until.iter().all(|(path, wanted)| {
                let wanted = resolve(wanted, &self.names).expect("a value to wait for");
                json.as_ref().and_then(|json| at(json, path)).is_some_and(|is| is_same(is, &wanted))
            });
            if done || Instant::now() > deadline {
                self.take(step, key, version, &answer);
                return;
            }
            std::thread::sleep(UNTIL_EVERY);
        }
    }

    fn encoded(&mut self, key: ApiKey, version: i16, body: &Json, prune: bool) -> Result<Vec<u8>, String> {
        let message = value::of_key(key, "request").expect("every key has a request");
        let mut json = resolve(body, &self.names)?;
        if prune {
            leave_out(message, message.root(), &mut json, version);
        }
        let value = value::from_json(message, &json, version).map_err(|e| e.to_string())?;
        body_bytes(message, &value, version)
    }

    /// Notes an answer and binds what the step names in it.
    fn take(&mut self, step: &Step, key: ApiKey, version: i16, answer: &Answer) {
        let json = answer.json(key, version);
        for (name, path) in &step.binds {
            let part = json.as_ref().and_then(|json| at(json, path)).cloned();
            // A node that answers otherwise fails the comparison; its later requests then say null.
            self.names.insert(name.clone(), part.unwrap_or(Json::from("unbound")));
        }
        let masked = answer.masked(key, version, &mut self.ids, &self.scenario.name);
        self.note(step.line, format!("{} {version}", key.name()), masked);
    }

    fn note(&mut self, line: usize, what: String, mut answer: Json) {
        if let Some(lie) = self.side.lie {
            lie(&what, &mut answer);
        }
        self.outcomes.push(Outcome { line, what, answer });
    }

    fn topic(&mut self, step: &Step, name: &str, partitions: i64, configs: &Json) {
        let name = resolve(&Json::from(name), &self.names).expect("a name of this scenario");
        let configs = resolve(configs, &self.names).expect("names of this scenario");
        let configs: Vec<Json> = (configs.as_object().into_iter().flatten())
            .map(
                |(k, v)| json!({"name": k, "value": v.as_str().map_or_else(|| v.to_string(), str::to_owned)}),
            )
            .collect();
        let topic =
            json!({"name": name, "numPartitions": partitions, "replicationFactor": 1, "configs": configs});
        let created = self.ask(ApiKey::CreateTopics, 7, &json!({"topics": [topic], "timeoutMs": 10000}));
        let error = created.as_ref().and_then(|json| at(json, "topics[0].errorCode")).cloned();
        self.note(step.line, "topic".to_owned(), error.unwrap_or(Json::from("no answer")));
        let partitions: Vec<Json> =
            (0..partitions).map(|p| json!({"partitionIndex": p, "timestamp": -1})).collect();
        let topics = json!([{"name": name, "partitions": partitions}]);
        let deadline = Instant::now() + UNTIL_WITHIN;
        while Instant::now() < deadline {
            let offsets = self.ask(ApiKey::ListOffsets, 7, &json!({"replicaId": -1, "topics": topics}));
            let all =
                offsets.as_ref().and_then(|json| at(json, "topics[0].partitions")).and_then(Json::as_array);
            if all.is_some_and(|all| all.iter().all(|p| p["errorCode"] == 0)) {
                return;
            }
            std::thread::sleep(UNTIL_EVERY);
        }
    }

    /// A request of the player's own, on a connection of its own.
    fn ask(&mut self, key: ApiKey, version: i16, body: &Json) -> Option<Json> {
        let frame =
            self.encoded(key, version, body, false).expect("the player's own requests are well-formed");
        let connection = self.connection("player");
        connection.send(frame, key, version, Waits::Now);
        connection.answer().json(key, version)
    }

    fn process(&mut self, what: Process, id: usize) {
        let mut nodes = self.side.nodes.lock().expect("nobody else plays against it");
        let node = &mut nodes[id - 1];
        match what {
            Process::Stop => node.stop(),
            Process::Kill => node.kill(),
            Process::Start => node.start(),
        }
        drop(nodes);
        self.connections.retain(|name, _| node_of(name) != Some(id));
    }

    /// Where a connection of this name goes: see the text of scenarios.
    fn port(&mut self, connection: &str) -> u16 {
        if connection == ACTIVE_CONTROLLER {
            let metadata = json!({"topicName": "__cluster_metadata", "partitions": [{"partitionIndex": 0}]});
            let request = json!({"topics": [metadata]});
            let deadline = Instant::now() + UNTIL_WITHIN;
            loop {
                let quorum = self.ask(ApiKey::DescribeQuorum, 0, &request);
                let leader = quorum.as_ref().and_then(|json| at(json, "topics[0].partitions[0].leaderId"));
                if let Some(leader) = leader.and_then(Json::as_u64).filter(|leader| *leader > 0) {
                    return self.side.ports[leader as usize - 1].controller;
                }
                assert!(Instant::now() < deadline, "the quorum has no leader");
                std::thread::sleep(UNTIL_EVERY);
            }
        }
        self.side.ports[node_of(connection).unwrap_or(1) - 1].broker
    }

    fn connection(&mut self, name: &str) -> &mut Connection {
        let is_open = self.connections.get(name).is_some_and(|c| !c.closed || !c.asked.is_empty());
        let port = if is_open { 0 } else { self.port(name) };
        let connection =
            self.connections.entry(name.to_owned()).or_insert_with(|| Connection::open(name, port));
        if connection.closed && connection.asked.is_empty() {
            *connection = Connection::open(name, port);
        }
        connection
    }
}

/// The node that a connection goes to by its name.
fn node_of(connection: &str) -> Option<usize> {
    connection.chars().next()?.to_digit(10).map(|id| id as usize)
}

/// Whether a value is the one that is waited for; of a list of nodes the order does not count.
fn is_same(value: &Json, wanted: &Json) -> bool {
    let numbers = |json: &Json| -> Option<Vec<i64>> {
        let mut numbers = json.as_array()?.iter().map(Json::as_i64).collect::<Option<Vec<i64>>>()?;
        numbers.sort_unstable();
        Some(numbers)
    };
    value == wanted || numbers(value).is_some() && numbers(value) == numbers(wanted)
}

/// Writes the body of a request.
pub fn body_bytes(message: &'static Message, value: &Value, version: i16) -> Result<Vec<u8>, String> {
    let mut out = Encoder::new();
    value::encode(message, value, &mut out, version).map_err(|e| e.to_string())?;
    Ok(out.into_bytes().expect("in memory").to_vec())
}

/// Takes out the fields that a version lacks.
fn leave_out(message: &'static Message, s: &'static Struct, json: &mut Json, version: i16) {
    let Json::Object(map) = json else { return };
    for f in &s.fields {
        let name = value::field_name(&f.name);
        let is_null = map.get(&name) == Some(&Json::Null);
        if !f.versions.contains(version) || is_null && !f.nullable.contains(version) {
            map.remove(&name);
        } else if let (Some(inner), Some(field)) = (inner_struct(&f.kind), map.get_mut(&name)) {
            let inner = message.find(inner);
            match field {
                Json::Array(items) => {
                    items.iter_mut().for_each(|item| leave_out(message, inner, item, version))
                }
                one => leave_out(message, inner, one, version),
            }
        }
    }
}

/// The struct that a field holds, one or many.
fn inner_struct(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::Struct(name) => Some(name),
        Kind::Array(element) => inner_struct(element),
        _ => None,
    }
}

/// The part of an answer at `topics[0].errorCode`.
pub fn at<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    let pointer: String =
        path.split(['.', '[', ']']).filter(|p| !p.is_empty()).map(|p| format!("/{p}")).collect();
    json.pointer(&pointer)
}

/// What came back for a request.
pub enum Answer {
    /// The body behind the response header.
    Body(Bytes),
    Not(String),
}

impl Answer {
    fn value(&self, key: ApiKey, version: i16) -> Result<(&'static Message, Value, i16), String> {
        let body = match self {
            Answer::Body(body) => body,
            Answer::Not(why) => return Err(why.clone()),
        };
        let message = value::of_key(key, "response").expect("every key has a response");
        let mut input = Decoder::new(body.clone());
        let read = value::decode(message, &mut input, version).and_then(|v| input.finish().map(|()| v));
        match read {
            Ok(value) => Ok((message, value, version)),
            // An unknown version of ApiVersions is answered in version 0.
            Err(_) if key == ApiKey::ApiVersions && version != 0 => {
                self.value(key, 0).map_err(|_| format!("not readable: {}", value::base64(body)))
            }
            Err(error) => Err(format!("not readable ({error}): {}", value::base64(body))),
        }
    }

    pub fn json(&self, key: ApiKey, version: i16) -> Option<Json> {
        let (message, value, version) = self.value(key, version).ok()?;
        Some(value::to_json(message, &value, version))
    }

    pub fn masked(&self, key: ApiKey, version: i16, ids: &mut Ids, own: &str) -> Json {
        match self.value(key, version) {
            Ok((message, value, version)) => mask::answer(message, &value, version, ids, own),
            Err(why) => Json::String(why),
        }
    }
}

struct Asked {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

/// A connection; answers are taken in the order of the requests.
pub struct Connection {
    stream: TcpStream,
    client_id: String,
    next_id: i32,
    asked: VecDeque<Asked>,
    closed: bool,
}

impl Connection {
    pub fn open(client_id: &str, port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
        stream.set_nodelay(true).expect("an option of TCP");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a time-out can be set");
        Connection {
            stream,
            client_id: client_id.to_owned(),
            next_id: 0,
            asked: VecDeque::new(),
            closed: false,
        }
    }

    pub fn send(&mut self, body: Vec<u8>, key: ApiKey, version: i16, waits: Waits) {
        self.next_id += 1;
        let client_id = Some(Str::from(self.client_id.as_str()));
        let header = RequestHeader { key, version, correlation_id: self.next_id, client_id };
        let mut out = Encoder::new();
        header.encode(&mut out).expect("a header has nothing that could be refused");
        let mut frame = out.into_bytes().expect("in memory").to_vec();
        frame.extend_from_slice(&body);
        if waits != Waits::Never {
            self.asked.push_back(Asked { key, version, correlation_id: self.next_id });
        }
        self.write(&frame);
    }

    /// A frame as it is. An answer that can be read bears the id at its bytes 4 to 8.
    fn send_raw(&mut self, frame: &[u8], key: ApiKey, version: i16) {
        let correlation_id =
            frame.get(4..8).map_or(0, |b| i32::from_be_bytes(b.try_into().expect("four bytes")));
        self.asked.push_back(Asked { key, version, correlation_id });
        self.write(frame);
    }

    fn write(&mut self, frame: &[u8]) {
        let mut all = (frame.len() as u32).to_be_bytes().to_vec();
        all.extend_from_slice(frame);
        // A peer that has closed is seen by the read.
        self.closed |= self.stream.write_all(&all).is_err();
    }

    /// The answer to the oldest request that has none.
    pub fn answer(&mut self) -> Answer {
        let Some(asked) = self.asked.pop_front() else { return Answer::Not("nothing was asked".to_owned()) };
        match self.read_frame() {
            Ok(frame) => {
                let mut input = Decoder::new(frame);
                match decode_response_header(&mut input, asked.key, asked.version) {
                    Ok(id) if id == asked.correlation_id => Answer::Body(input.into_rest()),
                    Ok(id) => {
                        Answer::Not(format!("answered another request: {id}, not {}", asked.correlation_id))
                    }
                    Err(error) => Answer::Not(format!("the header is not readable: {error}")),
                }
            }
            Err(error) => {
                self.closed = true;
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                Answer::Not(if silent { "silent" } else { "closed" }.to_owned())
            }
        }
    }

    fn read_frame(&mut self) -> std::io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }
}
