//! Random but well-formed messages, from a caller's source of numbers: a seed gives the same message everywhere.

use bytes::Bytes;

use super::{Value, default_of};
use crate::Uuid;
use crate::schema::{Field, Kind, Message, Struct};

/// A message that `version` can carry: fields that the version lacks have their defaults.
pub fn random(message: &'static Message, version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    Maker { message, version, next, every: false }.structure(message.root())
}

/// A small message in which every field that `version` can carry differs from its default, at every depth.
pub fn populated(message: &'static Message, version: i16, next: &mut dyn FnMut() -> u64) -> Value {
    Maker { message, version, next, every: true }.structure(message.root())
}

struct Maker<'a> {
    message: &'static Message,
    version: i16,
    next: &'a mut dyn FnMut() -> u64,
    every: bool,
}

impl Maker<'_> {
    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        (self.next)().is_multiple_of(n)
    }

    fn structure(&mut self, s: &'static Struct) -> Value {
        Value::Struct(s.fields.iter().map(|f| (f.name.as_str(), self.field(f))).collect())
    }

    fn field(&mut self, f: &'static Field) -> Value {
        let default = default_of(self.message, f);
        if !f.versions.contains(self.version) {
            return default;
        }
        if self.every {
            loop {
                let value = self.value(&f.kind);
                // A struct without fields has only its default.
                if value != default || matches!(value, Value::Struct(_)) {
                    return value;
                }
            }
        }
        let nullable = f.nullable.contains(self.version);
        // A null default is not sendable where the version does not allow null.
        if self.once_in(8) && (default != Value::Null || nullable) {
            return default;
        }
        if nullable && self.once_in(4) { Value::Null } else { self.value(&f.kind) }
    }

    /// Edges are as likely as ordinary numbers.
    fn int(&mut self, min: i64, max: i64) -> Value {
        Value::Int(match (self.next)() % 6 {
            0 => min,
            1 => max,
            2 => 0,
            3 => 1,
            _ => min + ((self.next)() as i64).rem_euclid(max - min),
        })
    }

    fn value(&mut self, kind: &'static Kind) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.once_in(2)),
            Kind::Int8 => self.int(-128, 127),
            Kind::Int16 => self.int(-32768, 32767),
            Kind::Uint16 => self.int(0, 65535),
            Kind::Int32 => self.int(i32::MIN.into(), i32::MAX.into()),
            Kind::Uint32 => self.int(0, u32::MAX.into()),
            Kind::Int64 => Value::Int(match (self.next)() % 5 {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => -1,
                _ => (self.next)() as i64,
            }),
            Kind::Float64 => Value::Float(((self.next)() % 1_000_000) as f64 / 8.0),
            Kind::Uuid => Value::Uuid(Uuid(u128::from((self.next)()) << 64 | u128::from((self.next)()))),
            Kind::String => {
                const ALPHABET: [char; 8] = ['a', 'Z', '0', '.', '_', '-', '\u{e9}', '\u{4e16}'];
                let length = (self.next)() % if self.every { 6 } else { 12 };
                Value::String((0..length).map(|_| ALPHABET[((self.next)() % 8) as usize]).collect())
            }
            Kind::Bytes | Kind::Records => {
                let large = !self.every && self.once_in(16);
                let length = if large { 1500 + (self.next)() % 1500 } else { (self.next)() % 20 };
                Value::Bytes((0..length).map(|_| (self.next)() as u8).collect::<Bytes>())
            }
            Kind::Array(element) => {
                let length = if self.every { 1 + (self.next)() % 2 } else { (self.next)() % 4 };
                Value::Array((0..length).map(|_| self.value(element)).collect())
            }
            Kind::Struct(name) => self.structure(self.message.find(name)),
        }
    }
}
