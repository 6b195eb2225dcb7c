//! Fetch (key 1): records of partitions led here, for consumers and followers.
//!
//! ```text
//!   plan: names and ids --> partitions      once, against one Image
//!   pass: read each partition               again after each wake-up, until min_bytes, an error, or max_wait
//! ```
//! Records are never touched: an answer holds regions of segment files, which the connection sends from the page cache.
//! Sessions are not kept yet: every fetch names all of its partitions, as with a broker whose session cache is full.

use std::sync::Arc;

use metadata::Image;
use protocol::ids::{Offset, PartitionId};
use protocol::messages::fetch_request::FetchPartition;
use protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::{Chunk, ErrorCode, Records, Region, Str, Uuid, bounds};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;
use crate::partition::{Fetched, Partition, ReadError, ReadRequest};
use crate::waiters::{Isolation, Parked};

pub async fn handle(broker: Arc<Broker>, cx: Context, request: FetchRequest) -> Reply<FetchResponse> {
    // Epoch 0 asks for a session and -1 for none: both get a full answer without one.
    if cx.version >= 7 && !(-1..=0).contains(&request.session_epoch) {
        let error_code = ErrorCode::FetchSessionIdNotFound.code();
        return Reply::Now(FetchResponse { error_code, ..Default::default() });
    }
    let plan = Plan::new(broker, cx, &request);
    let limit = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let limit = std::time::Duration::from_millis(limit).min(bounds::CLIENT_WAIT_MAX);
    let deadline = plan.broker.host.clock().now() + limit;
    let pass = plan.read().await;
    if pass.is_enough || limit.is_zero() {
        return Reply::Now(plan.response(pass));
    }
    Reply::later(async move {
        let mut pass = pass;
        loop {
            let parked = Parked::new(plan.bytes_min - pass.bytes);
            let places = plan.park(&parked, &pass);
            let woken = plan.broker.host.clock().timeout_at(deadline, parked.woken()).await;
            drop(places);
            pass = plan.read().await;
            if pass.is_enough || woken.is_err() {
                return plan.response(pass);
            }
        }
    })
}

/// A fetch, its names resolved.
struct Plan {
    broker: Arc<Broker>,
    cx: Context,
    image: Arc<Image>,
    isolation: Result<Isolation, ErrorCode>,
    follower: Option<i32>,
    bytes_min: i64,
    bytes_max: i32,
    topics: Vec<PlannedTopic>,
}

struct PlannedTopic {
    name: Str,
    id: Uuid,
    partitions: Vec<(FetchPartition, Result<Arc<Partition>, ErrorCode>)>,
}

/// What one walk over the partitions gave.
struct Pass {
    answers: Vec<Vec<PartitionData>>,
    /// Where each partition's reader may read up to, as seen in this pass.
    ends: Vec<Vec<Option<Offset>>>,
    bytes: i64,
    is_enough: bool,
}

