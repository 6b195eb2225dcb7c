//! The handlers of the controller listener, one file per API.
//!
//! **Invariant:** a handler that changes metadata decides nothing by itself: it hands the request to the writer, and puts
//! a failure of the whole operation into the shape that the API's answer has for it.

pub mod add_raft_voter;
pub mod allocate_producer_ids;
pub mod alter_configs;
pub mod alter_partition;
pub mod alter_partition_reassignments;
pub mod api_versions;
pub mod assign_replicas_to_dirs;
pub mod broker_heartbeat;
pub mod broker_registration;
pub mod controller_registration;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_quorum;
pub mod elect_leaders;
pub mod envelope;
pub mod fetch;
pub mod fetch_snapshot;
pub mod incremental_alter_configs;
pub mod list_partition_reassignments;
pub mod remove_raft_voter;
pub mod unregister_broker;
pub mod update_features;
pub mod update_raft_voter;
