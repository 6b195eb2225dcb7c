//! OffsetFetch (key 9): how far groups had read. Until version 7 a request names one group, then a list (KIP-709); from
//! version 10 on topics go by id.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{Answer, Fetch, Fetched, Operation as Asked, TopicPartition};
use metadata::Image;
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::{BoxFuture, Context, Operation, Reply, Resource};

use crate::broker::Broker;

type Answered = BoxFuture<'static, Result<Answer, ErrorCode>>;

/// One group's part of the answer, on its way.
struct Waiting {
    group: OffsetFetchRequestGroup,
    /// What is known without asking the group: topics that may not be seen, or have no such id.
    refused: Vec<(Str, Uuid, Vec<i32>, ErrorCode)>,
    /// The others as they were asked, each with the number of its partitions.
    asked: Vec<(Str, Uuid, usize)>,
    answer: Result<Answered, ErrorCode>,
}

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: OffsetFetchRequest,
) -> Reply<OffsetFetchResponse> {
    let image = broker.metadata.current();
    let groups = if cx.version >= 8 { request.groups.clone() } else { vec![as_group(&request)] };
    let waiting: Vec<Waiting> =
        groups.into_iter().map(|group| ask(&broker, &cx, &image, group, request.require_stable)).collect();
    Reply::later(async move {
        let mut told = Vec::with_capacity(waiting.len());
        for one in waiting {
            told.push(tell(&cx, &image, one).await);
        }
        match cx.version {
            8.. => OffsetFetchResponse { groups: told, ..Default::default() },
            _ => as_one(told.pop().expect("one group was asked for")),
        }
    })
}

/// The form of version 8 for a request of an earlier one.
fn as_group(request: &OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.as_ref().map(|topics| {
        let one = |topic: &protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics {
                name: topic.name.clone(),
                partition_indexes: topic.partition_indexes.clone(),
                ..Default::default()
            }
        };
        topics.iter().map(one).collect()
    });
    OffsetFetchRequestGroup { group_id: request.group_id.clone(), topics, ..Default::default() }
}

fn ask(
    broker: &Broker,
    cx: &Context,
    image: &Image,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> Waiting {
    let (mut refused, mut asked) = (Vec::new(), Vec::new());
    if !cx.allowed(Operation::Describe, Resource::group(&group.group_id)) {
        return Waiting { group, refused, asked, answer: Err(ErrorCode::GroupAuthorizationFailed) };
    }
    let mut partitions = group.topics.as_ref().map(|_| Vec::new());
    for topic in group.topics.iter().flatten() {
        let by_id = cx.version >= 10;
        let name = match by_id {
            true => image.topics.by_id(topic.topic_id).map(|known| known.name.clone()),
            false => Some(topic.name.clone()),
        };
        let error = match &name {
            None => Some(ErrorCode::UnknownTopicId),
            Some(name) if !cx.allowed(Operation::Describe, Resource::topic(name)) => {
                Some(ErrorCode::TopicAuthorizationFailed)
            }
            Some(_) => None,
        };
        match (error, name) {
            (None, Some(name)) => {
                let indexes = topic.partition_indexes.iter().map(|index| (name.clone(), *index));
                partitions.get_or_insert_default().extend(indexes);
                asked.push((name, topic.topic_id, topic.partition_indexes.len()));
            }
            (error, _) => {
                let error = error.unwrap_or(ErrorCode::UnknownTopicId);
                let indexes = topic.partition_indexes.clone();
                refused.push((topic.name.clone(), topic.topic_id, indexes, error));
            }
        }
    }
    // An administrator names no member.
    let names_itself = group.member_id.is_some() || group.member_epoch >= 0;
    let member = names_itself.then(|| (group.member_id.clone().unwrap_or_default(), group.member_epoch));
    let fetch = Fetch { group: group.group_id.clone(), member, partitions, require_stable };
    let answer = broker.groups.submit(&group.group_id, Asked::Fetch(fetch));
    let answer = answer.map(|answer| Box::pin(answer) as Answered);
    Waiting { group, refused, asked, answer }
}

async fn tell(cx: &Context, image: &Image, waiting: Waiting) -> OffsetFetchResponseGroup {
    let answer = match waiting.answer {
        Ok(answer) => answer.await,
        Err(error) => Err(error),
    };
    let mut response =
        OffsetFetchResponseGroup { group_id: waiting.group.group_id.clone(), ..Default::default() };
    let fetched = match answer {
        Ok(Answer::Fetch(fetched)) => fetched,
        Ok(other) => unreachable!("a fetch of offsets is answered with {other:?}"),
        Err(error) => Err(error),
    };
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) if cx.version < 2 => {
            // Version 1 has no other place for an error than the partitions.
            let all = waiting.group.topics.iter().flatten();
            let refused = all.map(|t| (t.name.clone(), t.topic_id, t.partition_indexes.clone(), error));
            response.topics = refused.map(refused_topic).collect();
            return response;
        }
        Err(error) => {
            response.error_code = error.code();
            return response;
        }
    };
    if waiting.group.topics.is_none() {
        response.topics = all_topics(cx, image, fetched);
        return response;
    }
    let mut fetched = fetched.into_iter().map(told);
    for (name, topic_id, count) in waiting.asked {
        let partitions = fetched.by_ref().take(count).collect();
        response.topics.push(OffsetFetchResponseTopics { name, topic_id, partitions, ..Default::default() });
    }
    response.topics.extend(waiting.refused.into_iter().map(refused_topic));
    response
}

/// Who asked for all learns nothing of what is not theirs; a topic that is gone has no id to be told by.
fn all_topics(cx: &Context, image: &Image, fetched: Vec<Fetched>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: BTreeMap<Str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for one in fetched {
        let ((topic, _), partition) = (one.partition.clone(), told(one));
        topics.entry(topic).or_default().push(partition);
    }
    let mut all = Vec::with_capacity(topics.len());
    for (name, partitions) in topics {
        let id = image.topics.by_name(&name).map(|topic| topic.id);
        let is_hidden = !cx.allowed(Operation::Describe, Resource::topic(&name));
        if is_hidden || (cx.version >= 10 && id.is_none()) {
            continue;
        }
        let topic_id = id.unwrap_or(Uuid::ZERO);
        all.push(OffsetFetchResponseTopics { name, topic_id, partitions, ..Default::default() });
    }
    all
}

fn nothing((_, partition): &TopicPartition) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: *partition,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::default()),
        ..Default::default()
    }
}

fn told(fetched: Fetched) -> OffsetFetchResponsePartitions {
    let nothing = nothing(&fetched.partition);
    match fetched.committed {
        Ok(None) => nothing,
        Ok(Some(committed)) => OffsetFetchResponsePartitions {
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata),
            ..nothing
        },
        Err(error) => OffsetFetchResponsePartitions { error_code: error.code(), ..nothing },
    }
}

fn refused_topic(
    (name, topic_id, indexes, error): (Str, Uuid, Vec<i32>, ErrorCode),
) -> OffsetFetchResponseTopics {
    let partition = |index: i32| OffsetFetchResponsePartitions {
        error_code: error.code(),
        ..nothing(&(Str::default(), index))
    };
    let partitions = indexes.into_iter().map(partition).collect();
    OffsetFetchResponseTopics { name, topic_id, partitions, ..Default::default() }
}

/// The form of the versions below 8.
fn as_one(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        error_code: p.error_code,
        ..Default::default()
    };
    let topic = |t: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: t.name,
        partitions: t.partitions.into_iter().map(partition).collect(),
        ..Default::default()
    };
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}
