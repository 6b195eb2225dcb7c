//! A dynamic value to bytes.

use super::{Value, default_of};
use crate::codec::{EncodeError, Encoder};
use crate::schema::{Field, Kind, Message, Struct, Versions};
use crate::{Records, Str};

/// Writes a message of the schema. The value must have the shape that `decode` and `random` give.
pub fn encode(
    message: &'static Message,
    value: &Value,
    out: &mut Encoder,
    version: i16,
) -> Result<(), EncodeError> {
    if !message.versions.contains(version) {
        return Err(EncodeError::UnsupportedVersion { message: &message.name, version });
    }
    write_struct(message, message.root(), value, out, version)
}

fn write_struct(
    m: &'static Message,
    s: &'static Struct,
    value: &Value,
    e: &mut Encoder,
    version: i16,
) -> Result<(), EncodeError> {
    let Value::Struct(values) = value else { panic!("{} is a struct, not {value:?}", s.name) };
    assert_eq!(values.len(), s.fields.len(), "{} has all its fields", s.name);
    let mut tagged = Vec::new();
    for (f, (_, value)) in s.fields.iter().zip(values) {
        if !f.versions.contains(version) {
            if !f.ignorable && *value != default_of(m, f) {
                return Err(EncodeError::NotInVersion { field: &f.name, version });
            }
        } else if f.is_tagged(version) {
            if *value != default_of(m, f) {
                tagged.push((f.tag.expect("it is tagged").0, f, value));
            }
        } else {
            write_field(m, f, value, e, version)?;
        }
    }
    if m.is_flexible(version) {
        tagged.sort_by_key(|(tag, ..)| *tag);
        e.uvarint(tagged.len() as u32);
        for (tag, f, value) in tagged {
            e.tagged(tag, |e| write_field(m, f, value, e, version))?;
        }
    }
    Ok(())
}

fn write_field(
    m: &'static Message,
    f: &'static Field,
    value: &Value,
    e: &mut Encoder,
    version: i16,
) -> Result<(), EncodeError> {
    let flexible = m.is_flexible(version) && f.flexible.is_none_or(|v: Versions| v.contains(version));
    let nullable = f.nullable.contains(version);
    if *value == Value::Null && !nullable {
        return Err(EncodeError::Null { field: &f.name, version });
    }
    write_value(m, &f.kind, value, (nullable, flexible), e, version)
}

fn write_value(
    m: &'static Message,
    kind: &'static Kind,
    value: &Value,
    (nullable, flexible): (bool, bool),
    e: &mut Encoder,
    version: i16,
) -> Result<(), EncodeError> {
    match (kind, value) {
        (Kind::Bool, Value::Bool(v)) => e.bool(*v),
        (Kind::Int8, Value::Int(v)) => e.i8(*v as i8),
        (Kind::Int16, Value::Int(v)) => e.i16(*v as i16),
        (Kind::Uint16, Value::Int(v)) => e.u16(*v as u16),
        (Kind::Int32, Value::Int(v)) => e.i32(*v as i32),
        (Kind::Uint32, Value::Int(v)) => e.u32(*v as u32),
        (Kind::Int64, Value::Int(v)) => e.i64(*v),
        (Kind::Float64, Value::Float(v)) => e.f64(*v),
        (Kind::Uuid, Value::Uuid(v)) => e.uuid(*v),
        (Kind::String, Value::String(v)) => e.string(&Str::from(v.as_str()), flexible)?,
        (Kind::String, Value::Null) => e.nullable_string(None, flexible)?,
        (Kind::Bytes, Value::Bytes(v)) => e.bytes(v, flexible)?,
        (Kind::Records, Value::Bytes(v)) => e.records(&Records::from(v.clone()), flexible)?,
        (Kind::Bytes | Kind::Records, Value::Null) => e.nullable_bytes(None, flexible)?,
        (Kind::Array(element), Value::Array(items)) => {
            e.array(items, flexible, |e, item| write_value(m, element, item, (false, flexible), e, version))?;
        }
        (Kind::Array(_), Value::Null) => e.nullable_array::<Value>(None, flexible, |_, _| Ok(()))?,
        (Kind::Struct(_), Value::Null) => e.i8(-1),
        (Kind::Struct(name), value) => {
            if nullable {
                e.i8(1);
            }
            write_struct(m, m.find(name), value, e, version)?;
        }
        (kind, value) => panic!("{value:?} is no {kind:?}"),
    }
    Ok(())
}
