//! Reading the tables of definitions.
//!
//! ```text
//! [server]                                                    a section: server, topic, group, client-metrics, user, ip, broker-quota
//! NAME TYPE high|medium|low public|internal MODE DEFAULT CHECK
//!      MODE     read-only | per-broker | cluster-wide | -
//!      DEFAULT  required | null | =TEXT
//!      CHECK    - | range:MIN..MAX | in:A,B | in-ignore-case:A,B | list[-not-empty][-or-null]:A,B | not-empty | not-null | ...
//! [topic-synonyms]
//! NAME SERVER-NAME[*FACTOR] ...                               the first that is not null is the topic's default
//! [group-synonyms]
//! NAME SERVER-NAME
//! ```
//! A table that does not follow this is a mistake in the tree, found by the first test: reading panics.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::definition::{Check, Default, Definition, Importance, Mode, Type};

const KAFKA: &str = include_str!("../../schema/configs-4.3.1.table");
const WEIR: &str = include_str!("../../schema/configs-weir.table");
const WITHOUT_EFFECT: &str = include_str!("../../schema/configs-without-effect.txt");

/// The names of one kind of resource, in order.
#[derive(Debug, Default)]
pub struct Definitions {
    by_name: BTreeMap<&'static str, Definition>,
}

impl Definitions {
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.by_name.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.by_name.values()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// A server config from which the default of a topic config follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// What a value of `name` is multiplied with: 3,600,000 for hours where the topic counts milliseconds.
    pub factor: i64,
}

#[derive(Debug, Default)]
struct Tables {
    sections: BTreeMap<&'static str, Definitions>,
    topic_synonyms: BTreeMap<&'static str, Vec<Synonym>>,
    group_synonyms: BTreeMap<&'static str, &'static str>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables::default();
    tables.read(KAFKA);
    tables.read(WEIR);
    tables
});

/// `server.properties`, and the configs of broker resources.
pub fn server() -> &'static Definitions {
    section("server")
}

/// Configs of topics.
pub fn topic() -> &'static Definitions {
    section("topic")
}

/// Configs of groups (KIP-848, KIP-932, KIP-1071).
pub fn group() -> &'static Definitions {
    section("group")
}

/// Configs of client metrics subscriptions (KIP-714).
pub fn client_metrics() -> &'static Definitions {
    section("client-metrics")
}

/// Quotas of users and clients, and SCRAM credentials.
pub fn user() -> &'static Definitions {
    section("user")
}

/// Quotas of addresses.
pub fn ip() -> &'static Definitions {
    section("ip")
}

/// Throttles of a broker, which exist as dynamic configs only.
pub fn broker_quota() -> &'static Definitions {
    section("broker-quota")
}

/// Whether a server config is known and not acted upon yet.
pub fn is_without_effect(name: &str) -> bool {
    let server = WITHOUT_EFFECT.split("\n[").find(|section| section.starts_with("server]"));
    server.is_some_and(|section| section.lines().any(|line| line == name))
}

/// The server configs that a topic config's default follows, the first that is set before the others.
pub fn topic_synonyms(name: &str) -> &'static [Synonym] {
    TABLES.topic_synonyms.get(name).map_or(&[], Vec::as_slice)
}

/// The server config that a group config's default follows.
pub fn group_synonym(name: &str) -> Option<&'static str> {
    TABLES.group_synonyms.get(name).copied()
}

fn section(name: &'static str) -> &'static Definitions {
    TABLES.sections.get(name).expect("the tables have this section")
}

impl Tables {
    fn read(&mut self, text: &'static str) {
        let mut section = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
                continue;
            }
            let mut words = line.split(' ');
            let name = words.next().expect("a line is not empty");
            match section {
                "topic-synonyms" => {
                    self.topic_synonyms.insert(name, words.map(synonym).collect());
                }
                "group-synonyms" => {
                    let server_name = words.next().expect("a group config follows one of the server");
                    self.group_synonyms.insert(name, server_name);
                }
                _ => {
                    let definition = definition(name, words.collect());
                    let former = self.sections.entry(section).or_default().by_name.insert(name, definition);
                    assert!(former.is_none(), "{name} stands in the tables twice");
                }
            }
        }
    }
}

fn synonym(word: &'static str) -> Synonym {
    let (name, factor) = word.split_once('*').unwrap_or((word, "1"));
    Synonym { name, factor: factor.parse().expect("a factor is a number") }
}

fn definition(name: &'static str, words: Vec<&'static str>) -> Definition {
    let [kind, importance, visibility, mode, default, check] = words[..] else {
        panic!("{name} has {} facts in the table of configs, not 6", words.len());
    };
    Definition {
        name,
        kind: kind_of(kind),
        importance: match importance {
            "high" => Importance::High,
            "medium" => Importance::Medium,
            "low" => Importance::Low,
            other => panic!("{name}: {other}"),
        },
        internal: visibility == "internal",
        mode: match mode {
            "read-only" | "-" => Mode::ReadOnly,
            "per-broker" => Mode::PerBroker,
            "cluster-wide" => Mode::ClusterWide,
            other => panic!("{name}: {other}"),
        },
        default: match default.strip_prefix('=') {
            Some(text) => Default::Text(text),
            None if default == "required" => Default::Required,
            None => Default::Null,
        },
        check: check_of(check),
    }
}

fn kind_of(word: &str) -> Type {
    match word {
        "boolean" => Type::Boolean,
        "string" => Type::String,
        "int" => Type::Int,
        "short" => Type::Short,
        "long" => Type::Long,
        "double" => Type::Double,
        "list" => Type::List,
        "class" => Type::Class,
        "password" => Type::Password,
        other => panic!("unknown type of a config: {other}"),
    }
}

fn check_of(word: &'static str) -> Check {
    let (word, items) = word.split_once(':').unwrap_or((word, ""));
    match word {
        // Null is a default, never a value that somebody gives: the second does not matter here.
        "-" | "not-null" => Check::Any,
        "range" => {
            let (min, max) = items.split_once("..").expect("a range has two ends");
            let end =
                |text: &str| (!text.is_empty()).then(|| text.parse().expect("an end of a range is a number"));
            Check::Range { min: end(min), max: end(max) }
        }
        "in" => Check::OneOf(items),
        "in-ignore-case" => Check::OneOfIgnoringCase(items),
        "list" | "list-or-null" => Check::List { items, may_be_empty: true },
        "list-not-empty" | "list-not-empty-or-null" => Check::List { items, may_be_empty: false },
        "not-empty" => Check::NotEmpty,
        "gzip-level" => Check::GzipLevel,
        "throttled-replicas" => Check::ThrottledReplicas,
        "voters" => Check::Voters,
        "bootstrap-servers" => Check::BootstrapServers,
        "offset-reset" => Check::OffsetReset,
        other => panic!("unknown check of a config: {other}"),
    }
}
