//! The voters, and how far each has come (55).
//!
//! Raft counts entries and Kafka counts records; what a voter has is told as the record offset after its last entry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metadata::features::KRAFT_VERSION;
use protocol::ids::METADATA_TOPIC;
use protocol::messages::describe_quorum_response::{
    Listener, Node as QuorumNode, PartitionData, ReplicaState, TopicData,
};
use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::Context;

use crate::node::Node;
use crate::publisher::Committed;
use crate::raft::types::{Metrics, RaftId};
use crate::voters::silence;

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
    let metrics = node.metrics();
    let committed = node.publisher.committed();
    let has_directories = with_directories && committed.image.features.level(KRAFT_VERSION) > 0;
    let membership = metrics.membership_config.membership();
    let end_offset = committed.image.end_offset;
    let state = |id: RaftId, has_directory: bool| ReplicaState {
        // With the static voters of kraft.version 0 Kafka tells none.
        replica_directory_id: if has_directory { id.directory } else { Uuid::ZERO },
        ..replica(node, &metrics, id, end_offset)
    };
    let learners = membership.learner_ids().map(|id| state(id, with_directories));
    let mut observers: Vec<ReplicaState> = learners.collect();
    let are_members: BTreeSet<i32> = membership.nodes().map(|(id, _)| id.node).collect();
    observers.extend(
        brokers(node, &committed, with_directories)
            .filter(|broker| !are_members.contains(&broker.replica_id)),
    );
    PartitionData {
        leader_id: node.id.node,
        leader_epoch: epoch,
        high_watermark: end_offset,
        current_voters: membership.voter_ids().map(|id| state(id, has_directories)).collect(),
        observers,
        ..Default::default()
    }
}

/// How far a member has come, and when it last said so.
fn replica(node: &Node, metrics: &Metrics, id: RaftId, end_offset: i64) -> ReplicaState {
    let now_ms = node.host.clock().wall_ms();
    let is_self = id == node.id;
    let replication = metrics.replication.as_ref();
    let matched = replication.and_then(|r| r.get(&id).copied().flatten()).map(|log_id| log_id.index);
    let log_end_offset = match matched {
        _ if is_self => end_offset,
        Some(index) => node.publisher.end_offset_of(index),
        None => -1,
    };
    let silence = silence(metrics, &id).and_then(|silence| i64::try_from(silence.as_millis()).ok());
    let heard_ms = if is_self { now_ms } else { silence.map_or(-1, |silence| now_ms - silence) };
    ReplicaState {
        replica_id: id.node,
        log_end_offset,
        last_fetch_timestamp: heard_ms,
        last_caught_up_timestamp: if log_end_offset >= end_offset { heard_ms } else { -1 },
        ..Default::default()
    }
}

/// Brokers follow the log too: as far as their heartbeats say.
fn brokers(node: &Node, committed: &Committed, with_directories: bool) -> impl Iterator<Item = ReplicaState> {
    let clock = node.host.clock();
    let (now, now_ms, end_offset) = (clock.now(), clock.wall_ms(), committed.image.end_offset);
    let followers: Vec<(i32, i64, Duration)> = node.liveness().followers(now).collect();
    let cluster = committed.image.cluster.clone();
    followers.into_iter().map(move |(id, last_offset, silence)| {
        let first_dir = cluster.broker(id).and_then(|broker| broker.log_dirs.first().copied());
        let heard_ms = now_ms - i64::try_from(silence.as_millis()).unwrap_or(now_ms);
        ReplicaState {
            replica_id: id,
            replica_directory_id: first_dir.filter(|_| with_directories).unwrap_or_default(),
            log_end_offset: last_offset + 1,
            last_fetch_timestamp: heard_ms,
            last_caught_up_timestamp: if last_offset + 1 >= end_offset { heard_ms } else { -1 },
            ..Default::default()
        }
    })
}

/// Where the voters listen; and the observers, which Kafka does not tell: who is to be added can be found by its id alone.
fn nodes(node: &Node) -> Vec<QuorumNode> {
    let metrics = node.metrics();
    let membership = metrics.membership_config.membership();
    let ids: BTreeSet<i32> = membership.nodes().map(|(id, _)| id.node).collect();
    let listed = ids.into_iter().filter_map(|id| {
        let (host, port) = node.address(id)?;
        let listener = Listener { name: node.listener_name.clone(), host, port };
        Some(QuorumNode { node_id: id, listeners: vec![listener] })
    });
    listed.collect()
}
