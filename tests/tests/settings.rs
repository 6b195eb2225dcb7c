//! Which settings have an effect is not a matter of memory: the list of those that have none follows from the sources.
//!
//! A name has an effect if it stands as a literal in code that is not a test, or if it is the default of a topic's or a
//! group's setting that does. `WEIR_WRITE=1 cargo test -p tests --test settings` writes the list anew.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use protocol::config::{self, Definitions};
use tests::process::root;

const LIST: &str = "protocol/schema/configs-without-effect.txt";
const CRATES: &[&str] = &["broker", "controller", "storage", "tools", "host", "protocol/wire"];

/// Every literal of the crates' sources that could be a name.
fn literals(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory of the tree") {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["tests", "target", "golden"].contains(&name.as_str()) {
                literals(&path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().expect("at least one part");
            found.extend(code.split('"').filter(|part| part.len() < 80).map(str::to_owned));
        }
    }
}

fn without_effect() -> String {
    let mut used = BTreeSet::new();
    CRATES.iter().for_each(|name| literals(&root().join(name), &mut used));
    assert!(used.contains("process.roles"), "the sources were read");
    let topic: BTreeSet<&str> =
        config::topic().iter().map(|d| d.name).filter(|n| used.contains(*n)).collect();
    let of_topics = topic.iter().flat_map(|name| config::topic_synonyms(name)).map(|s| s.name.to_owned());
    let of_groups = config::group().iter().filter(|d| used.contains(d.name));
    let of_groups = of_groups.filter_map(|d| config::group_synonym(d.name)).map(str::to_owned);
    let with_defaults: BTreeSet<String> = used.iter().cloned().chain(of_topics).chain(of_groups).collect();
    let mut text = String::from(
        "# Settings of Kafka 4.3.1 that Weir knows (type, range, default) and does not act upon yet.\n\
         # Written by the test tests/tests/settings.rs from the sources; do not edit.\n",
    );
    let sections: [(&str, &Definitions); 4] = [
        ("server", config::server()),
        ("topic", config::topic()),
        ("group", config::group()),
        ("client-metrics", config::client_metrics()),
    ];
    for (section, definitions) in sections {
        writeln!(text, "[{section}]").unwrap();
        let without = definitions.iter().filter(|d| !d.internal && !with_defaults.contains(d.name));
        without.for_each(|d| writeln!(text, "{}", d.name).unwrap());
    }
    text
}

#[test]
fn the_list_of_settings_without_effect_is_what_the_sources_say() {
    let (path, expected) = (root().join(LIST), without_effect());
    if std::env::var_os("WEIR_WRITE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        listed == expected,
        "{LIST} is out of date: run `WEIR_WRITE=1 cargo test -p tests --test settings`"
    );
}
