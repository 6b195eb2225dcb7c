//! The voters, and how far each has come (55).
//!
//! Raft counts entries and Kafka counts records; what a voter has is told as the record offset after its last entry.

use std::sync::Arc;

use metadata::features::KRAFT_VERSION;
use openraft::async_runtime::WatchReceiver as _;
use protocol::messages::describe_quorum_response::{
    Listener, Node as QuorumNode, PartitionData, ReplicaState, TopicData,
};
use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::Context;

use super::fetch::METADATA_TOPIC;
use crate::node::Node;

/// The first version that tells directories, nodes and words of errors.
const WITH_NODES_FROM: i16 = 2;

pub async fn handle(node: Arc<Node>, cx: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let with_nodes = cx.version >= WITH_NODES_FROM;
    let is_known = match request.topics.as_slice() {
        [topic] if topic.topic_name == *METADATA_TOPIC => {
            matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == 0)
        }
        _ => false,
    };
    if !is_known {
        return unknown(&request, with_nodes);
    }
    let active = node.active();
    let partition = match active.here {
        true => describe(&node, active.epoch, with_nodes),
        false => PartitionData {
            error_code: ErrorCode::NotLeaderOrFollower.code(),
            leader_id: -1,
            leader_epoch: -1,
            ..Default::default()
        },
    };
    let topic = TopicData { topic_name: Str::from_static(METADATA_TOPIC), partitions: vec![partition] };
    let nodes = if with_nodes { nodes(&node) } else { Vec::new() };
    DescribeQuorumResponse { topics: vec![topic], nodes, ..Default::default() }
}

/// What was asked for, each with the same error: the metadata log has one partition, and nothing else may be named beside it.
fn unknown(request: &DescribeQuorumRequest, with_message: bool) -> DescribeQuorumResponse {
    let message = "This server does not host this topic-partition.";
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| PartitionData {
            partition_index: partition.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            error_message: Some(if with_message { Str::from_static(message) } else { Str::default() }),
            ..Default::default()
        });
        TopicData { topic_name: topic.topic_name.clone(), partitions: partitions.collect() }
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}

fn describe(node: &Node, epoch: i32, with_directories: bool) -> PartitionData {
    let metrics = node.raft.metrics().borrow_watched().clone();
    let committed = node.publisher.committed();
    let now_ms = node.host.clock().wall_ms();
    let has_directories = with_directories && committed.image.features.level(KRAFT_VERSION) > 0;
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
            // With the static voters of kraft.version 0 Kafka tells none.
            replica_directory_id: if has_directories { id.directory } else { Uuid::ZERO },
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
