//! Kafka's frameworks, unmodified, on one node of Weir. See `README.md` beside this file.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod connect;
mod mirror;
mod program;
mod streams;
