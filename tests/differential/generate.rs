//! Random but well-formed requests, by seed: stories of requests around one topic and one group, from the schema.
//!
//! A field takes its value by its name from a few that mean something (the story's topic, another, none; -1, 0, 1), so that
//! requests come further than to the first check. What would harm a node or take long is left out by `bounded`.
//! A story is a scenario, so a difference is printed as the line that a scenario needs.

use protocol::schema::{Field, Kind, Message, Struct};
use protocol::value::{self, field_name};
use protocol::{ApiKey, Uuid};
use serde_json::{Map, Value as Json, json};

use crate::scenario::{Action, Scenario, Step, Waits};

/// A topic id that nobody has.
const UNKNOWN_ID: &str = "AAAAAAAAAAAAAAAAAAAABQ";

/// Requests of one story.
const STORY_REQUESTS: usize = 25;

/// Not asked at random: these wait for others, or their answers depend on the time that passed; scenarios ask them.
const LEFT_OUT: &[ApiKey] = &[
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::DescribeQuorum,
    ApiKey::DescribeLogDirs,
    ApiKey::GetTelemetrySubscriptions,
    ApiKey::PushTelemetry,
    // Kafka's process ends at some of these.
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// splitmix64: any seed is as good as another.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// `count` requests in stories; the same seed gives the same.
pub fn stories(seed: u64, count: usize, served: &[ApiKey]) -> Vec<Scenario> {
    let keys: Vec<ApiKey> = served.iter().copied().filter(|key| !LEFT_OUT.contains(key)).collect();
    (0..count.div_ceil(STORY_REQUESTS)).map(|nth| story(seed.wrapping_add(nth as u64), &keys)).collect()
}

fn story(seed: u64, keys: &[ApiKey]) -> Scenario {
    let mut random = Random(seed);
    let step = |line: usize, action: Action| Step {
        line,
        connection: "main".to_owned(),
        action,
        binds: Vec::new(),
        until: Vec::new(),
    };
    let mut steps = vec![step(1, Action::Topic { name: "$t".to_owned(), partitions: 2, configs: json!({}) })];
    let named = Action::Request {
        key: ApiKey::Metadata,
        versions: vec![13],
        body: json!({"topics": [{"name": "$t"}], "allowAutoTopicCreation": false}),
        waits: Waits::Now,
    };
    let mut named = step(2, named);
    named.binds.push(("id".to_owned(), "topics[0].topicId".to_owned()));
    steps.push(named);
    for line in 3..STORY_REQUESTS + 3 {
        let key = random.one_of(keys);
        let versions: Vec<i16> = key.stable_versions().collect();
        let version = random.one_of(&versions);
        let message = value::of_key(key, "request").expect("every key has a request");
        let mut body = Maker { message, version, random: &mut random }.structure(message.root());
        bounded(key, version, &mut body);
        steps.push(step(line, Action::Request { key, versions: vec![version], body, waits: Waits::Now }));
    }
    // No story's name begins another's: what a node has is told by the beginnings of names.
    Scenario { file: "generated".to_owned(), name: format!("{seed}-seed"), version: None, steps }
}

/// A whole story, for a difference that depends on what was asked before.
pub fn text(scenario: &Scenario) -> String {
    let lines = scenario.steps.iter().map(|step| format!("{}: {}\n", step.line, line(scenario, step.line)));
    lines.collect()
}

/// A request as a line of a scenario.
pub fn line(scenario: &Scenario, line: usize) -> String {
    match scenario.steps.iter().find(|step| step.line == line).map(|step| &step.action) {
        Some(Action::Request { key, versions, body, .. }) => format!("{} {} {body}", key.name(), versions[0]),
        _ => String::new(),
    }
}

/// Takes out of a request what would change the node for all who come after, or wait, or that Kafka never answers.
fn bounded(key: ApiKey, version: i16, body: &mut Json) {
    match key {
        // Kafka creates a topic that a Metadata names in its own time: scenarios wait for it. Versions below 4 cannot forbid it.
        ApiKey::Metadata if version >= 4 => body["allowAutoTopicCreation"] = json!(false),
        ApiKey::Metadata => body["topics"] = if version == 0 { json!([]) } else { Json::Null },
        // What Kafka says of its configs are its own words, which Weir does not tell (broker's README, Not yet).
        ApiKey::DescribeConfigs if version >= 3 => body["includeDocumentation"] = json!(false),
        // Kafka never answers records that are null. And of a partition that is named twice, once without a batch, it tells the
        // refusal and may write the other all the same, by the order of a hash table.
        ApiKey::Produce => {
            let topics = || body["topicData"].as_array().into_iter().flatten();
            let is_one =
                topics().map(|t| t["partitionData"].as_array().map_or(0, Vec::len)).sum::<usize>() == 1;
            for topic in items(body, "topicData") {
                let Some(all) = topic.get_mut("partitionData").and_then(Json::as_array_mut) else { continue };
                all.retain(|data| data.get("records").map_or(is_one, |records| !records.is_null()));
            }
        }
        // An operation that it does not know is an exception in its controller, which resigns: what comes next finds none.
        ApiKey::IncrementalAlterConfigs => each(body, "resources", "configs", &mut |config| {
            if config.get("configOperation").is_some_and(|op| !(0..4).contains(&op.as_i64().unwrap_or(9))) {
                config["configOperation"] = json!(3);
            }
        }),
        // Kafka never answers an AlterConfigs with a resource that stands twice: a scenario asks it.
        ApiKey::AlterConfigs => {
            if let Some(resources) = body.get_mut("resources").and_then(Json::as_array_mut) {
                resources.truncate(1);
            }
        }
        // Two partitions of the topic without an id: Kafka compares names that are null, and fails.
        ApiKey::Fetch if version >= 13 => {
            for topic in items(body, "topics") {
                if topic.get("topicId").is_none_or(|id| *id == json!(Uuid::ZERO.to_string())) {
                    topic["topicId"] = json!(UNKNOWN_ID);
                }
            }
        }
        _ => {}
    }
    match key {
        ApiKey::UpdateFeatures => body["featureUpdates"] = json!([]),
        ApiKey::UnregisterBroker => body["brokerId"] = json!(77),
        // An answer to acks=0 never comes.
        ApiKey::Produce if body.get("acks").is_none_or(|acks| *acks == 0) => body["acks"] = json!(1),
        _ => {}
    }
}

/// Does something with each element of a list of lists.
fn each(body: &mut Json, outer: &str, inner: &str, act: &mut dyn FnMut(&mut Json)) {
    for item in items(body, outer) {
        items(item, inner).for_each(&mut *act);
    }
}

/// The elements of a list, of which there are none where it is left out.
fn items<'a>(json: &'a mut Json, name: &str) -> impl Iterator<Item = &'a mut Json> + use<'a> {
    json.get_mut(name).and_then(Json::as_array_mut).into_iter().flatten()
}

