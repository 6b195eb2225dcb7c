//! What an answer says apart from what differs between any two runs: the one place where anything is left out.
//!
//! Ids keep their identity: the first topic id that a scenario shows is `uuid#1`, and wherever it shows again it is `uuid#1`
//! again, so that a wrong id is still a difference. Times within an hour of now are `now`; what says how a machine is set
//! up (hosts, directories, free bytes) is named; throttle times are left out. Everything else is compared as it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::batch::{self, Batch, Record};
use protocol::schema::{Field, Kind, Message, Struct};
use protocol::value::{self, Value, default_of};
use serde_json::{Map, Value as Json, json};

use crate::text::now_ms;

/// Fields with an id that a broker makes up, and what its kind is called.
const IDS: &[(&str, &str)] = &[
    ("MemberId", "member"),
    ("Leader", "member"),
    ("ProducerId", "producer"),
    ("ClusterId", "cluster"),
    ("BrokerEpoch", "broker-epoch"),
    ("ClientInstanceId", "instance"),
    ("SessionId", "session"),
];

/// Fields that tell of the machine or of the moment: by message (or `*`) and name.
const VOLATILE: &[(&str, &str)] = &[
    ("*", "ThrottleTimeMs"),
    ("*", "FinalizedFeaturesEpoch"),
    ("*", "Host"),
    ("*", "ClientHost"),
    ("*", "LogDir"),
    // Kafka mixes the client's instance id into it, which is new each time.
    ("*", "SubscriptionId"),
    ("*", "TotalBytes"),
    ("*", "UsableBytes"),
    ("*", "LastCaughtUpTimestamp"),
    ("*", "LastFetchTimestamp"),
    ("AllocateProducerIdsResponse", "ProducerIdStart"),
    ("DescribeQuorumResponse", "LogEndOffset"),
    ("DescribeQuorumResponse", "HighWatermark"),
    ("DescribeQuorumResponse", "LeaderEpoch"),
    ("FindCoordinatorResponse", "Port"),
    ("MetadataResponse", "Port"),
    ("DescribeClusterResponse", "Port"),
    ("DescribeQuorumResponse", "Port"),
    ("NodeEndpoints", "Port"),
    ("ProduceResponse", "Port"),
    ("FetchResponse", "Port"),
];

/// Fields with the id of a node that was chosen by chance, where there are several; those of none (-1, 0) are compared.
const CHOSEN: &[(&str, &str)] = &[
    ("MetadataResponse", "ControllerId"),
    ("DescribeClusterResponse", "ControllerId"),
    ("DescribeQuorumResponse", "LeaderId"),
];

/// Arrays whose order Kafka takes from a hash table, so that clients cannot rely on it.
const UNORDERED: &[&str] = &[
    "Groups",
    "Members",
    "Configs",
    "Topics",
    "ApiKeys",
    "SupportedFeatures",
    "FinalizedFeatures",
    "ConfigResources",
    "Synonyms",
    "TopicPartitions",
    "ActiveProducers",
    "Responses",
    "Results",
    "Partitions",
    "PartitionResponses",
    "ReplicaElectionResults",
    "Brokers",
    "IsrNodes",
];

/// Configs that say where a node is.
const PLACES: &[&str] = &[
    "advertised.listeners",
    "listeners",
    "log.dirs",
    "log.dir",
    "controller.quorum.voters",
    "controller.quorum.bootstrap.servers",
    "weir.http.address",
];

/// The ids of one scenario on one side, in the order in which they were seen.
#[derive(Default)]
pub struct Ids {
    /// The side has several nodes.
    of_several: bool,
    seen: BTreeMap<&'static str, Vec<Json>>,
}

impl Ids {
    /// Of a side of so many nodes.
    pub fn of(nodes: usize) -> Ids {
        Ids { of_several: nodes > 1, ..Ids::default() }
    }

    fn name(&mut self, kind: &'static str, id: Json) -> Json {
        let seen = self.seen.entry(kind).or_default();
        let at = seen.iter().position(|known| *known == id).unwrap_or_else(|| {
            seen.push(id);
            seen.len() - 1
        });
        Json::String(format!("{kind}#{}", at + 1))
    }
}

/// An answer without what is volatile. `own` begins the names of the scenario's topics and groups: a list of everything
/// that a node has is cut down to those.
pub fn answer(message: &'static Message, value: &Value, version: i16, ids: &mut Ids, own: &str) -> Json {
    Mask { message, version, ids, own }.structure(message.root(), value)
}

struct Mask<'a> {
    message: &'static Message,
    version: i16,
    ids: &'a mut Ids,
    own: &'a str,
}

