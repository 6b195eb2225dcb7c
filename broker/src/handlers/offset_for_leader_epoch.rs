//! OffsetForLeaderEpoch (key 23, KIP-101, KIP-320): where an epoch of the leader's log ends, so that a reader sees whether
//! its own log, or its position, still fits.

use std::sync::Arc;

use metadata::Image;
use protocol::ErrorCode;
use protocol::ids::PartitionId;
use protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: OffsetForLeaderEpochRequest,
) -> Reply<OffsetForLeaderEpochResponse> {
    let image = broker.metadata.current();
    let is_broker = cx.allowed(Operation::ClusterAction, Resource::CLUSTER);
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in &request.topics {
        let is_allowed = is_broker || cx.allowed(Operation::Describe, Resource::topic(&topic.topic));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let found = match is_allowed {
                true => find(&broker, &image, &topic.topic, asked).await,
                false => Err(ErrorCode::TopicAuthorizationFailed),
            };
            let refused = |error: ErrorCode| EpochEndOffset {
                error_code: error.code(),
                partition: asked.partition,
                ..Default::default()
            };
            partitions.push(found.unwrap_or_else(refused));
        }
        response.topics.push(OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions,
            ..Default::default()
        });
    }
    Reply::Now(response)
}

async fn find(
    broker: &Broker,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let known = image.topics.by_name(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    known.partition(asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = PartitionId { topic_id: known.id, partition: asked.partition };
    let partition = broker.replicas.find(id).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let end = partition.end_of_epoch(asked.leader_epoch, asked.current_leader_epoch).await;
    let mut answer = EpochEndOffset { partition: asked.partition, ..Default::default() };
    // An epoch that the log never had: -1 for both, and no error.
    if let Some((leader_epoch, end_offset)) = end.map_err(|error| error.code())? {
        (answer.leader_epoch, answer.end_offset) = (leader_epoch, end_offset.0);
    }
    Ok(answer)
}
