//! The text of scenarios: JSON that is pleasant to type, and what its names and calls stand for.
//!
//!     {name: $t, partitions: [{partitionIndex: 0, records: batch({values: [a, b]})}]}
//!
//! Keys and words need no quotes. `$name` is what a former answer was bound to, also inside a word (`$t-b`). A call makes
//! what cannot be written down: `batch`, `bytes`, `hex`, `repeat`, `zeros`, `now`, `add`, `data`, `features`.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::batch::{
    BatchBuilder, BatchHeader, BatchOptions, Compression, HEADER_BYTES, RecordHeader, crc_of,
};
use protocol::{Encoder, value};
use serde_json::{Map, Value as Json, json};

pub type Names = BTreeMap<String, Json>;

/// Reads one value from the front of `text`; returns what is left of it.
pub fn parse(text: &str) -> Result<(Json, &str), String> {
    let text = text.trim_start();
    match text.chars().next() {
        Some('{') => parse_object(&text[1..]),
        Some('[') => parse_list(&text[1..], ']').map(|(items, rest)| (Json::Array(items), rest)),
        Some('"') => parse_quoted(text),
        Some(_) => parse_word(text),
        None => Err("a value is missing".to_owned()),
    }
}

fn parse_object(mut text: &str) -> Result<(Json, &str), String> {
    let mut map = Map::new();
    loop {
        text = text.trim_start().trim_start_matches(',').trim_start();
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((Json::Object(map), rest));
        }
        let (name, rest) = text.split_once(':').ok_or_else(|| format!("no `name:` at {text}"))?;
        let (value, rest) = parse(rest)?;
        map.insert(name.trim().trim_matches('"').to_owned(), value);
        text = rest;
    }
}

fn parse_list(mut text: &str, close: char) -> Result<(Vec<Json>, &str), String> {
    let mut items = Vec::new();
    loop {
        text = text.trim_start().trim_start_matches(',').trim_start();
        if let Some(rest) = text.strip_prefix(close) {
            return Ok((items, rest));
        }
        let (value, rest) = parse(text)?;
        items.push(value);
        text = rest;
    }
}

fn parse_quoted(text: &str) -> Result<(Json, &str), String> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    let value = stream.next().and_then(Result::ok).ok_or_else(|| format!("a bad string at {text}"))?;
    Ok((value, &text[stream.byte_offset()..]))
}

fn parse_word(text: &str) -> Result<(Json, &str), String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "$._-+".contains(c))).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if let Some(rest) = rest.strip_prefix('(') {
        let (arguments, rest) = parse_list(rest, ')')?;
        return Ok((json!({ format!("@{word}"): arguments }), rest));
    }
    let value = match word {
        "" => return Err(format!("a value is expected at {text}")),
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        "null" => Json::Null,
        _ => match (word.parse::<i64>(), word.parse::<f64>()) {
            (Ok(n), _) => Json::from(n),
            (_, Ok(n)) if n.is_finite() && word.contains('.') => json!(n),
            _ => Json::String(word.to_owned()),
        },
    };
    Ok((value, rest))
}

/// Puts the values of names and calls in their places.
pub fn resolve(json: &Json, names: &Names) -> Result<Json, String> {
    match json {
        Json::String(text) => resolve_text(text, names),
        Json::Array(items) => items.iter().map(|item| resolve(item, names)).collect(),
        Json::Object(map) => {
            if let Some((name, arguments)) = map.iter().next().filter(|(name, _)| name.starts_with('@')) {
                let arguments = resolve(arguments, names)?;
                return call(&name[1..], arguments.as_array().expect("the parser made a list"));
            }
            let fields = map.iter().map(|(name, value)| Ok((name.clone(), resolve(value, names)?)));
            fields.collect::<Result<Map<_, _>, String>>().map(Json::Object)
        }
        other => Ok(other.clone()),
    }
}

fn resolve_text(text: &str, names: &Names) -> Result<Json, String> {
    let Some((before, rest)) = text.split_once('$') else { return Ok(Json::String(text.to_owned())) };
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let value = names.get(name).ok_or_else(|| format!("${name} has no value"))?;
    if before.is_empty() && after.is_empty() {
        return Ok(value.clone());
    }
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    resolve_text(&format!("{before}{value}{after}"), names)
}

fn call(name: &str, arguments: &[Json]) -> Result<Json, String> {
    let text =
        |at: usize| arguments.get(at).and_then(Json::as_str).ok_or(format!("{name}: text is expected"));
    let int =
        |at: usize| arguments.get(at).and_then(Json::as_i64).ok_or(format!("{name}: a number is expected"));
    let bytes = |bytes: &[u8]| Json::String(value::base64(bytes));
    Ok(match name {
        "bytes" => bytes(text(0)?.as_bytes()),
        "hex" => bytes(&unhex(text(0)?)?),
        "zeros" => bytes(&vec![0; int(0)? as usize]),
        "repeat" => Json::String(text(0)?.repeat(int(1)? as usize)),
        "now" => Json::from(now_ms() + int(0)?),
        "add" => Json::from(int(0)? + int(1)?),
        "batch" => bytes(&batch(arguments.first().unwrap_or(&Json::Null))?),
        "batches" => {
            let parts = arguments.iter().map(batch).collect::<Result<Vec<_>, _>>()?;
            bytes(&parts.concat())
        }
        "features" => features(),
        "data" => bytes(&data(text(0)?, int(1)?, &arguments[2])?),
        _ => return Err(format!("there is no {name}(..)")),
    })
}

