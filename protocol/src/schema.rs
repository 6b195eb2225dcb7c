//! The schema of every message: a table, read from `schema/kafka-4.3.1.schema`.
//!
//! The build script reads it to generate the typed codec, and `value` reads it at run time to interpret messages
//! dynamically. Two readers of one table: each is the other's oracle.

use std::ops::RangeInclusive;

/// The text of the schema file; its form is described in `import/schema.py`.
pub const TEXT: &str = include_str!("../schema/kafka-4.3.1.schema");

/// The versions at which something exists. `last` is `i16::MAX` for an open end; an empty range has `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { first: 1, last: 0 };

    /// Parses `3-13`, `9+`, `0` or `none`.
    pub fn parse(text: &str) -> Versions {
        let number = |t: &str| t.parse().expect("the schema file is made by the importer");
        if text == "none" {
            Versions::NONE
        } else if let Some(first) = text.strip_suffix('+') {
            Versions { first: number(first), last: i16::MAX }
        } else if let Some((first, last)) = text.split_once('-') {
            Versions { first: number(first), last: number(last) }
        } else {
            Versions { first: number(text), last: number(text) }
        }
    }

    pub fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub fn intersect(self, other: Versions) -> Versions {
        let both = Versions { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    pub fn range(self) -> RangeInclusive<i16> {
        self.first..=self.last
    }
}

/// What a field holds, apart from whether it may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Array(Box<Kind>),
    /// A struct of the same message, by name.
    Struct(String),
}

impl Kind {
    fn parse(text: &str) -> Kind {
        if let Some(element) = text.strip_prefix("[]") {
            return Kind::Array(Box::new(Kind::parse(element)));
        }
        match text {
            "bool" => Kind::Bool,
            "int8" => Kind::Int8,
            "int16" => Kind::Int16,
            "uint16" => Kind::Uint16,
            "int32" => Kind::Int32,
            "uint32" => Kind::Uint32,
            "int64" => Kind::Int64,
            "float64" => Kind::Float64,
            "uuid" => Kind::Uuid,
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            "records" => Kind::Records,
            name => Kind::Struct(name.to_owned()),
        }
    }
}

/// One field of a message or struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Kafka's name, in CamelCase.
    pub name: String,
    pub kind: Kind,
    pub versions: Versions,
    pub nullable: Versions,
    /// The tag and the versions at which the field is tagged.
    pub tag: Option<(u32, Versions)>,
    /// Where the field's own encoding is compact, if it differs from the message's.
    pub flexible: Option<Versions>,
    pub default: Option<String>,
    /// A field that is not ignorable must not be set at a version that lacks it.
    pub ignorable: bool,
    /// The field is (part of) the key of the collection it stands in.
    pub map_key: bool,
    pub entity: Option<String>,
}

impl Field {
    pub fn defaults_to_null(&self) -> bool {
        self.default.as_deref() == Some("null")
    }

    /// Whether the field is written among the tagged ones at `version`.
    pub fn is_tagged(&self, version: i16) -> bool {
        self.tag.is_some_and(|(_, versions)| versions.contains(version))
    }
}

/// A struct: the message itself, one nested in a field, or one that several fields share.
#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

/// One message of the protocol or of an internal log.
#[derive(Clone, Debug)]
pub struct Message {
    pub name: String,
    /// request, response, header, data, metadata, coordinator-key or coordinator-value.
    pub category: String,
    pub key: Option<i16>,
    /// Whose log a record belongs to: metadata, group-coordinator, transaction-coordinator, share-coordinator, storage.
    pub family: Option<String>,
    pub versions: Versions,
    pub flexible: Versions,
    /// The newest version is not finished: it is not offered to clients.
    pub unstable: bool,
    pub listeners: Vec<String>,
    /// The message's own struct comes first.
    pub structs: Vec<Struct>,
}

impl Message {
    pub fn root(&self) -> &Struct {
        &self.structs[0]
    }

