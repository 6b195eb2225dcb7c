//! What a follower asks its leader: Fetch for many partitions, and ListOffsets where one is outside of the leader's log.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::ids::{Offset, PartitionId};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest};
use wire::client::{CallError, Node};

use super::session::{FetchSession, Saying, Wanted};
use super::{Followed, Surroundings};
use crate::fetch_sessions::INITIAL_EPOCH;
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

impl Asked {
    fn id(&self) -> PartitionId {
        self.followed.partition.id
    }

    fn wanted(&self) -> (PartitionId, Wanted) {
        let Asked { followed, position } = self;
        let wanted = Wanted {
            leader_epoch: followed.leader_epoch,
            offset: position.offset.0,
            last_epoch: position.last_epoch,
            log_start: position.log_start.0,
        };
        (self.id(), wanted)
    }
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
    /// A full request makes another one.
    #[error("the leader has lost the session: {0}")]
    SessionLost(ErrorCode),
}

fn millis(surroundings: &Surroundings, name: &str) -> Duration {
    Duration::from_millis(u64::from(surroundings.server.int(name).unsigned_abs()))
}

/// How long an answer may take beyond the wait that was asked for.
pub(super) fn call_timeout(surroundings: &Surroundings) -> Duration {
    millis(surroundings, "replica.socket.timeout.ms")
}

/// Fetches what is asked, which is sorted by id; waits at the leader at most `replica.fetch.wait.max.ms` and at most `limit`.
///
/// Cancellation is safe: the session begins anew with the next request.
pub(super) async fn fetch(
    surroundings: &Surroundings,
    node: &Node,
    session: &mut FetchSession,
    asked: &[Asked],
    limit: Duration,
) -> Result<Vec<(Asked, PartitionData)>, NoAnswer> {
    let wait = millis(surroundings, "replica.fetch.wait.max.ms").min(limit);
    let wanted: Vec<_> = asked.iter().map(Asked::wanted).collect();
    let saying = session.next(&wanted);
    let epoch = saying.session_epoch;
    let request = request(surroundings, &wanted, saying, wait);
    let line = node.session().await?;
    let answer = line.call_within(wait + call_timeout(surroundings), &request).await?;
    let all = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let bytes: u64 = all.filter_map(|data| data.records.as_ref()).map(|records| records.len()).sum();
    session.answered(epoch, &answer, bytes >= u64::from(request.max_bytes.unsigned_abs()) / 2);
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(answers(asked, answer)),
        error @ (ErrorCode::FetchSessionIdNotFound
        | ErrorCode::InvalidFetchSessionEpoch
        | ErrorCode::FetchSessionTopicIdError)
            if epoch != INITIAL_EPOCH =>
        {
            Err(NoAnswer::SessionLost(error))
        }
        error => Err(NoAnswer::Refused(error)),
    }
}

fn request(
    surroundings: &Surroundings,
    wanted: &[(PartitionId, Wanted)],
    saying: Saying,
    wait: Duration,
) -> FetchRequest {
    let server = &surroundings.server;
    let partition_max_bytes = server.int("replica.fetch.max.bytes");
    let mut topics: Vec<FetchTopic> = Vec::new();
    for place in saying.named {
        let (id, wanted) = wanted[place];
        let partition = FetchPartition {
            partition: id.partition,
            current_leader_epoch: wanted.leader_epoch,
            fetch_offset: wanted.offset,
            last_fetched_epoch: wanted.last_epoch,
            log_start_offset: wanted.log_start,
            partition_max_bytes,
            ..Default::default()
        };
        match topics.last_mut().filter(|topic| topic.topic_id == id.topic_id) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic_id: id.topic_id,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    let forgotten = saying.forgotten.into_iter().map(|(topic_id, partitions)| ForgottenTopic {
        topic_id,
        partitions,
        ..Default::default()
    });
    let (replica_id, replica_epoch) = surroundings.link.registration();
    FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: server.int("replica.fetch.min.bytes"),
        max_bytes: server.int("replica.fetch.response.max.bytes"),
        session_id: saying.session_id,
        session_epoch: saying.session_epoch,
        topics,
        forgotten_topics_data: forgotten.collect(),
        replica_state: ReplicaState { replica_id, replica_epoch, ..Default::default() },
        ..Default::default()
    }
}

fn answers(asked: &[Asked], answer: FetchResponse) -> Vec<(Asked, PartitionData)> {
    let mut found = Vec::new();
    for topic in answer.responses {
        for data in topic.partitions {
            let id = PartitionId { topic_id: topic.topic_id, partition: data.partition_index };
            // What was not asked for is not taken.
            if let Ok(at) = asked.binary_search_by_key(&id, Asked::id) {
                found.push((asked[at].clone(), data));
            }
        }
    }
    found
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
