//! What a follower asks its leader: Fetch for many partitions, and ListOffsets where one is outside of the leader's log.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::ids::{Offset, PartitionId};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest};
use protocol::{ApiKey, ErrorCode, Str, Uuid};
use wire::client::{CallError, Node};

use super::{Followed, Surroundings};
use crate::partition::Position;

/// In ListOffsets.
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;

/// A partition in a request.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) followed: Followed,
    pub(super) position: Position,
}

/// Why there is nothing to take over.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the leader answers {0}")]
    Refused(ErrorCode),
    #[error("the leader's answer is not one")]
    Malformed,
}

fn millis(surroundings: &Surroundings, name: &str) -> Duration {
    Duration::from_millis(u64::from(surroundings.server.int(name).unsigned_abs()))
}

/// How long an answer may take beyond the wait that was asked for.
pub(super) fn call_timeout(surroundings: &Surroundings) -> Duration {
    millis(surroundings, "replica.socket.timeout.ms")
}

/// Fetches; waits at the leader at most `replica.fetch.wait.max.ms` and at most `limit`. Returns what was answered, and
/// whether there may have been more than an answer takes.
pub(super) async fn fetch(
    surroundings: &Surroundings,
    node: &Node,
    asked: &[Asked],
    limit: Duration,
) -> Result<(Vec<(Asked, PartitionData)>, bool), NoAnswer> {
    let wait = millis(surroundings, "replica.fetch.wait.max.ms").min(limit);
    let session = node.session().await?;
    let mut request = request(surroundings, asked, wait);
    let (replica_id, replica_epoch) = surroundings.link.registration();
    // One place for it or the other, by the version.
    if session.version(ApiKey::Fetch)? >= 15 {
        request.replica_state = ReplicaState { replica_id, replica_epoch, ..Default::default() };
    } else {
        request.replica_id = replica_id;
    }
    let answer = session.call_within(wait + call_timeout(surroundings), &request).await?;
    let bytes_max = i64::from(request.max_bytes);
    answers(asked, answer).map(|answers| {
        let bytes: u64 = answers.iter().filter_map(|(_, d)| d.records.as_ref()).map(|r| r.len()).sum();
        (answers, i64::try_from(bytes).is_ok_and(|bytes| bytes >= bytes_max / 2))
    })
}

fn request(surroundings: &Surroundings, asked: &[Asked], wait: Duration) -> FetchRequest {
    let server = &surroundings.server;
    let mut topics: Vec<FetchTopic> = Vec::new();
    for Asked { followed, position } in asked {
        let id = followed.partition.id;
        let partition = FetchPartition {
            partition: id.partition,
            current_leader_epoch: followed.leader_epoch,
            fetch_offset: position.offset.0,
            last_fetched_epoch: position.last_epoch,
            log_start_offset: position.log_start.0,
            partition_max_bytes: server.int("replica.fetch.max.bytes"),
            ..Default::default()
        };
        match topics.last_mut().filter(|topic| topic.topic_id == id.topic_id) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: followed.partition.topic.clone(),
                topic_id: id.topic_id,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: server.int("replica.fetch.min.bytes"),
        max_bytes: server.int("replica.fetch.response.max.bytes"),
        // No session: every request names all partitions.
        session_epoch: -1,
        topics,
        ..Default::default()
    }
}

fn answers(asked: &[Asked], answer: FetchResponse) -> Result<Vec<(Asked, PartitionData)>, NoAnswer> {
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => {}
        error => return Err(NoAnswer::Refused(error)),
    }
    let by_id: BTreeMap<PartitionId, &Asked> = asked.iter().map(|a| (a.followed.partition.id, a)).collect();
    // Versions below 13 tell names.
    let by_name: BTreeMap<&Str, Uuid> =
        asked.iter().map(|a| (&a.followed.partition.topic, a.followed.partition.id.topic_id)).collect();
    let mut found = Vec::new();
    for topic in answer.responses {
        let named = by_name.get(&topic.topic).copied();
        let topic_id = named.filter(|_| topic.topic_id == Uuid::ZERO).unwrap_or(topic.topic_id);
        for data in topic.partitions {
            let id = PartitionId { topic_id, partition: data.partition_index };
            // What was not asked for is not taken.
            if let Some(asked) = by_id.get(&id) {
                found.push(((*asked).clone(), data));
            }
        }
    }
    Ok(found)
}

/// An offset of the leader's log, by name.
pub(super) async fn offset(
    surroundings: &Surroundings,
    node: &Node,
    followed: &Followed,
    timestamp: i64,
) -> Result<Offset, NoAnswer> {
    let partition = ListOffsetsPartition {
        partition_index: followed.partition.id.partition,
        current_leader_epoch: followed.leader_epoch,
        timestamp,
        ..Default::default()
    };
    let topic = ListOffsetsTopic {
        name: followed.partition.topic.clone(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request =
        ListOffsetsRequest { replica_id: surroundings.node_id, topics: vec![topic], ..Default::default() };
    let answer = node.call(&request).await?;
    let told = answer.topics.first().and_then(|topic| topic.partitions.first()).ok_or(NoAnswer::Malformed)?;
    match ErrorCode::from_code(told.error_code) {
        ErrorCode::None if told.offset >= 0 => Ok(Offset(told.offset)),
        ErrorCode::None => Err(NoAnswer::Malformed),
        error => Err(NoAnswer::Refused(error)),
    }
}