impl Mask<'_> {
    fn structure(&mut self, s: &'static Struct, value: &Value) -> Json {
        let Value::Struct(values) = value else { return Json::Null };
        let mut map = Map::new();
        for (f, (_, value)) in s.fields.iter().zip(values) {
            let untold = f.is_tagged(self.version) && *value == default_of(self.message, f);
            if f.versions.contains(self.version) && !untold {
                map.insert(value::field_name(&f.name), self.field(s, f, value));
            }
        }
        hide_places(&mut map);
        Json::Object(map)
    }

    fn field(&mut self, s: &'static Struct, f: &'static Field, value: &Value) -> Json {
        let name = f.name.as_str();
        let is_among = |list: &[(&str, &str)]| {
            list.iter().any(|(m, n)| *n == name && (*m == "*" || *m == self.message.name || *m == s.name))
        };
        if is_among(VOLATILE)
            || self.ids.of_several && is_among(CHOSEN) && matches!(value, Value::Int(id) if *id > 0)
        {
            return Json::from("~");
        }
        let id = IDS.iter().find(|(field, _)| *field == name).map(|(_, kind)| *kind);
        match (id, value) {
            (Some(kind), Value::String(id)) if !id.is_empty() => {
                return self.ids.name(kind, Json::from(id.as_str()));
            }
            (Some(kind), Value::Int(id)) if *id > 0 => return self.ids.name(kind, Json::from(*id)),
            _ => {}
        }
        match (name, value) {
            // The words are each broker's own; whether there are any is not.
            (name, Value::String(text)) if name.ends_with("ErrorMessage") && !text.is_empty() => {
                Json::from("~")
            }
            (_, Value::Int(time)) if is_time(name) => masked_time(*time),
            (_, Value::Array(items)) => self.array(name, &f.kind, items),
            (_, value) => self.value(&f.kind, value),
        }
    }

    fn array(&mut self, name: &str, kind: &'static Kind, items: &[Value]) -> Json {
        let Kind::Array(element) = kind else { return Json::Null };
        let mut items: Vec<&Value> = items.iter().filter(|item| self.is_own(name, item)).collect();
        if UNORDERED.contains(&name) {
            items.sort_by_cached_key(|item| sort_key(item));
        }
        Json::Array(items.into_iter().map(|item| self.value(element, item)).collect())
    }

    /// Whether an element of a list of everything belongs to the scenario.
    fn is_own(&self, array: &str, item: &Value) -> bool {
        let lists_all = [
            ("MetadataResponse", "Topics", "Name"),
            ("DescribeTopicPartitionsResponse", "Topics", "Name"),
            ("ListGroupsResponse", "Groups", "GroupId"),
            ("DescribeLogDirsResponse", "Topics", "Name"),
            ("ListConfigResourcesResponse", "ConfigResources", "ResourceName"),
            ("ListTransactionsResponse", "TransactionStates", "TransactionalId"),
            ("ListPartitionReassignmentsResponse", "Topics", "Name"),
            ("ElectLeadersResponse", "ReplicaElectionResults", "Topic"),
        ];
        let field =
            lists_all.iter().find(|(m, a, _)| *m == self.message.name && *a == array).map(|(_, _, f)| *f);
        match field.and_then(|f| item.field(f)) {
            // An error is told of what was asked for by name.
            _ if item.field("ErrorCode").is_some_and(|code| *code != Value::Int(0)) => true,
            Some(Value::String(name)) => self.own.split(' ').any(|own| name.starts_with(own)),
            _ => true,
        }
    }

    fn value(&mut self, kind: &'static Kind, value: &Value) -> Json {
        match (kind, value) {
            (_, Value::Null) => Json::Null,
            (_, Value::Bool(v)) => Json::Bool(*v),
            (_, Value::Int(v)) => Json::from(*v),
            (_, Value::Float(v)) => json!(v),
            (_, Value::Uuid(id)) if id.0 == 0 => Json::from("uuid#0"),
            (_, Value::Uuid(id)) => self.ids.name("uuid", Json::from(id.to_string())),
            (_, Value::String(v)) => Json::String(v.clone()),
            (Kind::Records, Value::Bytes(v)) => records(v, self.ids),
            (_, Value::Bytes(v)) => printable(v),
            (Kind::Array(element), Value::Array(items)) => {
                Json::Array(items.iter().map(|item| self.value(element, item)).collect())
            }
            (Kind::Struct(name), value) => self.structure(self.message.find(name), value),
            (kind, value) => panic!("{value:?} is no {kind:?}"),
        }
    }
}

