//! A broker that is behind the metadata log takes its checkpoint, piece by piece (59).

use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::METADATA_TOPIC;
use protocol::messages::fetch_snapshot_request::PartitionSnapshot as Asked;
use protocol::messages::fetch_snapshot_response::{LeaderIdAndEpoch, PartitionSnapshot, TopicSnapshot};
use protocol::messages::{FetchSnapshotRequest, FetchSnapshotResponse};
use protocol::{ErrorCode, Records, Str, bounds};
use wire::Context;

use crate::node::Node;

pub async fn handle(node: Arc<Node>, _cx: Context, request: FetchSnapshotRequest) -> FetchSnapshotResponse {
    let cluster_id = node.cluster_id.to_string();
    if request.cluster_id.as_ref().is_some_and(|id| *id != *cluster_id) {
        return FetchSnapshotResponse {
            error_code: ErrorCode::InconsistentClusterId.code(),
            ..Default::default()
        };
    }
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(bounds::CONTROLLER_FETCH_BYTES_MAX);
    let [topic] = &request.topics[..] else { return invalid() };
    let [asked] = &topic.partitions[..] else { return invalid() };
    let found = if topic.name == *METADATA_TOPIC && asked.partition == 0 {
        piece(&node, asked, bytes_max)
    } else {
        Err(ErrorCode::UnknownTopicOrPartition)
    };
    let active = node.active();
    let leader_id = active.node_id.unwrap_or(-1);
    let partition = PartitionSnapshot {
        index: asked.partition,
        current_leader: LeaderIdAndEpoch { leader_id, leader_epoch: active.epoch },
        ..found.unwrap_or_else(|code| PartitionSnapshot { error_code: code.code(), ..Default::default() })
    };
    let topic = TopicSnapshot { name: Str::from_static(METADATA_TOPIC), partitions: vec![partition] };
    FetchSnapshotResponse { topics: vec![topic], ..Default::default() }
}

fn invalid() -> FetchSnapshotResponse {
    FetchSnapshotResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() }
}

fn piece(node: &Node, asked: &Asked, bytes_max: usize) -> Result<PartitionSnapshot, ErrorCode> {
    if !node.active().here {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let checkpoint = node.publisher.checkpoint().ok_or(ErrorCode::SnapshotNotFound)?;
    let id = &asked.snapshot_id;
    if (id.end_offset, id.epoch) != (checkpoint.end_offset, checkpoint.epoch) {
        return Err(ErrorCode::SnapshotNotFound);
    }
    let all: Bytes = checkpoint.bytes;
    let position = usize::try_from(asked.position)
        .ok()
        .filter(|p| *p < all.len())
        .ok_or(ErrorCode::PositionOutOfRange)?;
    let end = all.len().min(position + bytes_max.max(1));
    Ok(PartitionSnapshot {
        snapshot_id: protocol::messages::fetch_snapshot_response::SnapshotId {
            end_offset: checkpoint.end_offset,
            epoch: checkpoint.epoch,
        },
        size: all.len() as i64,
        position: asked.position,
        unaligned_records: Records::from(all.slice(position..end)),
        ..Default::default()
    })
}
