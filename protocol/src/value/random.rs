//! Random but well-formed messages, from a caller's source of numbers: a seed gives the same message everywhere.

use bytes::Bytes;

use super::{Value, default_of};
use crate::Uuid;
use crate::schema::{Field, Kind, Message, Struct};

/// A message that `version` can carry: fields that the version lacks have their defaults.
pub fn random(message: &'static Message, version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    random_struct(message, message.root(), version, next)
}

fn random_struct(m: &'static Message, s: &'static Struct, version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    let value = |f: &'static Field, next: &mut dyn FnMut() -> u64| {
        if !f.versions.contains(version) || next().is_multiple_of(8) {
            let default = default_of(m, f);
            // A null default is not sendable where the version does not allow null.
            if default != Value::Null || !f.versions.contains(version) || f.nullable.contains(version) {
                return default;
            }
        }
        if f.nullable.contains(version) && next().is_multiple_of(4) {
            return Value::Null;
        }
        random_value(m, &f.kind, version, next)
    };
    Value::Struct(s.fields.iter().map(|f| (f.name.as_str(), value(f, next))).collect())
}

fn random_value(m: &'static Message, kind: &'static Kind, version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    // Edges are as likely as ordinary numbers.
    let mut edge = |min: i64, max: i64| match next() % 6 {
        0 => min,
        1 => max,
        2 => 0,
        3 => 1,
        _ => min + (next() as i64).rem_euclid(max.wrapping_sub(min).max(1)),
    };
    match kind {
        Kind::Bool => Value::Bool(next().is_multiple_of(2)),
        Kind::Int8 => Value::Int(edge(-128, 127)),
        Kind::Int16 => Value::Int(edge(-32768, 32767)),
        Kind::Uint16 => Value::Int(edge(0, 65535)),
        Kind::Int32 => Value::Int(edge(i32::MIN.into(), i32::MAX.into())),
        Kind::Uint32 => Value::Int(edge(0, u32::MAX.into())),
        Kind::Int64 => Value::Int(match next() % 5 {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => -1,
            _ => next() as i64,
        }),
        Kind::Float64 => Value::Float((next() % 1_000_000) as f64 / 8.0),
        Kind::Uuid => Value::Uuid(Uuid(u128::from(next()) << 64 | u128::from(next()))),
        Kind::String => {
            let alphabet = ['a', 'Z', '0', '.', '_', '-', '\u{e9}', '\u{4e16}'];
            let length = next() % 12;
            Value::String((0..length).map(|_| alphabet[(next() % 8) as usize]).collect())
        }
        Kind::Bytes | Kind::Records => {
            let length = if next().is_multiple_of(16) { 1500 + next() % 1500 } else { next() % 20 };
            Value::Bytes(Bytes::from((0..length).map(|_| next() as u8).collect::<Vec<u8>>()))
        }
        Kind::Array(element) => {
            let length = next() % 4;
            Value::Array((0..length).map(|_| random_value(m, element, version, next)).collect())
        }
        Kind::Struct(name) => random_struct(m, m.find(name), version, next),
    }
}