impl Plan {
    fn new(broker: Arc<Broker>, cx: Context, request: &FetchRequest) -> Plan {
        let image = broker.metadata.current();
        let replica = if cx.version >= 15 { request.replica_state.replica_id } else { request.replica_id };
        let follower = Some(replica).filter(|id| *id >= 0);
        let topics = request.topics.iter().map(|topic| {
            let found = broker.resolve(&image, cx.version >= 13, &topic.topic, topic.topic_id);
            let found = found.and_then(|known| {
                let (operation, resource) = match follower {
                    Some(_) => (Operation::ClusterAction, Resource::CLUSTER),
                    None => (Operation::Read, Resource::topic(&known.name)),
                };
                if cx.allowed(operation, resource) {
                    Ok(known)
                } else {
                    Err(ErrorCode::TopicAuthorizationFailed)
                }
            });
            let partition = |asked: &FetchPartition| {
                let known = found.clone()?;
                known.partition(asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
                let id = PartitionId { topic_id: known.id, partition: asked.partition };
                broker.replicas.find(id).ok_or(ErrorCode::NotLeaderOrFollower)
            };
            let partitions = topic.partitions.iter().map(|asked| (asked.clone(), partition(asked))).collect();
            PlannedTopic { name: topic.topic.clone(), id: topic.topic_id, partitions }
        });
        let topics = topics.collect();
        let isolation = match request.isolation_level {
            0 => Ok(Isolation::ReadUncommitted),
            1 => Ok(Isolation::ReadCommitted),
            _ => Err(ErrorCode::UnknownServerError),
        };
        let (bytes_min, bytes_max) = (i64::from(request.min_bytes), request.max_bytes);
        Plan { image, isolation, follower, bytes_min, bytes_max, topics, broker, cx }
    }

    async fn read(&self) -> Pass {
        let mut pass = Pass { answers: Vec::new(), ends: Vec::new(), bytes: 0, is_enough: false };
        let bytes_max = u64::try_from(self.bytes_max).unwrap_or(0).min(bounds::FETCH_BYTES_MAX);
        let mut partitions = 0;
        for topic in &self.topics {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            let mut ends = Vec::with_capacity(topic.partitions.len());
            for (asked, partition) in &topic.partitions {
                let room = bytes_max.saturating_sub(pass.bytes as u64);
                let found = match partition {
                    Ok(partition) => self.read_one(partition, asked, room, pass.bytes == 0).await,
                    Err(error) => Err(*error),
                };
                partitions += 1;
                let (answer, end) = match found {
                    Ok((answer, end)) => (answer, Some(end)),
                    Err(error) => (self.refused(topic, asked.partition, error), None),
                };
                pass.bytes += answer.records.as_ref().map_or(0, |records| records.len() as i64);
                pass.is_enough |= end.is_none() || answer.diverging_epoch.end_offset >= 0;
                answers.push(answer);
                ends.push(end);
            }
            pass.answers.push(answers);
            pass.ends.push(ends);
        }
        pass.is_enough |= pass.bytes >= self.bytes_min || partitions == 0;
        pass
    }

    async fn read_one(
        &self,
        partition: &Arc<Partition>,
        asked: &FetchPartition,
        room: u64,
        at_least_one: bool,
    ) -> Result<(PartitionData, Offset), ErrorCode> {
        let isolation = self.isolation?;
        let of_partition =
            u64::try_from(asked.partition_max_bytes).map_err(|_| ErrorCode::UnknownServerError)?;
        u64::try_from(self.bytes_max).map_err(|_| ErrorCode::UnknownServerError)?;
        let request = ReadRequest {
            offset: Offset(asked.fetch_offset),
            leader_epoch: asked.current_leader_epoch,
            last_fetched_epoch: asked.last_fetched_epoch,
            isolation,
            follower: self.follower,
            bytes_max: of_partition.min(room),
            at_least_one,
        };
        partition.metrics.fetch_requests.inc();
        match partition.read(request).await {
            Ok(fetched) => {
                if let Some(follower) = self.follower
                    && fetched.diverging.is_none()
                {
                    // Gone is the disk only with the node itself.
                    let _ = partition.follower_has(follower, request.offset).await;
                }
                let end = fetched.readable_end;
                Ok((answer(asked.partition, fetched, isolation), end))
            }
            Err(error) => {
                partition.metrics.failed_fetch_requests.inc();
                if let ReadError::Io(io) = &error {
                    self.broker.log_dirs.set_offline(&partition.log_dir, &io.to_string());
                }
                Err(error.code())
            }
        }
    }

    fn refused(&self, topic: &PlannedTopic, index: i32, error: ErrorCode) -> PartitionData {
        // Kafka tells an empty list where no log was asked, and null where one refused.
        let never_asked = matches!(
            error,
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::TopicAuthorizationFailed
        );
        let mut answer = PartitionData {
            partition_index: index,
            error_code: error.code(),
            high_watermark: -1,
            aborted_transactions: never_asked.then(Vec::new),
            records: Some(Records::default()),
            ..Default::default()
        };
        let tells_leader = matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        if tells_leader
            && self.cx.version >= 12
            && let Ok(known) = self.broker.resolve(&self.image, self.cx.version >= 13, &topic.name, topic.id)
            && let Some(partition) = known.partition(index)
        {
            answer.current_leader = LeaderIdAndEpoch {
                leader_id: partition.leader,
                leader_epoch: partition.leader_epoch,
                ..Default::default()
            };
        }
        answer
    }

    /// Takes a place at each partition; wakes the fetch at once if one of them has moved since it was read.
    fn park(&self, parked: &Arc<Parked>, pass: &Pass) -> Vec<crate::partition::ParkedHere> {
        let Ok(isolation) = self.isolation else { return Vec::new() };
        let ends = pass.ends.iter().flatten();
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let mut places = Vec::new();
        for ((_, partition), end) in partitions.zip(ends) {
            let (Ok(partition), Some(end)) = (partition, end) else { continue };
            match partition.park(parked, isolation, *end) {
                Some(place) => places.push(place),
                None => parked.wake(),
            }
        }
        places
    }

    fn response(&self, pass: Pass) -> FetchResponse {
        let mut response = FetchResponse::default();
        if let Err(error) = self.isolation {
            response.error_code = error.code();
        }
        let mut leaders = std::collections::BTreeMap::new();
        for (topic, partitions) in self.topics.iter().zip(pass.answers) {
            for (answer, (_, partition)) in partitions.iter().zip(&topic.partitions) {
                if let (Ok(partition), Some(records)) = (partition, &answer.records) {
                    partition.metrics.bytes_out.inc_by(records.len());
                }
                let leader = answer.current_leader.leader_id;
                if self.cx.version >= 16
                    && let Some((endpoint, rack)) =
                        self.broker.endpoint(&self.image, leader, &self.cx.listener().name)
                {
                    leaders.insert(leader, (endpoint, rack));
                }
            }
            if partitions.is_empty() {
                continue;
            }
            response.responses.push(FetchableTopicResponse {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partitions,
                ..Default::default()
            });
        }
        let endpoint = |(node_id, (endpoint, rack)): (i32, (metadata::Endpoint, Option<Str>))| NodeEndpoint {
            node_id,
            host: endpoint.host,
            port: i32::from(endpoint.port),
            rack,
            ..Default::default()
        };
        response.node_endpoints = leaders.into_iter().map(endpoint).collect();
        response
    }
}

fn answer(index: i32, fetched: Fetched, isolation: Isolation) -> PartitionData {
    let aborted = fetched.aborted.unwrap_or_default().into_iter().map(|aborted| AbortedTransaction {
        producer_id: aborted.producer_id,
        first_offset: aborted.first_offset,
        ..Default::default()
    });
    let records = match fetched.region {
        Some(region) => {
            let (source, position, length) = (Arc::new(region.file), region.position, region.length);
            Records::from(vec![Chunk::Region(Region { source, position, length })])
        }
        None => Records::default(),
    };
    let diverging = fetched.diverging.map(|(epoch, end)| EpochEndOffset {
        epoch,
        end_offset: end.0,
        ..Default::default()
    });
    PartitionData {
        partition_index: index,
        high_watermark: fetched.offsets.high_watermark.0,
        last_stable_offset: fetched.offsets.last_stable.0,
        log_start_offset: fetched.offsets.log_start.0,
        aborted_transactions: (isolation == Isolation::ReadCommitted).then(|| aborted.collect()),
        diverging_epoch: diverging.unwrap_or_default(),
        records: Some(records),
        ..Default::default()
    }
}
