//! OffsetCommit (key 8): how far a group has read, by partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{Answer, Commit, Operation as Asked, TopicPartition};
use metadata::{Image, Topic};
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetCommitValue};
use protocol::{ErrorCode, Uuid};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: OffsetCommitRequest,
) -> Reply<OffsetCommitResponse> {
    if !cx.allowed(Operation::Read, Resource::group(&request.group_id)) {
        return Reply::Now(told(&request, |_, _| ErrorCode::GroupAuthorizationFailed));
    }
    let image = broker.metadata.current();
    let now_ms = broker.host.clock().wall_ms();
    let expiry_ms = match request.retention_time_ms {
        -1 => -1,
        retention => now_ms.saturating_add(retention),
    };
    // A code for each partition by its place, where it is known without asking the group.
    let mut codes: BTreeMap<(usize, usize), ErrorCode> = BTreeMap::new();
    let mut places = Vec::new();
    let mut offsets: Vec<(TopicPartition, OffsetCommitValue)> = Vec::new();
    for (at, asked) in request.topics.iter().enumerate() {
        let topic = resolve(&cx, &image, asked);
        for (index, partition) in asked.partitions.iter().enumerate() {
            let known = topic.as_ref().map_err(|error| *error).and_then(|topic| {
                let is_there = topic.partition(partition.partition_index).is_some();
                if is_there { Ok(topic) } else { Err(ErrorCode::UnknownTopicOrPartition) }
            });
            match known {
                Ok(topic) => {
                    places.push((at, index));
                    let key = (topic.name.clone(), partition.partition_index);
                    offsets.push((key, value(partition, topic.id, now_ms, expiry_ms)));
                }
                Err(error) => drop(codes.insert((at, index), error)),
            }
        }
    }
    if offsets.is_empty() {
        return Reply::Now(told(&request, |at, index| codes[&(at, index)]));
    }
    let commit = Commit {
        version: cx.version,
        group: request.group_id.clone(),
        member_id: request.member_id.clone(),
        instance_id: request.group_instance_id.clone(),
        generation: request.generation_id_or_member_epoch,
        offsets,
    };
    let answer = broker.groups.submit(&request.group_id, Asked::Commit(commit));
    Reply::later(async move {
        let committed = match answer {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        let of_group = match committed {
            Ok(Answer::Commit(result)) => result,
            Ok(other) => unreachable!("a commit is answered with {other:?}"),
            Err(error) => Err(error),
        };
        for (nth, place) in places.into_iter().enumerate() {
            let code = of_group.as_ref().map_or_else(|error| *error, |codes| codes[nth]);
            codes.insert(place, code);
        }
        told(&request, |at, index| codes[&(at, index)])
    })
}

fn resolve<'a>(
    cx: &Context,
    image: &'a Image,
    asked: &OffsetCommitRequestTopic,
) -> Result<&'a Arc<Topic>, ErrorCode> {
    let by_id = cx.version >= 10;
    let found = if by_id { image.topics.by_id(asked.topic_id) } else { image.topics.by_name(&asked.name) };
    if by_id && found.is_none() {
        return Err(ErrorCode::UnknownTopicId);
    }
    let name = found.map_or(&asked.name, |topic| &topic.name);
    if !cx.allowed(Operation::Read, Resource::topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    found.ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn value(
    partition: &OffsetCommitRequestPartition,
    topic_id: Uuid,
    now_ms: i64,
    expiry_ms: i64,
) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.clone().unwrap_or_default(),
        commit_timestamp: now_ms,
        expire_timestamp: expiry_ms,
        topic_id,
        ..Default::default()
    }
}

/// The answer, with a code for each topic and partition by their places in the request.
fn told(request: &OffsetCommitRequest, code: impl Fn(usize, usize) -> ErrorCode) -> OffsetCommitResponse {
    let topic = |(at, asked): (usize, &OffsetCommitRequestTopic)| OffsetCommitResponseTopic {
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        partitions: asked
            .partitions
            .iter()
            .enumerate()
            .map(|(index, partition)| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code(at, index).code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    // Kafka gathers codes by topic: one without partitions is not answered.
    let asked = request.topics.iter().enumerate().filter(|(_, topic)| !topic.partitions.is_empty());
    OffsetCommitResponse { topics: asked.map(topic).collect(), ..Default::default() }
}
