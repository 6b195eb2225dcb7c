//! Fetch (key 1): records of partitions, for consumers and followers.
//!
//! ```text
//!   session: what is asked --> plan: partitions       once, against one Image
//!   pass: read each partition                         after each wake-up those that have moved, until min_bytes or max_wait
//!   answer: by the session without what has not changed
//! ```
//! A consumer that tells its rack may be sent to a replica there (KIP-392, `replica.selector.class`), and may read from any.
//! Records are never touched: an answer holds regions of segment files, which the connection sends from the page cache.
//! A partition that the metadata does not know, or the reader must not see, does not cut the wait short: Kafka's does not.

use std::sync::Arc;
use std::time::Duration;

use metadata::{Image, Topic};
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
use crate::fetch_sessions::{Answered, Asked, FetchContext, SessionRequest, TopicRef};
use crate::metrics::Held;
use crate::partition::{Fetched, FollowerFetch, Offsets, ParkedHere, Partition, ReadError, ReadRequest};
use crate::waiters::{Isolation, Parked};

/// The first version whose answers tell who leads instead (KIP-951); the field is older.
const TELLS_LEADER_FROM: i16 = 16;

pub async fn handle(broker: Arc<Broker>, cx: Context, request: FetchRequest) -> Reply<FetchResponse> {
    let limit = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let plan = match Plan::new(broker, cx, &request) {
        Ok(plan) => plan,
        Err(error) => {
            return Reply::Now(FetchResponse { error_code: error.code(), ..Default::default() });
        }
    };
    if let Some(error) = plan.refusal() {
        return Reply::Now(refused_all(&request, plan.cx.version, error));
    }
    let deadline = plan.broker.host.clock().now() + limit.min(bounds::CLIENT_WAIT_MAX);
    let mut pass = Pass::default();
    plan.read(&mut pass, 0..plan.partitions.len()).await;
    if plan.is_enough(&pass) || limit.is_zero() {
        return Reply::Now(plan.response(pass));
    }
    Reply::later(async move {
        let _held = Held::new(&plan.broker.metrics.waiting.fetch);
        loop {
            let parked = Parked::new(plan.bytes_min - pass.bytes);
            let places = plan.park(&parked, &pass);
            let woken = plan.broker.host.clock().timeout_at(deadline, parked.woken()).await;
            drop(places);
            plan.read(&mut pass, parked.take_moved()).await;
            if plan.is_enough(&pass) || woken.is_err() {
                return plan.response(pass);
            }
        }
    })
}

/// The answer to a request of which nothing was done. From version 13 on the code of the whole says it all.
fn refused_all(request: &FetchRequest, version: i16, error: ErrorCode) -> FetchResponse {
    let error_code = error.code();
    let partition = |asked: &FetchPartition| PartitionData {
        partition_index: asked.partition,
        error_code,
        high_watermark: -1,
        aborted_transactions: Some(Vec::new()),
        records: Some(Records::default()),
        ..Default::default()
    };
    let topics = request.topics.iter().filter(|_| version < 13);
    let responses = topics.map(|topic| FetchableTopicResponse {
        topic: topic.topic.clone(),
        partitions: topic.partitions.iter().map(partition).collect(),
        ..Default::default()
    });
    let (session_id, responses) = (request.session_id, responses.collect());
    FetchResponse { error_code, session_id, responses, ..Default::default() }
}

/// A fetch, its names resolved.
struct Plan {
    broker: Arc<Broker>,
    cx: Context,
    image: Arc<Image>,
    session: FetchContext,
    isolation: Result<Isolation, ErrorCode>,
    /// The follower that fetches, and the epoch of its registration.
    follower: Option<(i32, i64)>,
    /// Of a consumer that should read from a replica near to it.
    rack: Option<Str>,
    bytes_min: i64,
    bytes_max: Result<u64, ErrorCode>,
    partitions: Vec<Planned>,
    /// What is answered without a log.
    refused: Vec<Answered>,
}

struct Planned {
    asked: Asked,
    partition: Result<Arc<Partition>, ErrorCode>,
}

/// What was read of the planned partitions, in their order.
#[derive(Default)]
struct Pass {
    reads: Vec<OneRead>,
    bytes: i64,
}

