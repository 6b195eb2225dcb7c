//! One struct of the schema as Rust: its type, its defaults, its encode and decode.

use std::fmt::Write;

use crate::names::snake;
use crate::schema::{Field, Kind, Message, Struct, Versions};

macro_rules! line {
    ($out:expr, $($arg:tt)*) => { writeln!($out, $($arg)*).expect("a String can be written") };
}

/// Internal records keep the tagged fields that they do not know: a roll-back must not lose them.
fn keeps_unknown_tags(message: &Message) -> bool {
    !matches!(message.category.as_str(), "request" | "response" | "header") && !message.flexible.is_empty()
}

fn rust_type(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".into(),
        Kind::Int8 => "i8".into(),
        Kind::Int16 => "i16".into(),
        Kind::Uint16 => "u16".into(),
        Kind::Int32 => "i32".into(),
        Kind::Uint32 => "u32".into(),
        Kind::Int64 => "i64".into(),
        Kind::Float64 => "f64".into(),
        Kind::Uuid => "Uuid".into(),
        Kind::String => "Str".into(),
        Kind::Bytes => "Bytes".into(),
        Kind::Records => "Records".into(),
        Kind::Array(element) => format!("Vec<{}>", rust_type(element)),
        Kind::Struct(name) => name.clone(),
    }
}

fn is_nullable(field: &Field) -> bool {
    !field.nullable.is_empty()
}

fn default_value(field: &Field) -> String {
    let nullable = is_nullable(field);
    if nullable && field.defaults_to_null() {
        return "None".to_owned();
    }
    let given = field.default.as_deref();
    let value = match &field.kind {
        Kind::Bool => given.unwrap_or("false").to_owned(),
        Kind::Float64 => given.map_or("0.0".to_owned(), |d| format!("{d}_f64")),
        Kind::Int8 | Kind::Int16 | Kind::Uint16 | Kind::Int32 | Kind::Uint32 | Kind::Int64 => {
            given.unwrap_or("0").to_owned()
        }
        Kind::String => match given {
            Some(text) => format!("Str::from_static({text:?})"),
            None => "Str::default()".to_owned(),
        },
        Kind::Uuid => "Uuid::ZERO".to_owned(),
        Kind::Bytes => "Bytes::new()".to_owned(),
        Kind::Records => "Records::default()".to_owned(),
        Kind::Array(_) => "Vec::new()".to_owned(),
        Kind::Struct(_) => "Default::default()".to_owned(),
    };
    if nullable { format!("Some({value})") } else { value }
}

/// True when `self.x` differs from its default, as Rust.
fn is_set(field: &Field) -> String {
    let name = snake(&field.name);
    if is_nullable(field) && field.defaults_to_null() {
        return format!("self.{name}.is_some()");
    }
    let empty = match &field.kind {
        Kind::String | Kind::Bytes | Kind::Array(_) if field.default.is_none() => Some("is_empty"),
        _ => None,
    };
    match (empty, is_nullable(field)) {
        (Some(_), true) => format!("!self.{name}.as_ref().is_some_and(|x| x.is_empty())"),
        (Some(_), false) => format!("!self.{name}.is_empty()"),
        (None, _) if field.kind == Kind::Bool => {
            if field.default.as_deref() == Some("true") {
                format!("!self.{name}")
            } else {
                format!("self.{name}")
            }
        }
        (None, _) => format!("self.{name} != Self::default().{name}"),
    }
}

/// `if version >= 3 && version <= 7`, or None when the field is there in every version of its struct.
fn condition(versions: Versions, within: Versions) -> Option<String> {
    let v = versions.intersect(within);
    if v.is_empty() {
        return Some("false".to_owned());
    }
    match (v.first > within.first, v.last < within.last) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {}", v.first)),
        (false, true) => Some(format!("version <= {}", v.last)),
        (true, true) => Some(format!("({}..={}).contains(&version)", v.first, v.last)),
    }
}

/// Whether `field` is compact, as a Rust expression.
fn flex(field: &Field) -> &'static str {
    if field.flexible.is_some_and(Versions::is_empty) { "false" } else { "flex" }
}

/// The fewest bytes an element takes on the wire in any version.
fn bytes_min(kind: &Kind, message: &Message) -> usize {
    match kind {
        Kind::Bool | Kind::Int8 => 1,
        Kind::Int16 | Kind::Uint16 => 2,
        Kind::Int32 | Kind::Uint32 => 4,
        Kind::Int64 | Kind::Float64 => 8,
        Kind::Uuid => 16,
        Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) => 1,
        Kind::Struct(name) => {
            let s = message.find(name);
            let always = |f: &&Field| {
                condition(f.versions, s.versions).is_none() && f.tag.is_none() && !is_nullable(f)
            };
            s.fields.iter().filter(always).map(|f| bytes_min(&f.kind, message)).sum::<usize>().max(1)
        }
    }
}

