//! ListOffsets (key 2): offsets by time, and those that have a name.
//!
//! ```text
//!   -1 latest   -2 earliest   -3 largest timestamp (7+)   -4 earliest on this disk (8+)
//!   -5 last in tiered storage (9+)   -6 first not yet in tiered storage (11+)     0 and more: a time in ms
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metadata::Image;
use protocol::ids::PartitionId;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;
use crate::partition::{OffsetError, OffsetQuery};
use crate::waiters::Isolation;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// What a timestamp of a request means.
enum Wanted {
    Log(OffsetQuery),
    /// A place in tiered storage, of which there is none.
    Tiered,
}

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: ListOffsetsRequest,
) -> Reply<ListOffsetsResponse> {
    if !(0..=1).contains(&request.isolation_level) {
        return Reply::Now(refused_all(&request, ErrorCode::UnknownServerError));
    }
    let image = broker.metadata.current();
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if !seen.insert((topic.name.clone(), partition.partition_index)) {
                twice.insert((topic.name.clone(), partition.partition_index));
            }
        }
    }
    let mut response = ListOffsetsResponse::default();
    // What was asked twice is refused once, and a topic that is named twice is answered once.
    let mut told_twice = BTreeSet::new();
    let mut places: BTreeMap<Str, usize> = BTreeMap::new();
    for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            let is_twice = twice.contains(&key);
            if is_twice && !told_twice.insert(key) {
                continue;
            }
            let found = if is_twice {
                Err(ErrorCode::InvalidRequest)
            } else {
                let reader = (request.replica_id, request.isolation_level);
                find(&broker, &cx, &image, (topic, partition), reader).await
            };
            partitions.push(found.unwrap_or_else(|error| refused(partition, error)));
        }
        let name = topic.name.clone();
        match places.get(&name) {
            Some(place) => response.topics[*place].partitions.extend(partitions),
            None if partitions.is_empty() => {}
            None => {
                places.insert(name.clone(), response.topics.len());
                response.topics.push(ListOffsetsTopicResponse { name, partitions, ..Default::default() });
            }
        }
    }
    Reply::Now(response)
}

fn refused(asked: &ListOffsetsPartition, error: ErrorCode) -> ListOffsetsPartitionResponse {
    let (partition_index, error_code) = (asked.partition_index, error.code());
    ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() }
}

/// The request as it was asked, and nothing of it done.
fn refused_all(request: &ListOffsetsRequest, error: ErrorCode) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name.clone(),
        partitions: topic.partitions.iter().map(|asked| refused(asked, error)).collect(),
        ..Default::default()
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

async fn find(
    broker: &Broker,
    cx: &Context,
    image: &Image,
    (topic, asked): (&ListOffsetsTopic, &ListOffsetsPartition),
    (replica_id, isolation_level): (i32, i8),
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    if !cx.allowed(Operation::Describe, Resource::topic(&topic.name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let wanted = wanted(cx.version, asked.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
    let isolation = match isolation_level {
        // A follower asks where the log ends.
        _ if replica_id >= 0 => Isolation::LogEnd,
        0 => Isolation::ReadUncommitted,
        _ => Isolation::ReadCommitted,
    };
    let known = image.topics.by_name(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    known.partition(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = PartitionId { topic_id: known.id, partition: asked.partition_index };
    let partition = broker.replicas.find(id).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let query = match wanted {
        Wanted::Log(query) => query,
        Wanted::Tiered => return Ok(nothing(asked.partition_index)),
    };
    match partition.find_offset(query, asked.current_leader_epoch, isolation).await {
        Ok(None) => Ok(nothing(asked.partition_index)),
        Ok(Some(found)) => Ok(ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            timestamp: found.timestamp,
            offset: found.offset.0,
            // Versions below 4 have no place for it.
            leader_epoch: found.leader_epoch.filter(|_| cx.version >= 4).unwrap_or(-1),
            ..Default::default()
        }),
        // Older versions do not know the code.
        Err(OffsetError::NotAvailable) if cx.version < 5 => Err(ErrorCode::LeaderNotAvailable),
        Err(error) => Err(error.code()),
    }
}

/// No such record: -1 everywhere, and no error.
fn nothing(index: i32) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { partition_index: index, ..Default::default() }
}

/// None for a name that the version does not have.
fn wanted(version: i16, timestamp: i64) -> Option<Wanted> {
    Some(match timestamp {
        LATEST => Wanted::Log(OffsetQuery::Latest),
        EARLIEST => Wanted::Log(OffsetQuery::Earliest),
        MAX_TIMESTAMP if version >= 7 => Wanted::Log(OffsetQuery::MaxTimestamp),
        EARLIEST_LOCAL if version >= 8 => Wanted::Log(OffsetQuery::EarliestLocal),
        LATEST_TIERED if version >= 9 => Wanted::Tiered,
        EARLIEST_PENDING_UPLOAD if version >= 11 => Wanted::Tiered,
        0.. => Wanted::Log(OffsetQuery::At(timestamp)),
        _ => return None,
    })
}