struct OneRead {
    data: PartitionData,
    /// The partition as it was; None after an error.
    seen: Option<Offsets>,
}

impl OneRead {
    fn bytes(&self) -> i64 {
        self.data.records.as_ref().map_or(0, |records| records.len() as i64)
    }

    /// What a reader must know at once.
    fn ends_the_wait(&self) -> bool {
        self.seen.is_none()
            || self.data.diverging_epoch.end_offset >= 0
            || self.data.preferred_read_replica >= 0
    }
}

impl Plan {
    fn new(broker: Arc<Broker>, cx: Context, request: &FetchRequest) -> Result<Plan, ErrorCode> {
        let image = broker.metadata.current();
        let follower = if cx.version >= 15 {
            (request.replica_state.replica_id, request.replica_state.replica_epoch)
        } else {
            (request.replica_id, -1)
        };
        let follower = Some(follower).filter(|(id, _)| *id >= 0);
        if follower.is_some() {
            cx.tell_follower();
        }
        let asked = session_request(&image, cx.version, follower.is_some(), request);
        let (session, asked) = broker.fetch_sessions.begin(asked, |id| name_of(&image, id))?;
        let isolation = match (follower, request.isolation_level) {
            (Some(_), 0 | 1) => Ok(Isolation::LogEnd),
            (None, 0) => Ok(Isolation::ReadUncommitted),
            (None, 1) => Ok(Isolation::ReadCommitted),
            _ => Err(ErrorCode::UnknownServerError),
        };
        let tells_rack = follower.is_none() && cx.version >= 11 && broker.config.selects_replicas_by_rack;
        let rack = Some(request.rack_id.detached()).filter(|rack| tells_rack && !rack.is_empty());
        let bytes_max = u64::try_from(request.max_bytes).map_err(|_| ErrorCode::UnknownServerError);
        let bytes_max = bytes_max.map(|bytes| bytes.min(broker.config.fetch_bytes_max));
        let bytes_min = i64::from(request.min_bytes).min(bytes_max.map_or(0, |bytes| bytes as i64));
        let mut plan = Plan {
            partitions: Vec::with_capacity(asked.len()),
            refused: Vec::new(),
            image,
            session,
            isolation,
            follower,
            rack,
            bytes_min,
            bytes_max,
            broker,
            cx,
        };
        let mut last: Option<(TopicRef, Result<Arc<Topic>, ErrorCode>)> = None;
        for asked in asked {
            let topic = match &last {
                Some((topic, found)) if topic.is_same(&asked.topic) => found.clone(),
                _ => plan.topic(&asked.topic),
            };
            last = Some((asked.topic.clone(), topic.clone()));
            match topic {
                Ok(topic) if topic.partition(asked.partition).is_some() => {
                    let partition = plan.partition(&topic, &asked);
                    plan.partitions.push(Planned { asked, partition });
                }
                Ok(_) => plan.refuse(asked, ErrorCode::UnknownTopicOrPartition),
                Err(error) => plan.refuse(asked, error),
            }
        }
        if plan.follower.is_none() {
            // Kafka looks for the names of a reader's topics before it asks for anything else (`handleFetchRequest`).
            plan.refused.sort_by_key(|answered| answered.data.error_code != ErrorCode::UnknownTopicId.code());
        }
        Ok(plan)
    }

    /// What the whole request is answered with, if not partition by partition.
    fn refusal(&self) -> Option<ErrorCode> {
        let isolation = self.isolation.err().filter(|_| !self.partitions.is_empty());
        // Kafka tells the topic of a partition from that of the one before, by its name if that one has no id; behind one that
        // has neither it fails (`FetchResponse.matchingTopic`).
        let has_zero_id = |answered: &Answered| answered.asked.topic.id() == Some(Uuid::ZERO);
        let before_last = self.refused.split_last().map_or(&[][..], |(_, before)| before);
        let nameless = before_last.iter().any(has_zero_id).then_some(ErrorCode::UnknownServerError);
        isolation.or(nameless)
    }

