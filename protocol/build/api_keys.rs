//! `ApiKey`, its table, and the enums over records that share a log.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::names::snake;
use crate::schema::{Message, Versions};

fn range(v: Versions) -> String {
    if v.is_empty() { "RangeInclusive::new(1, 0)".to_owned() } else { format!("{}..={}", v.first, v.last) }
}

fn flexible_from(message: &Message) -> String {
    let both = message.flexible.intersect(message.versions);
    if both.is_empty() { "None".to_owned() } else { format!("Some({})", both.first) }
}

/// The enum of request keys and one row of facts for each.
pub fn write(out: &mut String, messages: &[Message]) {
    let requests: Vec<&Message> = messages.iter().filter(|m| m.category == "request").collect();
    let name = |m: &Message| m.name.trim_end_matches("Request").to_owned();
    out.push_str("/// The key of a request.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n#[repr(i16)]\npub enum ApiKey {\n");
    for m in &requests {
        writeln!(out, "    {} = {},", name(m), m.key.expect("a request has a key")).expect("a String");
    }
    out.push_str("}\n\nconst ROWS: &[Row] = &[\n");
    for m in &requests {
        let on = |listener: &str| m.listeners.iter().any(|l| l == listener);
        writeln!(
            out,
            "    Row {{ key: ApiKey::{0}, name: \"{0}\", versions: {1}, unstable: {2}, flexible_from: {3}, broker: {4}, controller: {5} }},",
            name(m),
            range(m.versions),
            m.unstable,
            flexible_from(m),
            on("broker"),
            on("controller"),
        )
        .expect("a String");
    }
    out.push_str("];\n");
}

/// A macro that hands the names of all messages to another macro, for tables over every message (tests, fuzz targets).
/// It costs nothing where it is not used.
pub fn write_list(out: &mut String, messages: &[Message]) {
    let names: Vec<&str> =
        messages.iter().filter(|m| !m.versions.is_empty()).map(|m| m.name.as_str()).collect();
    let all = names.join(" ");
    writeln!(out, "/// Calls the macro `$then` with the names of all messages.").expect("a String");
    writeln!(
        out,
        "#[macro_export]\nmacro_rules! each_message {{\n    ($then:ident) => {{ $then! {{ {all} }} }};\n}}"
    )
    .expect("a String");
}

/// One enum for the records of each log: read by key, written with it.
pub fn write_records(out: &mut String, messages: &[Message]) {
    let mut families: BTreeMap<(String, String), Vec<&Message>> = BTreeMap::new();
    for m in messages {
        if let Some(family) = &m.family {
            families.entry((family.clone(), m.category.clone())).or_default().push(m);
        }
    }
    for ((family, category), members) in families {
        let enum_name = match (family.as_str(), category.as_str()) {
            ("metadata", _) => "MetadataRecord",
            ("storage", _) => "RemoteLogRecord",
            ("group-coordinator", "coordinator-key") => "GroupKey",
            ("group-coordinator", _) => "GroupValue",
            ("transaction-coordinator", "coordinator-key") => "TransactionKey",
            ("transaction-coordinator", _) => "TransactionValue",
            ("share-coordinator", "coordinator-key") => "ShareStateKey",
            ("share-coordinator", _) => "ShareStateValue",
            other => panic!("a family without a name: {other:?}"),
        };
        write_enum(out, enum_name, &members);
    }
}

fn write_enum(out: &mut String, enum_name: &str, members: &[&Message]) {
    let short = |m: &Message| {
        let name = &m.name;
        let name = name
            .strip_suffix("Record")
            .or(name.strip_suffix("Key"))
            .or(name.strip_suffix("Value"))
            .unwrap_or(name);
        name.to_owned()
    };
    writeln!(
        out,
        "/// The records of one log, by type.\n#[derive(Clone, Debug, PartialEq)]\npub enum {enum_name} {{"
    )
    .expect("a String");
    for m in members {
        writeln!(out, "    {}({}::{}),", short(m), snake(&m.name), m.name).expect("a String");
    }
    writeln!(out, "}}\nimpl {enum_name} {{").expect("a String");
    let mut each = |head: &str, arm: &dyn Fn(&Message) -> String, tail: &str| {
        out.push_str(head);
        for m in members {
            writeln!(out, "            {}", arm(m)).expect("a String");
        }
        out.push_str(tail);
    };
    each(
        "    /// The type's number in the log.\n    pub fn key(&self) -> i16 {\n        match self {\n",
        &|m| format!("{enum_name}::{}(_) => {},", short(m), m.key.unwrap_or(-1)),
        "        }\n    }\n",
    );
    each(
        "    /// The newest version of this type.\n    pub fn newest_version(&self) -> i16 {\n        match self {\n",
        &|m| format!("{enum_name}::{}(_) => {},", short(m), m.versions.last),
        "        }\n    }\n",
    );
    each(
        "    pub fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {\n        match self {\n",
        &|m| format!("{enum_name}::{}(m) => m.encode(out, version),", short(m)),
        "        }\n    }\n",
    );
    each(
        "    /// Reads a record of type `key`; a type that this version does not know is an error.\n    pub fn decode(key: i16, input: &mut Decoder, version: i16) -> Result<Self, DecodeError> {\n        Ok(match key {\n",
        &|m| {
            format!(
                "{} => {enum_name}::{}({}::{}::decode(input, version)?),",
                m.key.unwrap_or(-1),
                short(m),
                snake(&m.name),
                m.name
            )
        },
        &format!(
            "            _ => return Err(DecodeError::Unknown {{ what: \"{enum_name}\", value: i64::from(key) }}),\n        }})\n    }}\n}}\n"
        ),
    );
    write_log_record(out, enum_name);
    for m in members {
        writeln!(
            out,
            "impl From<{0}::{1}> for {enum_name} {{ fn from(m: {0}::{1}) -> Self {{ {enum_name}::{2}(m) }} }}",
            snake(&m.name),
            m.name,
            short(m)
        )
        .expect("a String");
    }
}

/// The trait over all such enums, for the frames around their records.
fn write_log_record(out: &mut String, enum_name: &str) {
    writeln!(out, "impl LogRecord for {enum_name} {{").expect("a String");
    out.push_str("    fn record_type(&self) -> i16 { self.key() }\n");
    out.push_str("    fn newest_version(&self) -> i16 { self.newest_version() }\n");
    out.push_str("    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> { self.encode(out, version) }\n");
    out.push_str(
        "    fn decode(record_type: i16, input: &mut Decoder, version: i16) -> Result<Self, DecodeError> {\n",
    );
    writeln!(out, "        {enum_name}::decode(record_type, input, version)\n    }}\n}}").expect("a String");
}
