//! OffsetDelete (key 47, KIP-496): forgets how far a group had read.

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked, TopicPartition};
use protocol::ErrorCode;
use protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: OffsetDeleteRequest,
) -> Reply<OffsetDeleteResponse> {
    let failed = |error: ErrorCode| OffsetDeleteResponse { error_code: error.code(), ..Default::default() };
    if !cx.allowed(Operation::Delete, Resource::group(&request.group_id)) {
        return Reply::Now(failed(ErrorCode::GroupAuthorizationFailed));
    }
    let image = broker.metadata.current();
    let refusal = |topic: &OffsetDeleteRequestTopic, partition: i32| {
        if !cx.allowed(Operation::Read, Resource::topic(&topic.name)) {
            return Some(ErrorCode::TopicAuthorizationFailed);
        }
        let known = image.topics.by_name(&topic.name).and_then(|known| known.partition(partition));
        known.is_none().then_some(ErrorCode::UnknownTopicOrPartition)
    };
    let mut response = OffsetDeleteResponse::default();
    let mut places = Vec::new();
    let mut partitions: Vec<TopicPartition> = Vec::new();
    for (at, topic) in request.topics.iter().enumerate() {
        let mut told = Vec::with_capacity(topic.partitions.len());
        for (index, asked) in topic.partitions.iter().enumerate() {
            let error = refusal(topic, asked.partition_index);
            if error.is_none() {
                places.push((at, index));
                partitions.push((topic.name.clone(), asked.partition_index));
            }
            told.push(OffsetDeleteResponsePartition {
                partition_index: asked.partition_index,
                error_code: error.unwrap_or(ErrorCode::None).code(),
                ..Default::default()
            });
        }
        response.topics.push(OffsetDeleteResponseTopic {
            name: topic.name.clone(),
            partitions: told,
            ..Default::default()
        });
    }
    let group = request.group_id;
    let answer = broker.groups.submit(&group, Asked::DeleteOffsets { group: group.clone(), partitions });
    Reply::later(async move {
        let deleted = match answer {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(Answer::DeleteOffsets(Ok(codes))) => {
                for ((at, index), code) in places.into_iter().zip(codes) {
                    response.topics[at].partitions[index].error_code = code.code();
                }
                response
            }
            Ok(Answer::DeleteOffsets(Err(error))) | Err(error) => failed(error),
            Ok(other) => unreachable!("a deletion of offsets is answered with {other:?}"),
        }
    })
}