/// What a broker of today supports, as it says when it registers: Kafka's features, and Weir's own, which Kafka passes over.
fn features() -> Json {
    let kafka = [
        ("metadata.version", 7, 30),
        ("kraft.version", 0, 1),
        ("transaction.version", 0, 2),
        ("group.version", 0, 1),
        ("eligible.leader.replicas.version", 0, 1),
        ("share.version", 0, 1),
        ("streams.version", 0, 1),
    ];
    let all = kafka.into_iter().chain([("weir.version", 0, 1)]);
    let feature =
        |(name, min, max)| json!({"name": name, "minSupportedVersion": min, "maxSupportedVersion": max});
    all.map(feature).collect()
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_millis() as i64
}

/// Hexadecimal digits, spaces allowed.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |two: &[u8]| {
        let two = std::str::from_utf8(two).map_err(|e| e.to_string())?;
        u8::from_str_radix(two, 16).map_err(|e| format!("{two}: {e}"))
    };
    digits.chunks(2).map(pair).collect()
}

/// A message of the schema behind its version, as members of groups exchange them.
fn data(name: &str, version: i64, fields: &Json) -> Result<Vec<u8>, String> {
    let message = value::message(name).ok_or(format!("there is no {name}"))?;
    let version = i16::try_from(version).map_err(|e| e.to_string())?;
    let read = value::from_json(message, fields, version).map_err(|e| e.to_string())?;
    let mut out = Encoder::new();
    out.i16(version);
    value::encode(message, &read, &mut out, version).map_err(|e| e.to_string())?;
    Ok(out.into_bytes().expect("in memory").to_vec())
}

/// `{values: [..], keys: [..], compression, pid, epoch, seq, transactional, control, time, headers: {k: v}, patch: {offset: hex}, cut: n}`.
/// `patch` overwrites bytes after the CRC was computed, `crc: true` computes it again, `cut` keeps the first n bytes.
fn batch(fields: &Json) -> Result<Vec<u8>, String> {
    let int = |name: &str, or: i64| fields[name].as_i64().unwrap_or(or);
    let flag = |name: &str| fields[name].as_bool().unwrap_or(false);
    let options = BatchOptions {
        base_offset: protocol::ids::Offset(int("offset", 0)),
        compression: Compression::from_name(fields["compression"].as_str().unwrap_or("none"))
            .ok_or("no such compression")?,
        transactional: flag("transactional"),
        control: flag("control"),
        producer_id: protocol::ids::ProducerId(int("pid", -1)),
        producer_epoch: int("epoch", -1) as i16,
        base_sequence: int("seq", -1) as i32,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    let headers: Vec<RecordHeader> =
        fields["headers"].as_object().into_iter().flatten().map(header).collect();
    let empty = Vec::new();
    let values = fields["values"].as_array().unwrap_or(&empty);
    for (at, value) in values.iter().enumerate() {
        let of = |json: &Json| json.as_str().map(|s| s.as_bytes().to_vec());
        let key = of(&fields["keys"][at]);
        let time = fields["time"].as_i64().unwrap_or_else(now_ms) + int("step", 0) * at as i64;
        builder.append(time, key.as_deref(), of(value).as_deref(), &headers);
    }
    if values.is_empty() {
        builder.append(now_ms(), None, None, &[]);
    }
    let mut bytes = builder.finish().to_bytes().to_vec();
    if values.is_empty() {
        // Only the header, which counts no records.
        bytes.truncate(HEADER_BYTES);
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    }
    for (at, hex) in fields["patch"].as_object().into_iter().flatten() {
        let at: usize = at.parse().map_err(|_| format!("{at} is no position"))?;
        let hex = unhex(hex.as_str().unwrap_or_default())?;
        bytes.get_mut(at..at + hex.len()).ok_or("a patch beyond the batch")?.copy_from_slice(&hex);
    }
    if flag("crc") || values.is_empty() {
        let header = BatchHeader::read(&bytes).map_err(|e| e.to_string())?;
        let crc = crc_of(&header, &bytes[HEADER_BYTES..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes.truncate(int("cut", bytes.len() as i64) as usize);
    Ok(bytes)
}

fn header((key, value): (&String, &Json)) -> RecordHeader {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    RecordHeader { key: bytes(key), value: value.as_str().map(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Json {
        let (json, rest) = parse(text).unwrap();
        assert_eq!(rest, "");
        json
    }

    #[test]
    fn words_need_no_quotes() {
        let json = read(r#"{name: $t, "ids": [-1, true, null, 1.5, "a b"], inner: {a.b: x-y_z}}"#);
        let expected = json!({"name": "$t", "ids": [-1, true, null, 1.5, "a b"], "inner": {"a.b": "x-y_z"}});
        assert_eq!(json, expected);
        assert!(parse("{a").is_err() && parse("").is_err() && parse("[1").is_err());
    }

    #[test]
    fn names_and_calls_are_put_in_their_places() {
        let names: Names = [("t".to_owned(), json!("topic")), ("n".to_owned(), json!(7))].into();
        let resolved =
            resolve(&read("{a: $t, b: $t-b, c: $n, d: [bytes(abc), add($n, 1)], e: repeat(ab, 2)}"), &names);
        assert_eq!(
            resolved,
            Ok(json!({"a": "topic", "b": "topic-b", "c": 7, "d": ["YWJj", 8], "e": "abab"}))
        );
        assert!(resolve(&read("$unknown"), &names).is_err());
    }
}