pub fn write(out: &mut String, message: &Message, s: &Struct) {
    let keeps_tags = keeps_unknown_tags(message);
    line!(out, "#[derive(Clone, Debug, PartialEq)]\npub struct {} {{", s.name);
    for f in &s.fields {
        let ty = rust_type(&f.kind);
        let ty = if is_nullable(f) { format!("Option<{ty}>") } else { ty };
        line!(out, "    pub {}: {ty},", snake(&f.name));
    }
    if keeps_tags {
        line!(
            out,
            "    /// Tagged fields of a newer version, kept as they came.\n    pub unknown_tags: Vec<(u32, Bytes)>,"
        );
    }
    line!(out, "}}\nimpl Default for {} {{\n    fn default() -> Self {{\n        Self {{", s.name);
    for f in &s.fields {
        line!(out, "            {}: {},", snake(&f.name), default_value(f));
    }
    if keeps_tags {
        line!(out, "            unknown_tags: Vec::new(),");
    }
    line!(out, "        }}\n    }}\n}}\nimpl {} {{", s.name);
    write_encode(out, message, s);
    write_decode(out, message, s);
    line!(out, "}}");
}

/// `let flex = version >= 9;` in the cheapest form.
fn flex_line(message: &Message, s: &Struct) -> &'static str {
    let flexible = message.flexible.intersect(s.versions);
    if flexible.is_empty() {
        "false"
    } else if flexible.first <= s.versions.first {
        "true"
    } else {
        "version >= FLEXIBLE_FROM"
    }
}

fn write_encode(out: &mut String, message: &Message, s: &Struct) {
    line!(out, "    pub(super) fn write(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {{");
    line!(out, "        let flex = {};\n        let _ = (flex, version);", flex_line(message, s));
    for f in &s.fields {
        write_presence_check(out, s, f);
        let untagged = match f.tag {
            None => f.versions,
            Some((_, tagged)) if tagged.first > f.versions.first => {
                Versions { first: f.versions.first, last: tagged.first - 1 }
            }
            Some(_) => continue,
        };
        let statement = encode_field(f);
        match condition(untagged, s.versions) {
            None => line!(out, "        {statement}"),
            Some(when) => line!(out, "        if {when} {{ {statement} }}"),
        }
    }
    write_tags(out, message, s);
    line!(out, "        Ok(())\n    }}");
}

/// A field that is not ignorable and not in the version is an error, when it is set.
fn write_presence_check(out: &mut String, s: &Struct, f: &Field) {
    if f.ignorable {
        return;
    }
    if let Some(when) = condition(f.versions, s.versions) {
        let field = format!("{}.{}", s.name, f.name);
        line!(
            out,
            "        if !({when}) && {} {{ return Err(EncodeError::NotInVersion {{ field: {field:?}, version }}); }}",
            is_set(f)
        );
    }
}

/// `ErrorCode`, `PartitionErrorCode`, ... of the schema.
fn is_error_code(f: &Field) -> bool {
    f.kind == Kind::Int16 && f.name.ends_with("ErrorCode")
}

fn encode_field(f: &Field) -> String {
    let (name, flex) = (snake(&f.name), flex(f));
    let method = match &f.kind {
        // Counted as they are written: nobody walks an answer a second time for its errors.
        Kind::Int16 if is_error_code(f) => "error_code",
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Uint16 => "u16",
        Kind::Int32 => "i32",
        Kind::Uint32 => "u32",
        Kind::Int64 => "i64",
        Kind::Float64 => "f64",
        Kind::Uuid => "uuid",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Records => "records",
        Kind::Array(_) => "array",
        Kind::Struct(_) => "struct",
    };
    let refuse_null = format!("EncodeError::Null {{ field: {:?}, version }}", f.name);
    let null_where = condition(f.nullable, f.versions);
    let body = |value: &str, nullable: bool| -> String {
        let prefix = if nullable { "nullable_" } else { "" };
        match &f.kind {
            Kind::String | Kind::Bytes | Kind::Records => format!("e.{prefix}{method}({value}, {flex})?;"),
            Kind::Array(element) => {
                format!("e.{prefix}array({value}, {flex}, |e, x| {})?;", encode_element(element, flex))
            }
            Kind::Struct(_) if nullable => {
                format!("e.nullable_struct({value}, |e, x| x.write(e, version))?;")
            }
            Kind::Struct(_) => format!("{value}.write(e, version)?;"),
            _ => format!("e.{method}({value});"),
        }
    };
    if !is_nullable(f) {
        return match &f.kind {
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) => {
                body(&format!("&self.{name}"), false)
            }
            _ => body(&format!("self.{name}"), false),
        };
    }
    let optional = if matches!(f.kind, Kind::Array(_)) {
        format!("self.{name}.as_deref()")
    } else {
        format!("self.{name}.as_ref()")
    };
    let with_null = body(&optional, true);
    match null_where {
        None => with_null,
        Some(when) => {
            let without = body(&format!("{optional}.ok_or({refuse_null})?"), false);
            format!("if {when} {{ {with_null} }} else {{ {without} }}")
        }
    }
}