    pub fn find(&self, name: &str) -> &Struct {
        self.structs.iter().find(|s| s.name == name).expect("the importer keeps messages whole")
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible.contains(version)
    }
}

/// Reads the whole table. Panics on a malformed file: it is part of the program.
pub fn parse(text: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    // The structs whose fields are being read, by depth: (depth of its fields, index in `structs`).
    let mut open: Vec<(usize, usize)> = Vec::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "message" {
            messages.push(message_line(&words));
            open = vec![(1, 0)];
            continue;
        }
        let message = messages.last_mut().expect("a message line comes first");
        if words[0] == "struct" && depth == 1 {
            let versions = Versions::parse(words[2]).intersect(message.versions);
            message.structs.push(Struct { name: words[1].to_owned(), versions, fields: Vec::new() });
            open = vec![(1, 0), (2, message.structs.len() - 1)];
            continue;
        }
        while open.last().expect("the root stays open").0 > depth {
            open.pop();
        }
        let (at, owner) = *open.last().expect("the root stays open");
        if depth > at {
            // The first field of a nested struct: the field above names it.
            let parent = message.structs[owner].fields.last().expect("a field opened this depth");
            let (name, versions) = (struct_name(&parent.kind), parent.versions);
            message.structs.push(Struct { name, versions, fields: Vec::new() });
            open.push((depth, message.structs.len() - 1));
        }
        let owner = open.last().expect("just pushed").1;
        let field = field_line(&words, message.structs[owner].versions);
        message.structs[owner].fields.push(field);
    }
    messages
}

fn struct_name(kind: &Kind) -> String {
    match kind {
        Kind::Struct(name) => name.clone(),
        Kind::Array(element) => struct_name(element),
        other => panic!("{other:?} has no fields"),
    }
}

fn message_line(words: &[&str]) -> Message {
    let mut m = Message {
        name: words[1].to_owned(),
        category: words[2].to_owned(),
        key: None,
        family: None,
        versions: Versions::NONE,
        flexible: Versions::NONE,
        unstable: false,
        listeners: Vec::new(),
        structs: Vec::new(),
    };
    for word in &words[3..] {
        match word.split_once('=') {
            Some(("key", n)) => m.key = n.parse().ok(),
            Some(("family", f)) => m.family = Some(f.to_owned()),
            Some(("versions", v)) => m.versions = Versions::parse(v),
            Some(("flexible", v)) => m.flexible = Versions::parse(v),
            Some(("listeners", l)) => m.listeners = l.split(',').map(str::to_owned).collect(),
            Some(("deprecated", _)) => {}
            None if *word == "unstable" => m.unstable = true,
            _ => panic!("an unknown word in the schema: {word}"),
        }
    }
    m.structs.push(Struct { name: m.name.clone(), versions: m.versions, fields: Vec::new() });
    m
}

fn field_line(words: &[&str], owner: Versions) -> Field {
    let mut f = Field {
        name: words[0].to_owned(),
        kind: Kind::parse(words[1]),
        versions: Versions::parse(words[2]).intersect(owner),
        nullable: Versions::NONE,
        tag: None,
        flexible: None,
        default: None,
        ignorable: false,
        map_key: false,
        entity: None,
    };
    for word in &words[3..] {
        match word.split_once('=') {
            Some(("null", v)) => f.nullable = Versions::parse(v),
            Some(("tag", t)) => {
                let (tag, versions) = t.split_once(':').expect("tag=N:RANGE");
                f.tag = Some((tag.parse().expect("a number"), Versions::parse(versions)));
            }
            Some(("flexible", v)) => f.flexible = Some(Versions::parse(v)),
            Some(("default", d)) => f.default = Some(d.to_owned()),
            Some(("entity", e)) => f.entity = Some(e.to_owned()),
            None if *word == "ignorable" => f.ignorable = true,
            None if *word == "key" => f.map_key = true,
            None if *word == "nocopy" => {}
            _ => panic!("an unknown word in the schema: {word}"),
        }
    }
    f
}
