//! The table: every API that a broker serves, in which versions, and by which handler. ApiVersions is derived from it.
//!
//! Versions are all stable ones of Kafka 4.3.1 (`ApiKey::stable_versions`); authorization is asked for inside the handlers,
//! by resource. Rows marked *forward* are decided by the controller: their file tells what an answer is when there is no
//! controller, and when the answer's effect has reached this broker.

use protocol::ApiKey;
use wire::{Api, Table};

use crate::broker::Broker;
use crate::handlers::{
    api_versions, create_topics, delete_topics, describe_cluster, fetch, init_producer_id, list_offsets,
    metadata, produce,
};

/// All rows of the broker's listeners.
pub fn table() -> Table<Broker> {
    Table::new([
        Api::new(produce::handle),
        Api::new(fetch::handle),
        Api::new(list_offsets::handle),
        Api::new(metadata::handle),
        Api::new(api_versions::handle),
        Api::raw(ApiKey::CreateTopics, create_topics::forward),
        Api::raw(ApiKey::DeleteTopics, delete_topics::forward),
        Api::new(init_producer_id::handle),
        Api::new(describe_cluster::handle),
    ])
}