fn encode_element(element: &Kind, flex: &str) -> String {
    match element {
        Kind::String => format!("e.string(x, {flex})"),
        Kind::Bytes => format!("e.bytes(x, {flex})"),
        Kind::Struct(_) => "x.write(e, version)".to_owned(),
        Kind::Bool => "{ e.bool(*x); Ok(()) }".to_owned(),
        Kind::Int8 => "{ e.i8(*x); Ok(()) }".to_owned(),
        Kind::Int16 => "{ e.i16(*x); Ok(()) }".to_owned(),
        Kind::Uint16 => "{ e.u16(*x); Ok(()) }".to_owned(),
        Kind::Int32 => "{ e.i32(*x); Ok(()) }".to_owned(),
        Kind::Uint32 => "{ e.u32(*x); Ok(()) }".to_owned(),
        Kind::Int64 => "{ e.i64(*x); Ok(()) }".to_owned(),
        Kind::Float64 => "{ e.f64(*x); Ok(()) }".to_owned(),
        Kind::Uuid => "{ e.uuid(*x); Ok(()) }".to_owned(),
        Kind::Records | Kind::Array(_) => panic!("Kafka has no arrays of {element:?}"),
    }
}

/// Tagged fields are written only when they differ from their default, in the order of their tags.
fn write_tags(out: &mut String, message: &Message, s: &Struct) {
    if flex_line(message, s) == "false" {
        return;
    }
    let keeps = keeps_unknown_tags(message);
    let mut tagged: Vec<(u32, &Field, Versions)> =
        s.fields.iter().filter_map(|f| f.tag.map(|(tag, v)| (tag, f, v))).collect();
    tagged.sort_by_key(|(tag, ..)| *tag);
    line!(out, "        if flex {{");
    let rest = if keeps { "self.unknown_tags.len() as u32" } else { "0" };
    if tagged.is_empty() {
        line!(out, "            e.uvarint({rest});");
    } else {
        let mut conditions = Vec::new();
        for (tag, f, versions) in &tagged {
            let when = condition(versions.intersect(f.versions), s.versions);
            let set = is_set(f);
            conditions.push(format!(
                "            let has_{tag} = {};",
                when.map_or(set.clone(), |w| format!("{w} && {set}"))
            ));
        }
        line!(out, "{}", conditions.join("\n"));
        let sum: Vec<String> = tagged.iter().map(|(tag, ..)| format!("u32::from(has_{tag})")).collect();
        line!(out, "            e.uvarint({} + {rest});", sum.join(" + "));
        for (tag, f, _) in &tagged {
            line!(
                out,
                "            if has_{tag} {{ e.tagged({tag}, |e| {{ {} Ok(()) }})?; }}",
                encode_field(f)
            );
        }
    }
    if keeps {
        line!(
            out,
            "            for (tag, payload) in &self.unknown_tags {{ e.tagged(*tag, |e| {{ e.shared(payload); Ok(()) }})?; }}"
        );
    }
    line!(out, "        }}");
}

