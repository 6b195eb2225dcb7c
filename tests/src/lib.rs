//! What the tests of whole nodes and clusters stand on; nothing here is shipped.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // Tests drive real processes from outside.

pub mod group_sim;
pub mod history;
pub mod kafka;
pub mod member;
pub mod process;
pub mod sim;
