//! Kafka's configs as facts: name, type, default, what is valid, what can change while running.
//!
//! ```text
//! schema/configs-4.3.1.table --table--> Definitions (server, topic, group, ...) --parse--> Configs: typed values
//! ```
//! The table is written by `import/Configs.java` from the jars of Kafka 4.3.1 and read once, on first use; our own names
//! stand in `schema/configs-weir.table`. What a value does is not here.
//!
//! Invariant: every default in the tables is valid by its own definition (a test reads them all).
//!
//! Files: `definition` what is known about one name; `value` typed values, parsing and checks; `table` reading the tables;
//! `configs` a set of values with typed access, and how topic and group configs follow the server's; `endpoints` listeners
//! and voters, which are lists with a grammar of their own.

mod configs;
mod definition;
mod endpoints;
mod table;
mod value;

pub use configs::{Configs, group_default, topic_default};
pub use definition::{Check, Default, Definition, Importance, Mode, Type};
pub use endpoints::{
    DirectoryVoter, Endpoint, EndpointError, SecurityProtocol, SecurityProtocols, parse_addresses,
    parse_directory_voters, parse_listeners, parse_voters,
};
pub use table::{
    Definitions, Synonym, broker_quota, client_metrics, group, group_synonym, ip, is_without_effect, server,
    topic, topic_synonyms, user,
};
pub use value::{ConfigError, Value};
