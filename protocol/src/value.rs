//! Messages as dynamic values: the schema table interpreted instead of compiled.
//!
//! The same table serves two readers. The generated codec is fast; this one is general: it prints any message as JSON in
//! the form of Kafka's own converters, reads it back, compares two messages field by field, and makes random ones. Where
//! the two disagree, one of them is wrong; the tests go over every message and version.

mod json;
mod random;
mod read;
mod write;

use std::sync::LazyLock;

use bytes::Bytes;

use crate::schema::{self, Field, Kind, Message};
use crate::{ApiKey, Uuid};

pub use json::{JsonError, base64, field_name, from_json, to_json};
pub use random::{populated, random};
pub use read::decode;
pub use write::encode;

/// A value of any field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// Every integer type; the field says how wide it is.
    Int(i64),
    Float(f64),
    Uuid(Uuid),
    String(String),
    Bytes(Bytes),
    Array(Vec<Value>),
    /// Fields by Kafka's name, in the order of the schema.
    Struct(Vec<(&'static str, Value)>),
}

impl Value {
    /// The field `name` of a struct.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v),
            _ => None,
        }
    }
}

static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| schema::parse(schema::TEXT));

/// Every message of the schema.
pub fn messages() -> &'static [Message] {
    &MESSAGES
}

/// A message by Kafka's name, e.g. `FetchRequest`.
pub fn message(name: &str) -> Option<&'static Message> {
    MESSAGES.iter().find(|m| m.name == name)
}

/// The request (or response) of a key.
pub fn of_key(key: ApiKey, category: &str) -> Option<&'static Message> {
    MESSAGES.iter().find(|m| m.category == category && m.key == Some(key.code()))
}

/// The value that a field has when nothing is said.
pub fn default_of(message: &'static Message, field: &'static Field) -> Value {
    if field.defaults_to_null() && !field.nullable.is_empty() {
        return Value::Null;
    }
    let given = field.default.as_deref();
    match &field.kind {
        Kind::Bool => Value::Bool(given == Some("true")),
        Kind::Float64 => Value::Float(given.map_or(0.0, |d| d.parse().expect("a number"))),
        Kind::Uuid => Value::Uuid(Uuid::ZERO),
        Kind::String => Value::String(given.unwrap_or_default().to_owned()),
        Kind::Bytes | Kind::Records => Value::Bytes(Bytes::new()),
        Kind::Array(_) => Value::Array(Vec::new()),
        Kind::Struct(name) => {
            let fields = &message.find(name).fields;
            Value::Struct(fields.iter().map(|f| (f.name.as_str(), default_of(message, f))).collect())
        }
        _ => Value::Int(given.map_or(0, |d| d.parse().expect("a number"))),
    }
}

/// Where two values differ: the path of the field, and both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// E.g. `Topics[0].Partitions[2].ErrorCode`.
    pub path: String,
    pub left: Value,
    pub right: Value,
}

/// Every field in which two values of one message differ.
pub fn diff(left: &Value, right: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    diff_at("", left, right, &mut found);
    found
}

fn diff_at(path: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    match (left, right) {
        (Value::Struct(a), Value::Struct(b)) if a.iter().map(|f| f.0).eq(b.iter().map(|f| f.0)) => {
            for ((name, a), (_, b)) in a.iter().zip(b) {
                let path = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
                diff_at(&path, a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                diff_at(&format!("{path}[{i}]"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(Difference { path: path.to_owned(), left: a.clone(), right: b.clone() }),
    }
}

#[cfg(test)]
mod tests;
