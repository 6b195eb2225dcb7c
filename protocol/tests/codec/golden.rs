//! Bytes and JSON recorded from Kafka 4.3.1's own classes by `import/Golden.java`: for every message and version one message of
//! defaults, one in which every field is set, and one at random, with nulls and the edges of numbers.

use bytes::Bytes;
use protocol::schema::Message;
use protocol::value::{self, Value};
use serde_json::Value as Json;

use crate::{TYPED, all, interpret, interpreted, numbers};

const RECORDED: &str = include_str!("../golden/kafka-4.3.1.txt");

/// The messages whose bytes are recorded.
fn inputs(m: &'static Message, version: i16) -> [Value; 3] {
    let mut next = numbers(version as u64 + 1);
    let default = |f| {
        let value = value::default_of(m, f);
        let refused = value == Value::Null && f.versions.contains(version) && !f.nullable.contains(version);
        if refused && f.kind == protocol::schema::Kind::String { Value::String(String::new()) } else { value }
    };
    let defaults = Value::Struct(m.root().fields.iter().map(|f| (f.name.as_str(), default(f))).collect());
    [defaults, value::populated(m, version, &mut next), value::random(m, version, &mut next)]
}

#[test]
#[ignore = "prints the input of import/Golden.java"]
#[allow(clippy::print_stdout)]
fn golden_input() {
    for (_, m) in all() {
        for version in m.versions.range() {
            for value in inputs(m, version) {
                println!("golden {} {version} {}", m.name, value::to_json(m, &value, version));
            }
        }
    }
}

fn unhex(text: &str) -> Bytes {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("the file is hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn lines() -> impl Iterator<Item = (&'static str, i16, Bytes, &'static str)> {
    RECORDED.lines().map(|line| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().expect("four words a line");
        (word(), word().parse().expect("a version"), unhex(word()), word())
    })
}

#[test]
fn both_codecs_read_and_write_the_bytes_of_kafka() {
    let mut counted = std::collections::BTreeMap::new();
    for (name, version, bytes, _) in lines() {
        let m = value::message(name).expect("known");
        let typed = TYPED.iter().find(|t| t.name == name).expect("known");
        assert_eq!(
            (typed.convert)(bytes.clone(), version, version),
            Ok(Ok(bytes.clone())),
            "{name} v{version}"
        );
        let value = interpret(m, bytes.clone(), version).unwrap_or_else(|e| panic!("{name} v{version}: {e}"));
        assert_eq!(interpreted(m, &value, version), Ok(bytes), "{name} v{version}");
        *counted.entry((name, version)).or_insert(0) += 1;
    }
    for (_, m) in all() {
        for version in m.versions.range() {
            assert_eq!(counted.get(&(m.name.as_str(), version)), Some(&3), "{} v{version}", m.name);
        }
    }
}

#[test]
fn the_json_of_a_message_is_that_of_kafka() {
    let mut compared = 0;
    for (name, version, bytes, json) in lines().filter(|l| l.3 != "-") {
        let m = value::message(name).expect("known");
        let kafka: Json = serde_json::from_str(json).expect("Kafka writes JSON");
        let mut ours = value::to_json(m, &interpret(m, bytes.clone(), version).expect("read above"), version);
        let has_records = sizes(&mut ours, &kafka);
        assert_eq!(ours, kafka, "{name} v{version}");
        if !has_records {
            let value = value::from_json(m, &kafka, version).expect("Kafka's JSON");
            assert_eq!(interpreted(m, &value, version), Ok(bytes), "{name} v{version}");
        }
        compared += 1;
    }
    assert!(compared >= 3 * all().count(), "{compared} messages");
}

/// Puts sizes in the place of records, as Kafka does; true if there were any.
fn sizes(ours: &mut Json, kafka: &Json) -> bool {
    let mut any = false;
    if let (Some(own), Some(map)) = (ours.as_object_mut(), kafka.as_object()) {
        for (name, theirs) in map {
            if let (Some(plain), false) = (name.strip_suffix("SizeInBytes"), own.contains_key(name)) {
                own.remove(plain);
                own.insert(name.clone(), theirs.clone());
                any = true;
            } else if let Some(inside) = own.get_mut(name) {
                any |= sizes(inside, theirs);
            }
        }
    } else if let (Some(own), Some(items)) = (ours.as_array_mut(), kafka.as_array()) {
        for (a, b) in own.iter_mut().zip(items) {
            any |= sizes(a, b);
        }
    }
    any
}

#[test]
fn every_field_is_set_in_some_recorded_message() {
    for (_, m) in all() {
        let mut unset: Vec<String> = Vec::new();
        for f in &m.root().fields {
            let set = lines().filter(|l| l.0 == m.name).any(|(_, version, bytes, _)| {
                let value = interpret(m, bytes, version).expect("read above");
                value.field(&f.name) != Some(&value::default_of(m, f))
            });
            if !set && !m.versions.intersect(f.versions).is_empty() {
                unset.push(f.name.clone());
            }
        }
        assert!(unset.is_empty(), "{}: {unset:?}", m.name);
    }
}