    fn topic(&self, topic: &TopicRef) -> Result<Arc<Topic>, ErrorCode> {
        if self.follower.is_some() && !self.cx.allowed(Operation::ClusterAction, Resource::CLUSTER) {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        let name = topic.name().ok_or(ErrorCode::UnknownTopicId)?;
        if self.follower.is_none() && !self.cx.allowed(Operation::Read, Resource::topic(name)) {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        self.image.topics.by_name(name).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    fn partition(&self, topic: &Topic, asked: &Asked) -> Result<Arc<Partition>, ErrorCode> {
        if asked.topic.id().is_some_and(|id| id != topic.id) {
            // The topic that was asked for is gone, and another one has its name.
            return Err(ErrorCode::InconsistentTopicId);
        }
        let id = PartitionId { topic_id: topic.id, partition: asked.partition };
        self.broker.replicas.find(id).ok_or(ErrorCode::NotLeaderOrFollower)
    }

    fn refuse(&mut self, asked: Asked, error: ErrorCode) {
        let mut data = self.refused(&asked, error);
        // Kafka tells an empty list where no log was asked, and null where one refused.
        data.aborted_transactions = Some(Vec::new());
        self.refused.push(Answered { asked, data });
    }

    fn is_enough(&self, pass: &Pass) -> bool {
        pass.bytes >= self.bytes_min || pass.reads.is_empty() || pass.reads.iter().any(OneRead::ends_the_wait)
    }

    /// Reads partitions for the first time, or again: what is read takes the place of what was.
    async fn read(&self, pass: &mut Pass, places: impl IntoIterator<Item = usize>) {
        for place in places {
            let Planned { asked, partition } = &self.partitions[place];
            pass.bytes -= pass.reads.get(place).map_or(0, OneRead::bytes);
            let read = match partition {
                Ok(partition) => self.read_one(partition, asked, pass.bytes as u64).await,
                Err(error) => Err(*error),
            };
            let read = match read {
                Ok((data, seen)) => OneRead { data, seen: Some(seen) },
                Err(error) => OneRead { data: self.failed(asked, partition, error), seen: None },
            };
            pass.bytes += read.bytes();
            match pass.reads.get_mut(place) {
                Some(before) => *before = read,
                None => pass.reads.push(read),
            }
        }
    }

    /// The answer of a partition whose log refused, or was not asked.
    fn failed(
        &self,
        asked: &Asked,
        partition: &Result<Arc<Partition>, ErrorCode>,
        error: ErrorCode,
    ) -> PartitionData {
        let is_gone = partition.as_ref().is_ok_and(|partition| {
            let image = self.broker.metadata.current();
            image.topics.by_id(partition.id.topic_id).is_none()
        });
        let error = match asked.topic.id() {
            Some(_) if is_gone => ErrorCode::UnknownTopicId,
            None if is_gone => ErrorCode::UnknownTopicOrPartition,
            _ => error,
        };
        self.refused(asked, error)
    }

    async fn read_one(
        &self,
        partition: &Arc<Partition>,
        asked: &Asked,
        bytes_so_far: u64,
    ) -> Result<(PartitionData, Offsets), ErrorCode> {
        let isolation = self.isolation?;
        let of_partition =
            u64::try_from(asked.partition_bytes_max).map_err(|_| ErrorCode::UnknownServerError)?;
        let is_held_back = self.is_held_back(partition);
        let bytes_max = if is_held_back { 0 } else { self.bytes_max? };
        let request = ReadRequest {
            offset: Offset(asked.fetch_offset),
            leader_epoch: asked.current_leader_epoch,
            last_fetched_epoch: asked.last_fetched_epoch,
            isolation,
            follower: self.follower.map(|(id, _)| id),
            leader_only: self.follower.is_some() || self.cx.version < 11,
            bytes_max: of_partition.min(bytes_max.saturating_sub(bytes_so_far)),
            at_least_one: bytes_so_far == 0 && !is_held_back,
        };
        partition.metrics.fetch_requests.inc();
        if let Some(sent_on) = self.sent_on(partition, asked) {
            return Ok(sent_on);
        }
        match partition.read(request).await {
            Ok(fetched) => {
                if let Some(follower) = self.follower
                    && fetched.diverging.is_none()
                {
                    if self.is_former_life(follower) {
                        return Err(ErrorCode::NotLeaderOrFollower);
                    }
                    self.follower_has(partition, asked, follower).await;
                }
                let seen = fetched.offsets;
                Ok((answer(asked.partition, fetched, isolation), seen))
            }
            Err(error) => {
                partition.metrics.failed_fetch_requests.inc();
                if let ReadError::Io(io) = &error {
                    self.broker.log_dirs.log_failed(partition, &io.to_string());
                }
                Err(error.code())
            }
        }
    }

    /// Whether what a follower gets of a partition counts against this leader's rate.
    fn is_throttled(&self, partition: &Partition) -> bool {
        let (broker, index) = (&self.broker, partition.id.partition);
        let settings = || partition.settings(&self.image, &broker.config.server, broker.config.node_id);
        broker.replication_quotas.leader.is_limited() && settings().leader_throttled.contains(index)
    }

    /// Whether a follower gets no records of a partition for now: the rate is used up, and no commit waits for it.
    fn is_held_back(&self, partition: &Partition) -> bool {
        let Some((follower, _)) = self.follower else { return false };
        // Whether there is a rate at all comes first: without one, which is the rule, nothing is locked for it.
        self.is_throttled(partition)
            && self.broker.replication_quotas.leader.is_exceeded()
            && !partition.is_commit_waiting_for(follower)
    }

    /// The answer to a consumer that should ask another replica.
    fn sent_on(&self, partition: &Partition, asked: &Asked) -> Option<(PartitionData, Offsets)> {
        let rack = self.rack.as_ref()?;
        let listener = &self.cx.listener().name;
        let near = |id: i32| {
            let broker = self.image.cluster.broker(id);
            broker
                .is_some_and(|b| b.rack.as_ref() == Some(rack) && !b.fenced && b.listener(listener).is_some())
        };
        let preferred = partition.preferred_reader(Offset(asked.fetch_offset), near)?;
        // One that asks in another epoch is told so by the read.
        let is_current = [-1, partition.leader_epoch()].contains(&asked.current_leader_epoch);
        let offsets = Some(partition.offsets()).filter(|_| is_current)?;
        let nothing = Fetched { offsets, region: None, aborted: None, diverging: None };
        let data = PartitionData {
            preferred_read_replica: preferred,
            aborted_transactions: None,
            ..answer(asked.partition, nothing, Isolation::ReadUncommitted)
        };
        Some((data, offsets))
    }

    /// Whether a follower fetches in the name of a registration that was followed by another one (KIP-903).
    fn is_former_life(&self, (id, broker_epoch): (i32, i64)) -> bool {
        let registered = self.image.cluster.broker(id).filter(|broker| !broker.fenced);
        broker_epoch != -1 && registered.is_some_and(|broker| broker.epoch > broker_epoch)
    }

    /// A follower fetches from `asked.fetch_offset`, and its log up to there is this leader's.
    async fn follower_has(&self, partition: &Arc<Partition>, asked: &Asked, (id, broker_epoch): (i32, i64)) {
        let registered = self.image.cluster.broker(id);
        let is_eligible =
            registered.is_some_and(|b| b.is_active() && (broker_epoch == -1 || broker_epoch == b.epoch));
        let (offset, log_start) = (Offset(asked.fetch_offset), Offset(asked.log_start_offset.max(0)));
        let fetch = FollowerFetch { id, broker_epoch, offset, log_start, is_eligible };
        // Gone is the disk only with the node itself.
        if let Ok(Some(change)) = partition.follower_fetched(fetch, asked.current_leader_epoch).await {
            self.broker.isr_changes.submit(partition, change);
        }
    }

    fn refused(&self, asked: &Asked, error: ErrorCode) -> PartitionData {
        let mut answer = PartitionData {
            partition_index: asked.partition,
            error_code: error.code(),
            high_watermark: -1,
            aborted_transactions: None,
            records: Some(Records::default()),
            ..Default::default()
        };
        let tells_leader = matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        let name = asked.topic.name().filter(|_| tells_leader && self.cx.version >= TELLS_LEADER_FROM);
        let topic = name.and_then(|name| self.image.topics.by_name(name));
        if let Some(partition) = topic.and_then(|topic| topic.partition(asked.partition)) {
            answer.current_leader = LeaderIdAndEpoch {
                leader_id: partition.leader,
                leader_epoch: partition.leader_epoch,
                ..Default::default()
            };
        }
        answer
    }

    /// Takes a place at each partition; who has moved since it was read wakes the fetch at once.
    fn park(&self, parked: &Arc<Parked>, pass: &Pass) -> Vec<ParkedHere> {
        let Ok(isolation) = self.isolation else { return Vec::new() };
        let read = self.partitions.iter().zip(&pass.reads).enumerate();
        let places = read.filter_map(|(place, (planned, read))| {
            let partition = planned.partition.as_ref().ok()?;
            partition.park((parked, place), isolation, read.seen.as_ref()?)
        });
        places.collect()
    }

    /// Counts the bytes that go out.
    fn count(&self, pass: &Pass) {
        for (Planned { partition, .. }, OneRead { data, .. }) in self.partitions.iter().zip(&pass.reads) {
            let (Ok(partition), Some(records)) = (partition, &data.records) else { continue };
            if self.follower.is_none() {
                partition.metrics.bytes_out.inc_by(records.len());
                continue;
            }
            partition.metrics.replication_bytes_out.inc_by(records.len());
            if self.is_throttled(partition) {
                self.broker.replication_quotas.leader.record(records.len());
            }
        }
    }

    fn response(self, pass: Pass) -> FetchResponse {
        self.count(&pass);
        let Plan { broker, cx, image, session, partitions, refused, .. } = self;
        let mut answers = Vec::with_capacity(partitions.len() + refused.len());
        let read = partitions.into_iter().zip(pass.reads);
        answers.extend(read.map(|(planned, read)| Answered { asked: planned.asked, data: read.data }));
        answers.extend(refused);
        let answer = broker.fetch_sessions.finish(&session, answers);
        let mut response = FetchResponse { session_id: answer.session_id, ..Default::default() };
        response.error_code = answer.error.code();
        let mut leaders = std::collections::BTreeMap::new();
        let mut last: Option<TopicRef> = None;
        for Answered { asked, data } in answer.answers {
            let leader = data.current_leader.leader_id;
            if cx.version >= TELLS_LEADER_FROM
                && let Some((endpoint, rack)) = broker.endpoint(&image, leader, &cx.listener().name)
            {
                leaders.insert(leader, (endpoint, rack));
            }
            if !last.as_ref().is_some_and(|topic| topic.is_same(&asked.topic)) {
                response.responses.push(topic_response(&asked.topic));
                last = Some(asked.topic);
            }
            let topic = response.responses.last_mut().expect("one was pushed for the first partition");
            topic.partitions.push(data);
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

fn topic_response(topic: &TopicRef) -> FetchableTopicResponse {
    match topic {
        TopicRef::Name(name) => FetchableTopicResponse { topic: name.clone(), ..Default::default() },
        TopicRef::Id(id, _) => FetchableTopicResponse { topic_id: *id, ..Default::default() },
    }
}

fn name_of(image: &Image, id: Uuid) -> Option<Str> {
    image.topics.by_id(id).map(|topic| topic.name.clone())
}

/// The request, its topics named so that a session can keep them.
fn session_request(image: &Image, version: i16, is_follower: bool, request: &FetchRequest) -> SessionRequest {
    let uses_topic_ids = version >= 13;
    let topic_ref = |name: &Str, id: Uuid| {
        if uses_topic_ids {
            return TopicRef::Id(id, name_of(image, id));
        }
        let known = image.topics.by_name(name).map(|topic| topic.name.clone());
        TopicRef::Name(known.unwrap_or_else(|| name.detached()))
    };
    let mut asked = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let named = topic_ref(&topic.topic, topic.topic_id);
        asked.extend(topic.partitions.iter().map(|partition| Asked {
            topic: named.clone(),
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            log_start_offset: partition.log_start_offset,
            partition_bytes_max: partition.partition_max_bytes,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let named = topic_ref(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|partition| (named.clone(), *partition)));
    }
    let (session_id, epoch) = match version {
        7.. => (request.session_id, request.session_epoch),
        _ => (0, -1),
    };
    SessionRequest { session_id, epoch, uses_topic_ids, is_follower, asked, forgotten }
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