fn is_time(name: &str) -> bool {
    ["Timestamp", "TimestampMs", "TimeMs"].iter().any(|end| name.ends_with(end))
}

fn masked_time(time: i64) -> Json {
    if (time - now_ms()).abs() < 3_600_000 { Json::from("now") } else { Json::from(time) }
}

/// Names sort by themselves; what a broker made up must not decide the order.
fn sort_key(item: &Value) -> String {
    let Value::Struct(fields) = item else { return format!("{item:?}") };
    let made_up = |(name, value): &&(&str, Value)| {
        !(IDS.iter().any(|(id, _)| id == name) || matches!(value, Value::Uuid(_)))
    };
    let key = fields.iter().filter(made_up).map(|(_, value)| match value {
        Value::Int(n) => format!("{:020}", i128::from(*n) + i128::from(i64::MAX)),
        other => format!("{other:?}"),
    });
    key.collect::<Vec<_>>().join("/")
}

/// A config that says where a node is has a value, but not one to compare.
fn hide_places(map: &mut Map<String, Json>) {
    let is_place = map.get("name").and_then(Json::as_str).is_some_and(|name| PLACES.contains(&name));
    if is_place && let Some(value) = map.get_mut("value").filter(|v| v.is_string()) {
        *value = Json::from("~");
    }
}

/// Text as it is, other bytes as base64.
pub fn printable(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Json::from(text),
        _ => Json::String(format!("base64:{}", value::base64(bytes))),
    }
}

/// Batches with their records; bytes after the last whole batch by number.
pub fn records(bytes: &Bytes, ids: &mut Ids) -> Json {
    let mut all = Vec::new();
    let mut batches = batch::batches(bytes.clone());
    for read in batches.by_ref() {
        match read {
            Ok(batch) => all.push(one_batch(&batch, ids)),
            Err(error) => {
                all.push(Json::String(format!("no batch: {error}")));
                break;
            }
        }
    }
    if !batches.rest().is_empty() {
        all.push(Json::String(format!("and {} bytes", batches.rest().len())));
    }
    Json::Array(all)
}

fn one_batch(batch: &Batch, ids: &mut Ids) -> Json {
    const RECORD_BYTES_MAX: usize = 64 << 20;
    let h = &batch.header;
    let producer =
        if h.producer_id.0 >= 0 { ids.name("producer", Json::from(h.producer_id.0)) } else { json!(-1) };
    let records = match batch.records(RECORD_BYTES_MAX) {
        Ok(records) => {
            records.map(|r| r.map_or_else(|e| Json::from(e.to_string()), |r| one_record(&r))).collect()
        }
        Err(error) => json!(error.to_string()),
    };
    json!({
        "offset": h.base_offset.0, "epoch": h.leader_epoch.0, "attributes": h.attributes.0,
        "lastDelta": h.last_offset_delta, "maxTime": masked_time(h.max_timestamp), "producer": producer,
        "producerEpoch": h.producer_epoch, "sequence": h.base_sequence, "crc": batch.check_crc().is_ok(),
        "records": records,
    })
}

fn one_record(record: &Record) -> Json {
    let text = |bytes: &Option<Bytes>| bytes.as_ref().map_or(Json::Null, |b| shortened(printable(b)));
    let headers: Vec<Json> =
        record.headers.iter().map(|h| json!([printable(&h.key), text(&h.value)])).collect();
    json!([record.offset.0, masked_time(record.timestamp), text(&record.key), text(&record.value), headers])
}

/// Long values by their length.
fn shortened(value: Json) -> Json {
    match value.as_str() {
        Some(text) if text.len() > 200 => Json::String(format!("{} characters", text.len())),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_identity_and_times_their_distance() {
        let message = value::message("ListOffsetsResponse").unwrap();
        let json = json!({"topics": [{"name": "t", "partitions": [{"partitionIndex": 3, "timestamp": now_ms() - 5, "offset": 9}]}]});
        let read = value::from_json(message, &json, 7).unwrap();
        let masked = answer(message, &read, 7, &mut Ids::default(), "t");
        assert_eq!(masked["throttleTimeMs"], "~");
        assert_eq!(masked["topics"][0]["partitions"][0]["timestamp"], "now");
        assert_eq!(masked["topics"][0]["partitions"][0]["offset"], 9);
        let mut ids = Ids::default();
        let named: Vec<Json> = [5, 7, 5].map(|id| ids.name("producer", json!(id))).to_vec();
        assert_eq!(named, ["producer#1", "producer#2", "producer#1"]);
    }
}