struct Maker<'a> {
    message: &'static Message,
    version: i16,
    random: &'a mut Random,
}

impl Maker<'_> {
    fn structure(&mut self, s: &'static Struct) -> Json {
        let mut map = Map::new();
        let version = self.version;
        for f in s.fields.iter().filter(|f| f.versions.contains(version)) {
            let nullable = f.nullable.contains(version);
            let value = match self.random.below(8) {
                0 | 1 if nullable => Json::Null,
                // Left out: the default, which null may not be.
                2 if nullable || !f.defaults_to_null() => continue,
                _ => self.field(f, &f.kind),
            };
            map.insert(field_name(&f.name), value);
        }
        Json::Object(map)
    }

    fn field(&mut self, f: &'static Field, kind: &'static Kind) -> Json {
        match kind {
            Kind::Array(element) => {
                let length = self.random.one_of(&[0, 1, 1, 1, 2]);
                Json::Array((0..length).map(|_| self.field(f, element)).collect())
            }
            Kind::Struct(name) => self.structure(self.message.find(name)),
            Kind::Bool => Json::Bool(self.random.below(2) == 0),
            Kind::String => self.text(f),
            Kind::Uuid => self.random.one_of(&[
                json!("$id"),
                json!("$id"),
                json!(UNKNOWN_ID),
                json!("AAAAAAAAAAAAAAAAAAAAAA"),
            ]),
            Kind::Records => self.records(),
            Kind::Bytes => json!({"@bytes": ["abc"]}),
            Kind::Float64 => json!(1.5),
            _ => self.number(f, kind),
        }
    }

    fn text(&mut self, f: &Field) -> Json {
        let texts: &[&str] = match (f.entity.as_deref(), f.name.as_str()) {
            (Some("topicName"), _) | (_, "TopicName" | "TopicNames") => {
                &["$t", "$t", "$t", "$t-b", "$t-none", "", "a b"]
            }
            (Some("groupId"), _) | (_, "GroupsNames" | "Groups" | "CoordinatorKeys") => {
                &["$g", "$g", "$g-none", ""]
            }
            (_, "Name") if self.message.name.contains("Config") => CONFIGS,
            (_, "ConfigurationKeys") => CONFIGS,
            (_, "Value") => &["1", "1000", "delete", "compact", "", "x"],
            // Topics and groups; "9" is a broker that is not there: this one must stay as it is.
            (_, "ResourceName") => &["$t", "$t", "$t-none", "9", ""],
            (_, "MemberId" | "GroupInstanceId") => &["", "nobody", "m-a"],
            (_, "CommittedMetadata") => &["", "note"],
            _ => &["", "x", "$t"],
        };
        json!(self.random.one_of(texts))
    }

    fn number(&mut self, f: &Field, kind: &Kind) -> Json {
        let numbers: &[i64] = match f.name.as_str() {
            "MaxWaitMs" => &[0, 0, 20],
            "TimeoutMs" | "timeoutMs" => &[5000],
            "TransactionTimeoutMs" => &[60_000, 0],
            "MaxBytes" | "PartitionMaxBytes" => &[1_000_000, 1_000_000, 1, 0],
            "MinBytes" => &[0, 1],
            "BrokerIds" | "Replicas" => &[1, 1, 1, 9],
            "NumPartitions" => &[1, 2, -1, 0],
            "Count" => &[1, 2, 3, 4],
            "ReplicationFactor" => &[1, 1, 1, -1, 2],
            "ReplicaId" => &[-1],
            "ResourceType" => &[2, 2, 2, 16, 32, 99],
            "KeyType" => &[0, 0, 0, 9],
            "Acks" => &[1, -1, -1, 2],
            "Timestamp" => &[-1, -2, -3, -4, 0, 1000],
            "RetentionTimeMs" => &[-1],
            "SessionId" => &[0],
            "SessionEpoch" => &[-1, 0],
            "ResponsePartitionLimit" => &[2000, 1],
            _ => &[-1, 0, 0, 0, 1, 2, 7],
        };
        let number = self.random.one_of(numbers);
        let unsigned = matches!(kind, Kind::Uint16 | Kind::Uint32);
        json!(if unsigned { number.max(0) } else { number })
    }

    fn records(&mut self) -> Json {
        let values = self.random.one_of(&[json!(["a"]), json!(["a", "b", "c"])]);
        let compression = self.random.one_of(&["none", "none", "gzip", "lz4"]);
        let keys = self.random.one_of(&[json!([]), json!(["k", "k", "l"])]);
        let (pid, epoch, seq) = self.random.one_of(&[(-1, -1, -1), (-1, -1, -1), (7000, 0, 0), (7000, 0, 1)]);
        json!({"@batch": [{
            "values": values, "keys": keys, "compression": compression, "time": {"@now": [0]},
            "pid": pid, "epoch": epoch, "seq": seq,
        }]})
    }
}

