//! Generates the typed codec of every message from the schema table, into `OUT_DIR/messages.rs`.
//!
//! One struct per struct of the schema, one encode and one decode function each, with `if version >= ..` inside: compile
//! time grows with the number of functions and derives, not with the number of versions.
#![allow(clippy::disallowed_methods)] // A build script runs on the builder's machine: it has files.

#[allow(dead_code, unreachable_pub)]
#[path = "src/schema.rs"]
mod schema;

#[path = "build/api_keys.rs"]
#[allow(unreachable_pub)]
mod api_keys;
#[path = "build/names.rs"]
#[allow(unreachable_pub)]
mod names;
#[path = "build/structs.rs"]
#[allow(unreachable_pub)]
mod structs;

use std::fmt::Write;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=schema/kafka-4.3.1.schema");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/schema.rs");
    let messages = schema::parse(schema::TEXT);
    let mut out = String::new();
    for message in messages.iter().filter(|m| !m.versions.is_empty()) {
        let module = names::snake(&message.name);
        let kind = &message.category;
        writeln!(out, "/// The {kind} `{}`.\npub mod {module} {{\nuse super::prelude::*;\n", message.name)
            .expect("a String");
        for s in &message.structs {
            structs::write(&mut out, message, s);
        }
        structs::write_message_impl(&mut out, message);
        writeln!(out, "}}\npub use {module}::{};\n", message.name).expect("a String");
    }
    api_keys::write_records(&mut out, &messages);
    api_keys::write_list(&mut out, &messages);
    let dir = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&dir).join("messages.rs"), out).expect("OUT_DIR can be written");
    let mut keys = String::new();
    api_keys::write(&mut keys, &messages);
    std::fs::write(Path::new(&dir).join("api_keys.rs"), keys).expect("OUT_DIR can be written");
}
