//! Bytes to a dynamic value.

use super::{Value, default_of};
use crate::codec::{DecodeError, Decoder};
use crate::schema::{Field, Kind, Message, Struct, Versions};

/// Reads a message of the schema from the front of `input`.
pub fn decode(message: &'static Message, input: &mut Decoder, version: i16) -> Result<Value, DecodeError> {
    if !message.versions.contains(version) {
        return Err(DecodeError::UnsupportedVersion { message: &message.name, version });
    }
    read_struct(message, message.root(), input, version)
}

fn read_struct(
    m: &'static Message,
    s: &'static Struct,
    d: &mut Decoder,
    version: i16,
) -> Result<Value, DecodeError> {
    let mut fields: Vec<(&'static str, Value)> = Vec::with_capacity(s.fields.len());
    for f in &s.fields {
        let here = f.versions.contains(version) && !f.is_tagged(version);
        fields.push((&f.name, if here { read_field(m, f, d, version)? } else { default_of(m, f) }));
    }
    if m.is_flexible(version) {
        d.tagged(|tag, d| {
            let known =
                s.fields.iter().position(|f| f.tag.is_some_and(|(t, v)| t == tag && v.contains(version)));
            let Some(at) = known else { return Ok(false) };
            fields[at].1 = read_field(m, &s.fields[at], d, version)?;
            Ok(true)
        })?;
    }
    Ok(Value::Struct(fields))
}

fn read_field(
    m: &'static Message,
    f: &'static Field,
    d: &mut Decoder,
    version: i16,
) -> Result<Value, DecodeError> {
    let flexible = m.is_flexible(version) && f.flexible.is_none_or(|v: Versions| v.contains(version));
    let value = read_value(m, &f.kind, f.nullable.contains(version), flexible, d, version)?;
    if value == Value::Null && !f.nullable.contains(version) {
        return Err(DecodeError::Null);
    }
    Ok(value)
}

fn read_value(
    m: &'static Message,
    kind: &'static Kind,
    nullable: bool,
    flexible: bool,
    d: &mut Decoder,
    version: i16,
) -> Result<Value, DecodeError> {
    Ok(match kind {
        Kind::Bool => Value::Bool(d.bool()?),
        Kind::Int8 => Value::Int(d.i8()?.into()),
        Kind::Int16 => Value::Int(d.i16()?.into()),
        Kind::Uint16 => Value::Int(d.u16()?.into()),
        Kind::Int32 => Value::Int(d.i32()?.into()),
        Kind::Uint32 => Value::Int(d.u32()?.into()),
        Kind::Int64 => Value::Int(d.i64()?),
        Kind::Float64 => Value::Float(d.f64()?),
        Kind::Uuid => Value::Uuid(d.uuid()?),
        Kind::String => d.nullable_string(flexible)?.map_or(Value::Null, |s| Value::String(s.to_string())),
        Kind::Bytes | Kind::Records => d.nullable_bytes(flexible)?.map_or(Value::Null, Value::Bytes),
        Kind::Array(element) => d
            .nullable_array(flexible, 1, |d| {
                let value = read_value(m, element, false, flexible, d, version)?;
                if value == Value::Null { Err(DecodeError::Null) } else { Ok(value) }
            })?
            .map_or(Value::Null, Value::Array),
        Kind::Struct(name) if nullable => {
            d.nullable_struct(|d| read_struct(m, m.find(name), d, version))?.unwrap_or(Value::Null)
        }
        Kind::Struct(name) => read_struct(m, m.find(name), d, version)?,
    })
}
