//! DescribeProducers (key 61, KIP-664): who has written to a partition, and which transactions are open.

use std::sync::Arc;

use metadata::{Image, topic_name};
use protocol::ErrorCode;
use protocol::Str;
use protocol::ids::PartitionId;
use protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DescribeProducersRequest,
) -> Reply<DescribeProducersResponse> {
    let image = broker.metadata.current();
    let mut response = DescribeProducersResponse::default();
    for topic in &request.topics {
        let checked = check(&cx, &image, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            let found = match &checked {
                Ok(()) => find(&broker, &image, &topic.name, *index).await,
                Err(refusal) => Err(refusal.clone()),
            };
            let mut answer = PartitionResponse { partition_index: *index, ..Default::default() };
            match found {
                Ok(active_producers) => answer.active_producers = active_producers,
                Err((error, message)) => {
                    answer.error_code = error.code();
                    answer.error_message = message.map(Str::from);
                }
            }
            partitions.push(answer);
        }
        response.topics.push(TopicResponse { name: topic.name.clone(), partitions, ..Default::default() });
    }
    Reply::Now(response)
}

type Refusal = (ErrorCode, Option<String>);

fn check(cx: &Context, image: &Image, topic: &str) -> Result<(), Refusal> {
    topic_name::check(topic).map_err(|why| (ErrorCode::InvalidTopicException, Some(why)))?;
    if !cx.allowed(Operation::Read, Resource::topic(topic)) {
        let message = "Topic authorization failed.".to_owned();
        return Err((ErrorCode::TopicAuthorizationFailed, Some(message)));
    }
    match image.topics.by_name(topic) {
        Some(_) => Ok(()),
        None => {
            let message = "This server does not host this topic-partition.".to_owned();
            Err((ErrorCode::UnknownTopicOrPartition, Some(message)))
        }
    }
}

async fn find(
    broker: &Broker,
    image: &Image,
    topic: &str,
    index: i32,
) -> Result<Vec<ProducerState>, Refusal> {
    let known = image.topics.by_name(topic).filter(|topic| topic.partition(index).is_some());
    let known = known.ok_or((ErrorCode::UnknownTopicOrPartition, None))?;
    let id = PartitionId { topic_id: known.id, partition: index };
    let partition = broker.replicas.find(id).ok_or((ErrorCode::NotLeaderOrFollower, None))?;
    let producers = partition.producers().await.map_err(|error| (error.code(), None))?;
    let state = |(id, producer): (i64, storage::Producer)| ProducerState {
        producer_id: id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence(),
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_first_offset.unwrap_or(-1),
    };
    Ok(producers.into_iter().map(state).collect())
}
