//! Messages as JSON, in the form of Kafka's generated `JsonConverter` classes.
//!
//! Field names begin with a small letter; bytes are base64; ids are Kafka's 22 characters; a field that the version lacks is
//! left out, and so is a tagged field that has its default. Records are base64 here, where Kafka writes only their size.

use bytes::Bytes;
use serde_json::{Map, Number, Value as Json};

use super::{Value, default_of};
use crate::schema::{Field, Kind, Message, Struct};

/// Why JSON is not this message: the path of the field and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct JsonError {
    pub path: String,
    pub reason: String,
}

/// Kafka's JSON name of a field.
pub fn field_name(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

/// Writes a message as JSON.
pub fn to_json(message: &'static Message, value: &Value, version: i16) -> Json {
    struct_to_json(message, message.root(), value, version)
}

fn struct_to_json(m: &'static Message, s: &'static Struct, value: &Value, version: i16) -> Json {
    let Value::Struct(values) = value else { return Json::Null };
    let mut map = Map::new();
    for (f, (_, value)) in s.fields.iter().zip(values) {
        let untold = f.is_tagged(version) && *value == default_of(m, f);
        if f.versions.contains(version) && !untold {
            map.insert(field_name(&f.name), value_to_json(m, &f.kind, value, version));
        }
    }
    Json::Object(map)
}

fn value_to_json(m: &'static Message, kind: &'static Kind, value: &Value, version: i16) -> Json {
    match (kind, value) {
        (_, Value::Null) => Json::Null,
        (_, Value::Bool(v)) => Json::Bool(*v),
        (_, Value::Int(v)) => Json::from(*v),
        (_, Value::Float(v)) => Number::from_f64(*v).map_or(Json::Null, Json::Number),
        (_, Value::Uuid(v)) => Json::String(v.to_string()),
        (_, Value::String(v)) => Json::String(v.clone()),
        (_, Value::Bytes(v)) => Json::String(base64(v)),
        (Kind::Array(element), Value::Array(items)) => {
            Json::Array(items.iter().map(|item| value_to_json(m, element, item, version)).collect())
        }
        (Kind::Struct(name), value) => struct_to_json(m, m.find(name), value, version),
        (kind, value) => panic!("{value:?} is no {kind:?}"),
    }
}

/// Reads what `to_json` and Kafka's converters write. Fields that are left out have their defaults.
pub fn from_json(message: &'static Message, json: &Json, version: i16) -> Result<Value, JsonError> {
    struct_from_json(message, message.root(), json, version, &message.name)
}

fn struct_from_json(
    m: &'static Message,
    s: &'static Struct,
    json: &Json,
    version: i16,
    path: &str,
) -> Result<Value, JsonError> {
    let Some(map) = json.as_object() else { return Err(wrong(path, "an object is expected")) };
    let mut fields = Vec::with_capacity(s.fields.len());
    for f in &s.fields {
        let path = format!("{path}.{}", f.name);
        let value = match map.get(&field_name(&f.name)) {
            Some(json) => field_from_json(m, f, json, version, &path)?,
            None => default_of(m, f),
        };
        fields.push((f.name.as_str(), value));
    }
    let known = |name: &String| s.fields.iter().any(|f| field_name(&f.name) == *name);
    match map.keys().find(|name| !known(name)) {
        Some(name) => Err(wrong(path, &format!("there is no field {name}"))),
        None => Ok(Value::Struct(fields)),
    }
}

fn field_from_json(
    m: &'static Message,
    f: &'static Field,
    json: &Json,
    version: i16,
    path: &str,
) -> Result<Value, JsonError> {
    if json.is_null() {
        let allowed = f.nullable.contains(version);
        return if allowed { Ok(Value::Null) } else { Err(wrong(path, "null is not allowed here")) };
    }
    value_from_json(m, &f.kind, json, version, path)
}

fn value_from_json(
    m: &'static Message,
    kind: &'static Kind,
    json: &Json,
    version: i16,
    path: &str,
) -> Result<Value, JsonError> {
    let int = |min: i64, max: i64| match json.as_i64() {
        Some(v) if (min..=max).contains(&v) => Ok(Value::Int(v)),
        _ => Err(wrong(path, &format!("a whole number from {min} to {max} is expected"))),
    };
    let text = || json.as_str().ok_or_else(|| wrong(path, "a string is expected"));
    match kind {
        Kind::Bool => json.as_bool().map(Value::Bool).ok_or_else(|| wrong(path, "true or false is expected")),
        Kind::Int8 => int(-128, 127),
        Kind::Int16 => int(i16::MIN.into(), i16::MAX.into()),
        Kind::Uint16 => int(0, u16::MAX.into()),
        Kind::Int32 => int(i32::MIN.into(), i32::MAX.into()),
        Kind::Uint32 => int(0, u32::MAX.into()),
        Kind::Int64 => int(i64::MIN, i64::MAX),
        Kind::Float64 => json.as_f64().map(Value::Float).ok_or_else(|| wrong(path, "a number is expected")),
        Kind::Uuid => {
            text()?.parse().map(Value::Uuid).map_err(|e: crate::uuid::ParseError| wrong(path, &e.to_string()))
        }
        Kind::String => Ok(Value::String(text()?.to_owned())),
        Kind::Bytes | Kind::Records => unbase64(text()?)
            .map(|b| Value::Bytes(Bytes::from(b)))
            .ok_or_else(|| wrong(path, "base64 is expected")),
        Kind::Array(element) => {
            let items = json.as_array().ok_or_else(|| wrong(path, "an array is expected"))?;
            let item = |(i, json)| value_from_json(m, element, json, version, &format!("{path}[{i}]"));
            items.iter().enumerate().map(item).collect::<Result<_, _>>().map(Value::Array)
        }
        Kind::Struct(name) => struct_from_json(m, m.find(name), json, version, path),
    }
}

fn wrong(path: &str, reason: &str) -> JsonError {
    JsonError { path: path.to_owned(), reason: reason.to_owned() }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= three.len() { digit as char } else { '=' });
        }
    }
    out
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let mut bits = 0u32;
        for i in 0..4 {
            let value = match four.get(i) {
                Some(c) => ALPHABET.iter().position(|a| a == c)? as u32,
                None => 0,
            };
            bits = bits << 6 | value;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_both_ways() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded), Some(plain.as_bytes().to_vec()));
        }
        assert_eq!(unbase64("!!!!"), None);
    }
}
