//! The generated codec and the interpreter read one table by different ways: each checks the other.

use std::collections::BTreeSet;

use protocol::EncodeError;
use protocol::schema::{Field, Kind, Message};
use protocol::value::{self, Value};

use crate::{all, interpreted, numbers};

#[test]
fn every_message_and_version_is_the_same_in_both_codecs() {
    let mut next = numbers(1);
    let mut checked = 0;
    for (typed, m) in all() {
        for version in m.versions.range() {
            for round in 0..24 {
                let value = match round {
                    0 => value::populated(m, version, &mut next),
                    _ => value::random(m, version, &mut next),
                };
                let bytes = interpreted(m, &value, version).expect("made for this version");
                let again = (typed.convert)(bytes.clone(), version, version);
                assert_eq!(again, Ok(Ok(bytes)), "{} v{version}", m.name);
                checked += 1;
            }
        }
    }
    assert!(checked >= 700 * 24, "{checked} messages");
}

#[test]
fn every_default_is_the_same_in_both_codecs() {
    for (typed, m) in all() {
        for version in m.versions.range() {
            let fields = m.root().fields.iter().map(|f| (f.name.as_str(), value::default_of(m, f)));
            let by_hand = interpreted(m, &Value::Struct(fields.collect()), version);
            match ((typed.default)(version), by_hand) {
                (Ok(a), Ok(b)) => assert_eq!(a, b, "{} v{version}", m.name),
                (Err(EncodeError::Null { .. }), Err(EncodeError::Null { .. })) => {}
                (a, b) => panic!("{} v{version}: {a:?}, {b:?}", m.name),
            }
        }
    }
}

/// A message with defaults only, but for one field: every array on the way to it has one element.
fn only(m: &'static Message, owner: &str, wanted: &str, version: i16) -> Option<Value> {
    fn walk(m: &'static Message, s: &str, owner: &str, wanted: &str, version: i16) -> Option<Value> {
        let fields = &m.find(s).fields;
        let mut found = false;
        let mut values = Vec::new();
        for f in fields {
            let mut value = value::default_of(m, f);
            let inner = match &f.kind {
                Kind::Struct(inner) => Some((inner, false)),
                Kind::Array(element) => match element.as_ref() {
                    Kind::Struct(inner) => Some((inner, true)),
                    _ => None,
                },
                _ => None,
            };
            if s == owner && f.name == wanted {
                if !f.versions.contains(version) {
                    return None;
                }
                value = other_than_default(m, f, version);
                found = true;
            } else if let (Some((inner, array)), true, false) = (inner, f.versions.contains(version), found)
                && let Some(inside) = walk(m, inner, owner, wanted, version)
            {
                value = if array { Value::Array(vec![inside]) } else { inside };
                found = true;
            } else if value == Value::Null && f.versions.contains(version) && !f.nullable.contains(version) {
                value = other_than_default(m, f, version);
            }
            values.push((f.name.as_str(), value));
        }
        found.then_some(Value::Struct(values))
    }
    walk(m, &m.root().name, owner, wanted, version)
}

fn other_than_default(m: &'static Message, f: &'static Field, version: i16) -> Value {
    let mut next = numbers(7);
    loop {
        let Value::Struct(fields) = value::populated(m, version, &mut next) else {
            panic!("a message is a struct")
        };
        let mut candidates = Vec::new();
        gather(&fields, &f.name, &mut candidates);
        if let Some(value) = candidates.into_iter().find(|v| *v != value::default_of(m, f)) {
            return value;
        }
    }
}

fn gather(fields: &[(&'static str, Value)], name: &str, found: &mut Vec<Value>) {
    for (n, value) in fields {
        if *n == name {
            found.push(value.clone());
        }
        let inside: &[Value] =
            if let Value::Array(items) = value { items } else { std::slice::from_ref(value) };
        for v in inside {
            if let Value::Struct(fields) = v {
                gather(fields, name, found);
            }
        }
    }
}

/// Kafka throws, many codecs drop the field without a word.
#[test]
fn a_field_that_is_not_ignorable_is_refused_by_every_version_that_lacks_it() {
    let (mut refused, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for (typed, m) in all() {
        for s in &m.structs {
            for f in &s.fields {
                let lacking = || s.versions.range().filter(|v| !f.versions.contains(*v));
                if f.versions.is_empty() || lacking().next().is_none() {
                    continue;
                }
                let id = format!("{}.{}", s.name, f.name);
                if !f.ignorable {
                    missing.insert((m.name.clone(), id.clone()));
                }
                for from in m.versions.range() {
                    let Some(value) = only(m, &s.name, &f.name, from) else { continue };
                    let Ok(bytes) = interpreted(m, &value, from) else { continue };
                    for to in lacking() {
                        let typed = (typed.convert)(bytes.clone(), from, to).expect("just written");
                        match (interpreted(m, &value, to), typed) {
                            (Ok(a), Ok(b)) => assert_eq!(a, b, "{id} {from} -> {to}"),
                            (
                                Err(EncodeError::NotInVersion { field: a, .. }),
                                Err(EncodeError::NotInVersion { field: b, version }),
                            ) => {
                                assert_eq!(
                                    (b.rsplit('.').next(), version),
                                    (Some(a), to),
                                    "{id} {from} -> {to}"
                                );
                                if b == id {
                                    assert!(!f.ignorable, "{id} is ignorable");
                                    refused.insert((m.name.clone(), id.clone()));
                                }
                            }
                            (
                                Err(EncodeError::Null { field: a, .. }),
                                Err(EncodeError::Null { field: b, .. }),
                            ) => assert_eq!(a, b),
                            (a, b) => {
                                panic!("{} {id} {from} -> {to}: interpreted {a:?}, typed {b:?}", m.name)
                            }
                        }
                    }
                }
            }
        }
    }
    let silent: Vec<_> = missing.difference(&refused).collect();
    assert!(silent.is_empty(), "never refused: {silent:?}");
    assert!(refused.len() > 100, "{} fields", refused.len());
}
