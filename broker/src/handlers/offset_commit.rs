//! OffsetCommit (key 8): how far a group has read, by partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{Answer, Commit, Operation as Asked, TopicPartition};
use metadata::{Image, Topic};
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetCommitValue};
use protocol::{ErrorCode, Str, Uuid};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: OffsetCommitRequest,
) -> Reply<OffsetCommitResponse> {
    if !cx.allowed(Operation::Read, Resource::group(&request.group_id)) {
        return Reply::Now(refused(&request, ErrorCode::GroupAuthorizationFailed));
    }
    let image = broker.metadata.current();
    let now_ms = broker.host.clock().wall_ms();
    let expiry_ms = match request.retention_time_ms {
        -1 => -1,
        retention => now_ms.saturating_add(retention),
    };
    let mut gathered = Gathered::default();
    // What goes to the group: the partitions that are there, by their topics as they were asked.
    let mut asking = OffsetCommitRequest::default();
    let mut offsets: Vec<(TopicPartition, OffsetCommitValue)> = Vec::new();
    for asked in &request.topics {
        let all = asked.partitions.iter().map(|partition| partition.partition_index);
        let topic = match resolve(&cx, &image, asked) {
            Ok(topic) => topic,
            Err(error) => {
                gathered.refuse(asked, all.map(|index| told(index, error)).collect());
                continue;
            }
        };
        let mut there = OffsetCommitRequestTopic { partitions: Vec::new(), ..asked.clone() };
        for partition in &asked.partitions {
            let index = partition.partition_index;
            if topic.partition(index).is_none() {
                gathered.refuse(asked, vec![told(index, ErrorCode::UnknownTopicOrPartition)]);
                continue;
            }
            offsets.push(((topic.name.clone(), index), value(partition, topic.id, now_ms, expiry_ms)));
            there.partitions.push(partition.clone());
        }
        if !there.partitions.is_empty() {
            asking.topics.push(there);
        }
    }
    if offsets.is_empty() {
        return Reply::Now(gathered.response());
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
        gathered.commit(answered(&asking, of_group));
        gathered.response()
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

/// What the group says, one code for each partition in their order, or one for all.
fn answered(
    asking: &OffsetCommitRequest,
    of_group: Result<Vec<ErrorCode>, ErrorCode>,
) -> Vec<OffsetCommitResponseTopic> {
    let mut topics = refused(asking, of_group.as_ref().err().copied().unwrap_or(ErrorCode::None)).topics;
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (partition, code) in partitions.zip(of_group.into_iter().flatten()) {
        partition.error_code = code.code();
    }
    topics
}

/// The answer to topics as they were asked, each partition with the same code.
fn refused(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|asked| {
        let partitions = asked.partitions.iter().map(|partition| told(partition.partition_index, error));
        with(asked, partitions.collect())
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn told(partition_index: i32, error: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition { partition_index, error_code: error.code(), ..Default::default() }
}

fn with(
    asked: &OffsetCommitRequestTopic,
    partitions: Vec<OffsetCommitResponsePartition>,
) -> OffsetCommitResponseTopic {
    let (name, topic_id) = (asked.name.clone(), asked.topic_id);
    OffsetCommitResponseTopic { name, topic_id, partitions, ..Default::default() }
}

/// Gathers an answer as Kafka does: first what is refused, a topic that was named twice once; then what the group says, as it
/// was asked where nothing was refused, and else among the same topics.
#[derive(Default)]
struct Gathered {
    topics: Vec<OffsetCommitResponseTopic>,
    /// Where each of them is, by what names it: its name or its id, by the version.
    places: BTreeMap<(Str, Uuid), usize>,
}

impl Gathered {
    fn refuse(&mut self, asked: &OffsetCommitRequestTopic, partitions: Vec<OffsetCommitResponsePartition>) {
        self.add(with(asked, partitions));
    }

    fn add(&mut self, new: OffsetCommitResponseTopic) {
        let place = *self.places.entry((new.name.clone(), new.topic_id)).or_insert(self.topics.len());
        match self.topics.get_mut(place) {
            Some(topic) => topic.partitions.extend(new.partitions),
            None => self.topics.push(new),
        }
    }

    fn commit(&mut self, committed: Vec<OffsetCommitResponseTopic>) {
        if self.topics.is_empty() {
            self.topics = committed;
            return;
        }
        committed.into_iter().for_each(|new| self.add(new));
    }

    fn response(self) -> OffsetCommitResponse {
        OffsetCommitResponse { topics: self.topics, ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> OffsetCommitRequestTopic {
        OffsetCommitRequestTopic { name: name.into(), ..Default::default() }
    }

    fn shape(gathered: Gathered) -> Vec<(String, Vec<(i32, i16)>)> {
        let codes = |topic: &OffsetCommitResponseTopic| {
            topic.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect()
        };
        gathered.topics.iter().map(|topic| (topic.name.to_string(), codes(topic))).collect()
    }

    #[test]
    fn a_topic_that_is_named_twice_stands_once_only_beside_a_refusal() {
        let none = ErrorCode::None;
        let committed =
            || vec![with(&asked("t"), vec![told(1, none)]), with(&asked("t"), vec![told(0, none)])];
        let mut gathered = Gathered::default();
        gathered.commit(committed());
        assert_eq!(shape(gathered), [("t".into(), vec![(1, 0)]), ("t".into(), vec![(0, 0)])]);
        let mut gathered = Gathered::default();
        gathered.refuse(&asked("t"), vec![told(7, ErrorCode::UnknownTopicOrPartition)]);
        gathered.commit(committed());
        assert_eq!(shape(gathered), [("t".into(), vec![(7, 3), (1, 0), (0, 0)])]);
    }

    #[test]
    fn an_unknown_topic_without_partitions_is_answered() {
        let mut gathered = Gathered::default();
        gathered.refuse(&asked("none"), Vec::new());
        gathered.refuse(&asked("none"), vec![told(0, ErrorCode::UnknownTopicOrPartition)]);
        assert_eq!(shape(gathered), [("none".into(), vec![(0, 3)])]);
    }
}