fn write_decode(out: &mut String, message: &Message, s: &Struct) {
    line!(out, "    pub(super) fn read(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {{");
    line!(
        out,
        "        let flex = {};\n        let _ = (flex, version);\n        let mut m = Self::default();",
        flex_line(message, s)
    );
    for f in &s.fields {
        let untagged = match f.tag {
            None => f.versions,
            Some((_, tagged)) if tagged.first > f.versions.first => {
                Versions { first: f.versions.first, last: tagged.first - 1 }
            }
            Some(_) => continue,
        };
        let statement = format!("m.{} = {};", snake(&f.name), decode_field(f, message));
        match condition(untagged, s.versions) {
            None => line!(out, "        {statement}"),
            Some(when) => line!(out, "        if {when} {{ {statement} }}"),
        }
    }
    if flex_line(message, s) != "false" {
        let read = if keeps_unknown_tags(message) { "m.unknown_tags = d.tagged_keeping" } else { "d.tagged" };
        line!(
            out,
            "        if flex {{\n            {read}(|tag, d| {{\n                let _ = (&d, &m);\n                match tag {{"
        );
        for f in &s.fields {
            if let Some((tag, versions)) = f.tag {
                let when = condition(versions.intersect(f.versions), s.versions)
                    .map_or(String::new(), |w| format!(" if {w}"));
                line!(
                    out,
                    "                    {tag}{when} => m.{} = {},",
                    snake(&f.name),
                    decode_field(f, message)
                );
            }
        }
        line!(
            out,
            "                    _ => return Ok(false),\n                }}\n                #[allow(unreachable_code)]\n                Ok(true)\n            }})?;\n        }}"
        );
    }
    line!(out, "        Ok(m)\n    }}");
}

fn decode_field(f: &Field, message: &Message) -> String {
    let flex = flex(f);
    let plain = |nullable: bool| -> String {
        let prefix = if nullable { "nullable_" } else { "" };
        match &f.kind {
            Kind::String => format!("d.{prefix}string({flex})?"),
            Kind::Bytes => format!("d.{prefix}bytes({flex})?"),
            Kind::Records => format!("d.{prefix}records({flex})?"),
            Kind::Array(element) => {
                let min = bytes_min(element, message);
                format!("d.{prefix}array({flex}, {min}, |d| {})?", decode_value(element, flex))
            }
            Kind::Struct(name) if nullable => format!("d.nullable_struct(|d| {name}::read(d, version))?"),
            other => format!("{}?", decode_value(other, flex)),
        }
    };
    if !is_nullable(f) {
        return plain(false);
    }
    match condition(f.nullable, f.versions) {
        None => plain(true),
        Some(when) => format!("if {when} {{ {} }} else {{ Some({}) }}", plain(true), plain(false)),
    }
}

fn decode_value(kind: &Kind, flex: &str) -> String {
    match kind {
        Kind::Bool => "d.bool()".to_owned(),
        Kind::Int8 => "d.i8()".to_owned(),
        Kind::Int16 => "d.i16()".to_owned(),
        Kind::Uint16 => "d.u16()".to_owned(),
        Kind::Int32 => "d.i32()".to_owned(),
        Kind::Uint32 => "d.u32()".to_owned(),
        Kind::Int64 => "d.i64()".to_owned(),
        Kind::Float64 => "d.f64()".to_owned(),
        Kind::Uuid => "d.uuid()".to_owned(),
        Kind::String => format!("d.string({flex})"),
        Kind::Bytes => format!("d.bytes({flex})"),
        Kind::Struct(name) => format!("{name}::read(d, version)"),
        Kind::Records | Kind::Array(_) => panic!("Kafka has no arrays of {kind:?}"),
    }
}

/// The traits of the message itself.
pub fn write_message_impl(out: &mut String, message: &Message) {
    let name = &message.name;
    let (first, last) = (message.versions.first, message.versions.last);
    let flexible = message.flexible.intersect(message.versions);
    let from = if flexible.is_empty() { "None".to_owned() } else { format!("Some({})", flexible.first) };
    if flex_line(message, message.root()) == "version >= FLEXIBLE_FROM" || !flexible.is_empty() {
        line!(out, "#[allow(dead_code)]\nconst FLEXIBLE_FROM: i16 = {};", flexible.first);
    }
    line!(out, "impl Message for {name} {{\n    const NAME: &'static str = {name:?};");
    line!(
        out,
        "    const VERSIONS: std::ops::RangeInclusive<i16> = {first}..={last};\n    const FLEXIBLE_FROM: Option<i16> = {from};"
    );
    let check = |error: &str| {
        format!(
            "        if !Self::VERSIONS.contains(&version) {{ return Err({error}::UnsupportedVersion {{ message: Self::NAME, version }}); }}"
        )
    };
    line!(
        out,
        "    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {{\n{}\n        self.write(out, version)\n    }}",
        check("EncodeError")
    );
    line!(
        out,
        "    fn decode(input: &mut Decoder, version: i16) -> Result<Self, DecodeError> {{\n{}\n        Self::read(input, version)\n    }}\n}}",
        check("DecodeError")
    );
    if message.category == "request" {
        let short = name.trim_end_matches("Request");
        line!(
            out,
            "impl Request for {name} {{\n    const KEY: ApiKey = ApiKey::{short};\n    type Response = super::{short}Response;\n}}"
        );
    }
}
