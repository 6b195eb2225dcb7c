//! Brokers follow the metadata log (1): committed batches, with a long poll at the end.
//!
//! **Invariant:** only the active controller answers with records, and only with committed ones; a broker never has to
//! truncate. Who is behind the log is told which snapshot to take.

use std::sync::Arc;
use std::time::Duration;

use protocol::ids::METADATA_TOPIC;
use protocol::messages::fetch_request::FetchPartition;
use protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData, SnapshotId,
};
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::{Chunk, ErrorCode, Records, Str, Uuid, bounds};
use wire::Context;

use crate::node::Node;
use crate::publisher::Read;

pub async fn handle(node: Arc<Node>, cx: Context, request: FetchRequest) -> FetchResponse {
    let cluster_id = node.cluster_id.to_string();
    if request.cluster_id.as_ref().is_some_and(|id| *id != *cluster_id) {
        return FetchResponse { error_code: ErrorCode::InconsistentClusterId.code(), ..Default::default() };
    }
    let [topic] = &request.topics[..] else { return invalid() };
    let [partition] = &topic.partitions[..] else { return invalid() };
    let is_metadata = match cx.version {
        ..=12 => topic.topic == *METADATA_TOPIC,
        _ => topic.topic_id == Uuid::METADATA_TOPIC,
    };
    if !is_metadata || partition.partition != 0 {
        return answer(&node, &topic.topic, topic.topic_id, refused(ErrorCode::UnknownTopicOrPartition));
    }
    let data = fetch(&node, partition, &request).await;
    answer(&node, &topic.topic, topic.topic_id, data)
}

fn invalid() -> FetchResponse {
    FetchResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() }
}

fn refused(code: ErrorCode) -> PartitionData {
    PartitionData {
        error_code: code.code(),
        high_watermark: -1,
        records: Some(Records::default()),
        ..Default::default()
    }
}

fn answer(node: &Node, topic: &Str, topic_id: Uuid, data: PartitionData) -> FetchResponse {
    let active = node.active();
    let leader_id = active.node_id.unwrap_or(-1);
    let current_leader = LeaderIdAndEpoch { leader_id, leader_epoch: active.epoch };
    let endpoint = node.address(leader_id).map(|(host, port)| NodeEndpoint {
        node_id: leader_id,
        host,
        port: port.into(),
        ..Default::default()
    });
    let partition = PartitionData { partition_index: 0, current_leader, ..data };
    let response = FetchableTopicResponse { topic: topic.clone(), topic_id, partitions: vec![partition] };
    FetchResponse {
        responses: vec![response],
        node_endpoints: endpoint.into_iter().collect(),
        ..Default::default()
    }
}

async fn fetch(node: &Node, partition: &FetchPartition, request: &FetchRequest) -> PartitionData {
    let active = node.active();
    if !active.here {
        return refused(ErrorCode::NotLeaderOrFollower);
    }
    match partition.current_leader_epoch {
        known if known >= 0 && known < active.epoch => return refused(ErrorCode::FencedLeaderEpoch),
        known if known > active.epoch => return refused(ErrorCode::UnknownLeaderEpoch),
        _ => {}
    }
    wait(node, partition.fetch_offset, request.max_wait_ms).await;
    if node.active() != active {
        return refused(ErrorCode::NotLeaderOrFollower);
    }
    let asked = request.max_bytes.min(partition.partition_max_bytes);
    let bytes_max = usize::try_from(asked).unwrap_or(0).min(bounds::CONTROLLER_FETCH_BYTES_MAX);
    let read = node.publisher.read(partition.fetch_offset, partition.last_fetched_epoch, bytes_max);
    let end_offset = node.publisher.committed().image.end_offset;
    let data = PartitionData {
        high_watermark: end_offset,
        last_stable_offset: end_offset,
        log_start_offset: node.publisher.log_start_offset(),
        records: Some(Records::default()),
        ..Default::default()
    };
    match read {
        Read::Batches(batches) => {
            let chunks: Vec<Chunk> = batches.into_iter().map(Chunk::Bytes).collect();
            PartitionData { records: Some(Records::from(chunks)), ..data }
        }
        Read::Checkpoint { end_offset, epoch } => {
            PartitionData { snapshot_id: SnapshotId { end_offset, epoch }, ..data }
        }
        Read::Diverging { epoch, end_offset } => {
            PartitionData { diverging_epoch: EpochEndOffset { epoch, end_offset }, ..data }
        }
        Read::OutOfRange => PartitionData { error_code: ErrorCode::OffsetOutOfRange.code(), ..data },
    }
}

/// Until there is something after `offset`, this is not the active controller any more, or the time is up.
async fn wait(node: &Node, offset: i64, max_wait_ms: i32) {
    let limit =
        Duration::from_millis(u64::try_from(max_wait_ms).unwrap_or(0)).min(bounds::CONTROLLER_FETCH_WAIT_MAX);
    let (mut committed, mut active) = (node.publisher.watch(), node.active.clone());
    let arrives = async {
        tokio::select! {
            biased;
            _ = committed.wait_for(|c| c.image.end_offset > offset) => {}
            _ = active.wait_for(|active| !active.here) => {}
        }
    };
    // Cancellation is safe: nothing is taken by waiting. Whether the time was up is seen by reading.
    let _ = node.host.clock().timeout(limit, arrives).await;
}