const CONFIGS: &[&str] =
    &["retention.ms", "cleanup.policy", "max.message.bytes", "interval.ms", "no.such", ""];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::body_bytes;
    use crate::text::{Names, resolve};

    #[test]
    fn a_seed_gives_the_same_well_formed_requests_again() {
        let keys: Vec<ApiKey> = ApiKey::all().filter(|key| key.is_on_broker_listener()).collect();
        let names: Names = [("t", "topic"), ("g", "group"), ("id", "AAAAAAAAAAAAAAAAAAAABw")]
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .into();
        let of =
            |seed| stories(seed, 500, &keys).iter().map(|s| (3..28).map(|n| line(s, n)).collect()).collect();
        let (first, again): (Vec<Vec<String>>, Vec<Vec<String>>) = (of(7), of(7));
        assert_eq!(first, again);
        for scenario in stories(9, 2000, &keys) {
            for step in scenario.steps.iter().skip(1) {
                let Action::Request { key, versions, body, .. } = &step.action else { panic!("a request") };
                let message = value::of_key(*key, "request").unwrap();
                let json = resolve(body, &names).unwrap();
                let read = value::from_json(message, &json, versions[0]);
                let read = read.unwrap_or_else(|e| panic!("{}: {e}", line(&scenario, step.line)));
                body_bytes(message, &read, versions[0]).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
}
