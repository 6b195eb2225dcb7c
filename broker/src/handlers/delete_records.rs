//! DeleteRecords (key 21, KIP-107): forgets what lies below an offset.
//!
//! The answer tells the low watermark: the smallest log start of the replicas that live. It is given when they have followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host::Instant;
use metadata::Image;
use protocol::ids::{Offset, PartitionId};
use protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use protocol::{ErrorCode, Str, bounds};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;
use crate::partition::{Partition, Role};
use crate::{deleted_files, topic_view};

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DeleteRecordsRequest,
) -> Reply<DeleteRecordsResponse> {
    let image = broker.metadata.current();
    let mut response = DeleteRecordsResponse::default();
    let mut waiting = Vec::new();
    for (at, (name, asked)) in by_partition(&request).into_iter().enumerate() {
        let checked = check(&cx, &image, name);
        let mut partitions = Vec::with_capacity(asked.len());
        for (partition_index, offset) in asked {
            let deleted = match checked {
                Ok(()) => delete(&broker, &image, name, (partition_index, offset)).await,
                Err(error) => Err(error),
            };
            let (low_watermark, error) = match deleted {
                Ok((partition, start)) => {
                    waiting.push(((at, partitions.len()), partition, start));
                    (start.0, ErrorCode::None)
                }
                Err(error) => (-1, error),
            };
            let error_code = error.code();
            let result = DeleteRecordsPartitionResult {
                partition_index,
                low_watermark,
                error_code,
                ..Default::default()
            };
            partitions.push(result);
        }
        let name = name.clone();
        response.topics.push(DeleteRecordsTopicResult { name, partitions, ..Default::default() });
    }
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = broker.host.clock().now() + limit.min(bounds::CLIENT_WAIT_MAX);
    Reply::later(async move {
        for ((topic, at), partition, start) in waiting {
            let answer = &mut response.topics[topic].partitions[at];
            match followed(&broker, &partition, start, deadline).await {
                Ok(low_watermark) => answer.low_watermark = low_watermark.0,
                Err(error) => (answer.low_watermark, answer.error_code) = (-1, error.code()),
            }
        }
        response
    })
}

/// What is asked of each partition. Of one that is named twice the last offset counts, and a topic without partitions is not
/// answered, as in Kafka.
fn by_partition(request: &DeleteRecordsRequest) -> BTreeMap<&Str, BTreeMap<i32, i64>> {
    let mut topics: BTreeMap<&Str, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let offsets = topics.entry(&topic.name).or_default();
        offsets.extend(topic.partitions.iter().map(|asked| (asked.partition_index, asked.offset)));
    }
    topics
}

/// Waits until every replica that lives begins at `start` or later; returns the smallest log start.
async fn followed(
    broker: &Broker,
    partition: &Partition,
    start: Offset,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    loop {
        // Begun before it is looked, so that what moves in between is not missed.
        let moved = partition.log_start_moved();
        let image = broker.metadata.current();
        let low_watermark = partition.low_watermark(|id| image.cluster.is_active(id));
        if low_watermark >= start {
            return Ok(low_watermark);
        }
        if partition.role() != Role::Leader {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if broker.host.clock().timeout_at(deadline, moved).await.is_err() {
            return Err(ErrorCode::RequestTimedOut);
        }
    }
}

fn check(cx: &Context, image: &Image, topic: &str) -> Result<(), ErrorCode> {
    if !cx.allowed(Operation::Delete, Resource::topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    match image.topics.by_name(topic) {
        None => Err(ErrorCode::UnknownTopicOrPartition),
        Some(_) if topic_view::is_internal(topic) => Err(ErrorCode::InvalidTopicException),
        Some(_) => Ok(()),
    }
}

async fn delete(
    broker: &Broker,
    image: &Image,
    topic: &str,
    (index, offset): (i32, i64),
) -> Result<(Arc<Partition>, Offset), ErrorCode> {
    let known = image.topics.by_name(topic).filter(|topic| topic.partition(index).is_some());
    let known = known.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = PartitionId { topic_id: known.id, partition: index };
    let partition = broker.replicas.find(id).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let settings = partition.settings(image, &broker.config.server, broker.config.node_id);
    if settings.retention.is_none() {
        // What is compacted only is kept by key: to cut it short would be to lose keys.
        return Err(ErrorCode::PolicyViolation);
    }
    let start = partition.delete_records(offset).await.map_err(|error| error.code())?;
    deleted_files::remove_later(&broker.host, &broker.log_dirs, &partition, settings.file_delete_delay);
    Ok((partition, start))
}
