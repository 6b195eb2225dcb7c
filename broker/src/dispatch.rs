//! The table: every API that a broker serves, in which versions, and by which handler. ApiVersions is derived from it.
//!
//! Versions are all stable ones of Kafka 4.3.1 (`ApiKey::stable_versions`); authorization is asked for inside the handlers,
//! by resource. Rows marked *forward* are decided by the controller: their file tells what an answer is when there is no
//! controller, and when the answer's effect has reached this broker.

use protocol::ApiKey;
use wire::{Api, Table};

use crate::broker::Broker;
use crate::handlers::*;

/// All rows of the broker's listeners.
pub fn table() -> Table<Broker> {
    Table::new([
        Api::new(produce::handle),
        Api::new(fetch::handle),
        Api::new(list_offsets::handle),
        Api::new(metadata::handle),
        Api::new(offset_commit::handle),
        Api::new(offset_fetch::handle),
        Api::new(find_coordinator::handle),
        Api::new(join_group::handle),
        Api::new(heartbeat::handle),
        Api::new(leave_group::handle),
        Api::new(sync_group::handle),
        Api::new(describe_groups::handle),
        Api::new(list_groups::handle),
        Api::new(api_versions::handle),
        Api::raw(ApiKey::CreateTopics, create_topics::forward),
        Api::raw(ApiKey::DeleteTopics, delete_topics::forward),
        Api::new(delete_records::handle),
        Api::new(init_producer_id::handle),
        Api::new(offset_for_leader_epoch::handle),
        Api::new(describe_acls::handle),
        Api::new(create_acls::handle),
        Api::new(delete_acls::handle),
        Api::new(describe_configs::handle),
        Api::raw(ApiKey::AlterConfigs, alter_configs::forward),
        Api::new(describe_log_dirs::handle),
        Api::raw(ApiKey::CreatePartitions, create_partitions::forward),
        Api::new(delete_groups::handle),
        Api::raw(ApiKey::ElectLeaders, elect_leaders::forward),
        Api::raw(ApiKey::IncrementalAlterConfigs, incremental_alter_configs::forward),
        Api::raw(ApiKey::AlterPartitionReassignments, alter_partition_reassignments::forward),
        Api::raw(ApiKey::ListPartitionReassignments, list_partition_reassignments::forward),
        Api::new(offset_delete::handle),
        Api::raw(ApiKey::DescribeQuorum, describe_quorum::forward),
        Api::raw(ApiKey::UpdateFeatures, update_features::forward),
        Api::new(describe_cluster::handle),
        Api::new(describe_producers::handle),
        Api::raw(ApiKey::UnregisterBroker, unregister_broker::forward),
        Api::new(get_telemetry_subscriptions::handle),
        Api::new(push_telemetry::handle),
        Api::new(list_config_resources::handle),
        Api::new(consumer_group_heartbeat::handle),
        Api::new(consumer_group_describe::handle),
        Api::new(describe_topic_partitions::handle),
        Api::raw(ApiKey::AddRaftVoter, add_raft_voter::forward),
        Api::raw(ApiKey::RemoveRaftVoter, remove_raft_voter::forward),
    ])
}
