//! The voters, and how far each has come (55).
//!
//! Raft counts entries and Kafka counts records; what a voter has is told as the record offset after its last entry.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use protocol::messages::describe_quorum_response::{
    Listener, Node as QuorumNode, PartitionData, ReplicaState, TopicData,
};
use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use protocol::{ErrorCode, Str};
use wire::Context;

use super::fetch::METADATA_TOPIC;
use crate::node::Node;

pub async fn handle(node: Arc<Node>, _cx: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let asked: Vec<i32> =
        request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition_index)).collect();
    let is_known = request.topics.iter().all(|t| t.topic_name == *METADATA_TOPIC) && asked == [0];
    let active = node.active();
    let partition = match (is_known, active.here) {
        (false, _) => refused(ErrorCode::UnknownTopicOrPartition),
        (true, false) => refused(ErrorCode::NotLeaderOrFollower),
        (true, true) => describe(&node, active.epoch),
    };
    let topic = TopicData { topic_name: Str::from_static(METADATA_TOPIC), partitions: vec![partition] };
    DescribeQuorumResponse { topics: vec![topic], nodes: nodes(&node), ..Default::default() }
}

fn refused(code: ErrorCode) -> PartitionData {
    PartitionData { error_code: code.code(), leader_id: -1, leader_epoch: -1, ..Default::default() }
}

fn describe(node: &Node, epoch: i32) -> PartitionData {
    let metrics = node.raft.metrics().borrow_watched().clone();
    let committed = node.publisher.committed();
    let now_ms = node.host.clock().wall_ms();
    let replication = metrics.replication.unwrap_or_default();
    let voters = metrics.membership_config.voter_ids().map(|id| {
        let is_self = id == node.id;
        let matched = replication.get(&id).cloned().flatten().map(|log_id| log_id.index);
        let log_end_offset = match matched {
            _ if is_self => committed.image.end_offset,
            Some(index) => node.publisher.end_offset_of(index),
            None => -1,
        };
        let is_caught_up = is_self || log_end_offset >= committed.image.end_offset;
        ReplicaState {
            replica_id: id.node,
            replica_directory_id: id.directory,
            log_end_offset,
            last_fetch_timestamp: if is_self || matched.is_some() { now_ms } else { -1 },
            last_caught_up_timestamp: if is_caught_up { now_ms } else { -1 },
        }
    });
    PartitionData {
        leader_id: node.id.node,
        leader_epoch: epoch,
        high_watermark: committed.image.end_offset,
        current_voters: voters.collect(),
        ..Default::default()
    }
}

fn nodes(node: &Node) -> Vec<QuorumNode> {
    let membership = node.raft.metrics().borrow_watched().membership_config.clone();
    let listed = membership.nodes().filter_map(|(id, _)| {
        let (host, port) = node.address(id.node)?;
        let listener = Listener { name: Str::from_static("CONTROLLER"), host, port };
        Some(QuorumNode { node_id: id.node, listeners: vec![listener] })
    });
    listed.collect()
}
