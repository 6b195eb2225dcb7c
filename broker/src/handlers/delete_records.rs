//! DeleteRecords (key 21, KIP-107): forgets what lies below an offset.
//!
//! The answer tells the low watermark: the smallest log start of the replicas. A partition with followers is answered when
//! they have followed, which is not before they fetch.

use std::sync::Arc;

use metadata::Image;
use protocol::ErrorCode;
use protocol::ids::PartitionId;
use protocol::messages::delete_records_request::DeleteRecordsPartition;
use protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;
use crate::{deleted_files, topic_view};

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DeleteRecordsRequest,
) -> Reply<DeleteRecordsResponse> {
    let image = broker.metadata.current();
    let mut response = DeleteRecordsResponse::default();
    for topic in &request.topics {
        let checked = check(&cx, &image, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let deleted = match checked {
                Ok(()) => delete(&broker, &image, &topic.name, asked).await,
                Err(error) => Err(error),
            };
            let (low_watermark, error) = match deleted {
                Ok(low_watermark) => (low_watermark, ErrorCode::None),
                Err(error) => (-1, error),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code: error.code(),
                ..Default::default()
            });
        }
        response.topics.push(DeleteRecordsTopicResult {
            name: topic.name.clone(),
            partitions,
            ..Default::default()
        });
    }
    Reply::Now(response)
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
    asked: &DeleteRecordsPartition,
) -> Result<i64, ErrorCode> {
    let known = image.topics.by_name(topic).filter(|topic| topic.partition(asked.partition_index).is_some());
    let known = known.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = PartitionId { topic_id: known.id, partition: asked.partition_index };
    let partition = broker.replicas.find(id).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let settings = partition.settings(image, &broker.config.server, broker.config.node_id);
    if settings.retention.is_none() {
        // What is compacted only is kept by key: to cut it short would be to lose keys.
        return Err(ErrorCode::PolicyViolation);
    }
    let low_watermark = partition.delete_records(asked.offset).await.map_err(|error| error.code())?;
    deleted_files::remove_later(&broker.host, &broker.log_dirs, &partition, settings.file_delete_delay);
    let has_followers = known.partition(asked.partition_index).is_some_and(|p| p.replicas.len() > 1);
    if has_followers { Err(ErrorCode::RequestTimedOut) } else { Ok(low_watermark.0) }
}
