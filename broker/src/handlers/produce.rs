//! Produce (key 0): record batches into partitions led here.
//!
//! The ordered part of the request is everything up to the last append; waiting for commits (acks=all) comes later. A batch
//! is checked outside of the disk's queue, and is never copied: what is written is a slice of the frame.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use metadata::Image;
use protocol::batch::{self, BatchHeader};
use protocol::ids::PartitionId;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;
use crate::metrics::Held;
use crate::partition::{AppendError, CommitWait, Partition, Produced};
use crate::topic_settings::TopicSettings;
use crate::waiters::Commit;

/// None, the leader, all in sync.
const ACKS: std::ops::RangeInclusive<i16> = -1..=1;

/// An append that is not committed yet, and its place in the answer.
struct Waiting {
    topic: usize,
    partition: usize,
    commit: CommitWait,
    of: Arc<Partition>,
    settings: Arc<TopicSettings>,
}

pub async fn handle(broker: Arc<Broker>, cx: Context, mut request: ProduceRequest) -> Reply<ProduceResponse> {
    let acks = request.acks;
    merge_twins(&mut request);
    let image = broker.metadata.current();
    let refusal = refuse_all(&cx, &request);
    if refusal.is_none() && has_null_records(&broker, &cx, &image, &request) {
        // Kafka never answers such a request; the client would wait for its time-out.
        return Reply::Close("a produce request has null records");
    }
    let mut response = ProduceResponse::default();
    let mut waiting = Vec::new();
    for topic in request.topic_data.iter().filter(|topic| !topic.partition_data.is_empty()) {
        let at = response.responses.len();
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in &topic.partition_data {
            let appending = Appending { broker: &broker, cx: &cx, image: &image, acks, topic, data };
            let answer = match refusal {
                Some(error) => refused(data.index, error),
                None => appending.run(&mut waiting, (at, partitions.len())).await,
            };
            partitions.push(answer);
        }
        response.responses.push(TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: partitions,
            ..Default::default()
        });
    }
    if acks == 0 {
        return reply_to_acks_0(&response);
    }
    broker.tell_leaders(&cx, &image, &mut response);
    if waiting.is_empty() {
        return Reply::Now(response);
    }
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0);
    Reply::later(async move {
        wait_for_commits(&broker, &mut response, waiting, timeout_ms).await;
        response
    })
}

/// With acks=0 nobody reads an answer: an error is told by closing the connection, as Kafka does.
fn reply_to_acks_0(response: &ProduceResponse) -> Reply<ProduceResponse> {
    let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    if answers.any(|answer| answer.error_code != ErrorCode::None.code()) {
        return Reply::Close("a produce request with acks=0 failed");
    }
    Reply::Nothing
}

/// A topic that is named twice is one, where it stood first; of a partition that is named twice only what was named last is
/// written, as in Kafka, where it stood first.
fn merge_twins(request: &mut ProduceRequest) {
    let mut all = Vec::new();
    for topic in &request.topic_data {
        all.extend(topic.partition_data.iter().map(|data| (topic.topic_id, &topic.name, data.index)));
    }
    all.sort_unstable();
    let is_next = |pair: &&[(Uuid, &Str, i32)]| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1);
    let topics = all.windows(2).filter(is_next).count() + usize::from(!all.is_empty());
    let named = request.topic_data.iter().filter(|topic| !topic.partition_data.is_empty()).count();
    if topics == named && all.windows(2).all(|pair| pair[0] != pair[1]) {
        return;
    }
    let mut places: BTreeMap<(Uuid, Str), usize> = BTreeMap::new();
    let mut first: BTreeMap<(usize, i32), usize> = BTreeMap::new();
    let mut merged: Vec<TopicProduceData> = Vec::with_capacity(topics);
    for mut topic in std::mem::take(&mut request.topic_data) {
        let partitions = std::mem::take(&mut topic.partition_data);
        let at = *places.entry((topic.topic_id, topic.name.clone())).or_insert(merged.len());
        if at == merged.len() {
            merged.push(topic);
        }
        for data in partitions {
            let known = &mut merged[at].partition_data;
            match first.entry((at, data.index)) {
                Entry::Occupied(place) => known[*place.get()] = data,
                Entry::Vacant(vacant) => {
                    vacant.insert(known.len());
                    known.push(data);
                }
            }
        }
    }
    request.topic_data = merged;
}

/// Whether something is to be appended that is nothing, to a partition that is there.
fn has_null_records(broker: &Arc<Broker>, cx: &Context, image: &Image, request: &ProduceRequest) -> bool {
    let acks = request.acks;
    let mut all = request
        .topic_data
        .iter()
        .flat_map(|topic| topic.partition_data.iter().map(move |data| (topic, data)));
    let is_there = |topic, data| Appending { broker, cx, image, acks, topic, data }.partition().is_ok();
    all.any(|(topic, data)| data.records.is_none() && is_there(topic, data))
}

/// What refuses the request as a whole.
fn refuse_all(cx: &Context, request: &ProduceRequest) -> Option<ErrorCode> {
    let has_transactional = || {
        let mut partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
        partitions.any(|data| records(data).is_some_and(|bytes| is_transactional(&bytes)))
    };
    let may_write = |id: &Str| cx.allowed(Operation::Write, Resource::transactional_id(id));
    let is_authorized = request.transactional_id.as_ref().is_some_and(may_write);
    (!is_authorized && has_transactional()).then_some(ErrorCode::TransactionalIdAuthorizationFailed)
}

fn records(data: &PartitionProduceData) -> Option<Bytes> {
    data.records.as_ref()?.to_bytes()
}

fn is_transactional(records: &[u8]) -> bool {
    BatchHeader::read(records).is_ok_and(|header| header.is_transactional())
}

fn refused(index: i32, error: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: error.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        ..Default::default()
    }
}

/// The append to one partition of a request.
struct Appending<'a> {
    broker: &'a Arc<Broker>,
    cx: &'a Context,
    image: &'a Image,
    acks: i16,
    topic: &'a TopicProduceData,
    data: &'a PartitionProduceData,
}

impl Appending<'_> {
    async fn run(&self, waiting: &mut Vec<Waiting>, at: (usize, usize)) -> PartitionProduceResponse {
        let partition = match self.partition() {
            Ok(partition) => partition,
            Err(error) => return refused(self.data.index, error),
        };
        partition.metrics.produce_requests.inc();
        let answer = self.append(&partition, waiting, at).await;
        if answer.error_code != ErrorCode::None.code() {
            partition.metrics.failed_produce_requests.inc();
        }
        answer
    }

    fn partition(&self) -> Result<Arc<Partition>, ErrorCode> {
        let topic =
            self.broker.resolve(self.image, self.cx.version >= 13, &self.topic.name, self.topic.topic_id);
        if let Ok(topic) = &topic
            && !self.cx.allowed(Operation::Write, Resource::topic(&topic.name))
        {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        let topic = topic?;
        // A coordinator's log takes what its coordinator writes and nothing else.
        if topic.name == *"__consumer_offsets" || topic.name == *"__transaction_state" {
            return Err(ErrorCode::InvalidTopicException);
        }
        let id = PartitionId { topic_id: topic.id, partition: self.data.index };
        match (self.broker.replicas.find(id), topic.partition(self.data.index)) {
            (Some(partition), Some(_)) => Ok(partition),
            (None, Some(_)) => Err(ErrorCode::NotLeaderOrFollower),
            (_, None) => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    async fn append(
        &self,
        partition: &Arc<Partition>,
        waiting: &mut Vec<Waiting>,
        at: (usize, usize),
    ) -> PartitionProduceResponse {
        let index = self.data.index;
        let Some(records) = records(self.data) else { return refused(index, ErrorCode::InvalidRecord) };
        if is_transactional(&records) {
            // Nobody coordinates transactions yet; Kafka answers the same while it cannot reach the coordinator.
            return refused(index, ErrorCode::NotEnoughReplicas);
        }
        if let Some(shortage) = self.broker.log_dirs.shortage(&partition.log_dir) {
            let mut answer = refused(index, ErrorCode::KafkaStorageError);
            answer.error_message = Some(Str::from(shortage));
            return answer;
        }
        let settings = partition.settings(self.image, &self.broker.config.server, self.broker.config.node_id);
        let rules = settings.rules(self.cx.version, self.broker.host.clock().wall_ms());
        let checked = batch::validate_for_append(&records, &rules);
        if !ACKS.contains(&self.acks) && !is_of_the_request(&checked) {
            return refused(index, ErrorCode::InvalidRequiredAcks);
        }
        let batch = match checked {
            Ok(batch) => batch,
            Err(error) => return invalid(index, partition, &error),
        };
        let wants_all = self.acks == -1;
        let settings_of = Arc::clone(&settings);
        let produced = Produced { batch, rules, settings: settings_of, wants_all, leader_epoch: -1 };
        let (appended, leader_epoch) = match partition.append_as_leader(produced).await {
            Ok(appended) => appended,
            Err(error) => return self.failed(partition, &error),
        };
        if wants_all {
            match partition.committed(appended.last_offset, leader_epoch) {
                CommitWait::Ready(Commit::Reached) if !partition.lacks_replicas(&settings) => {}
                commit => {
                    let of = Arc::clone(partition);
                    waiting.push(Waiting { topic: at.0, partition: at.1, commit, of, settings });
                }
            }
        }
        PartitionProduceResponse {
            index,
            error_code: ErrorCode::None.code(),
            base_offset: appended.first_offset.0,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset.0,
            ..Default::default()
        }
    }

    fn failed(&self, partition: &Partition, error: &AppendError) -> PartitionProduceResponse {
        let code = error.code();
        if code == ErrorCode::KafkaStorageError || matches!(error, AppendError::Flush(_)) {
            self.broker.log_dirs.log_failed(partition, &error.to_string());
        }
        let mut answer = refused(self.data.index, code);
        let is_told_the_start = matches!(
            error,
            AppendError::NotEnoughReplicas { .. } | AppendError::Log(storage::AppendError::Producer(_))
        );
        if is_told_the_start {
            answer.log_start_offset = partition.offsets().log_start.0;
        }
        answer
    }
}

/// Whether a batch is refused before it is asked what `acks` is.
fn is_of_the_request<T>(checked: &Result<T, batch::AppendError>) -> bool {
    use batch::AppendError as E;
    matches!(checked, Err(E::BatchCount(_) | E::OldFormat(_) | E::ZstdBefore7(_)))
}

/// A batch that the rules of its topic refuse.
fn invalid(index: i32, partition: &Partition, error: &batch::AppendError) -> PartitionProduceResponse {
    use batch::AppendError as E;
    partition.metrics.refused(error);
    let mut answer = refused(index, error.code());
    // Kafka tells the log start only when the batch got as far as the log.
    let before_the_log = matches!(
        error,
        E::BatchCount(_) | E::OldFormat(_) | E::Corrupt(_) | E::TooLarge { .. } | E::ZstdBefore7(_)
    );
    if !before_the_log {
        answer.log_start_offset = partition.offsets().log_start.0;
    }
    let record_error = |record: &batch::RecordError| BatchIndexAndErrorMessage {
        batch_index: record.index,
        batch_index_error_message: Some(Str::from(record.fault.to_string())),
        ..Default::default()
    };
    answer.record_errors = error.record_errors().iter().map(record_error).collect();
    // And it has words for records that are refused, and for bytes that are no batch; not for a wrong CRC.
    let is_no_batch = matches!(error, E::Corrupt(what) if !matches!(what, batch::BatchError::Crc { .. }));
    if !answer.record_errors.is_empty() || is_no_batch {
        answer.error_message = Some(Str::from(error.to_string()));
    }
    answer
}

/// Waits for all commits of a request, no longer than it allows.
async fn wait_for_commits(
    broker: &Broker,
    response: &mut ProduceResponse,
    waiting: Vec<Waiting>,
    timeout_ms: u64,
) {
    let clock = broker.host.clock();
    let limit = std::time::Duration::from_millis(timeout_ms).min(protocol::bounds::CLIENT_WAIT_MAX);
    let deadline = clock.now() + limit;
    let _held = Held::new(&broker.metrics.waiting.produce);
    for Waiting { topic, partition, commit, of, settings } in waiting {
        let error = match clock.timeout_at(deadline, commit.wait()).await {
            Ok(Commit::Reached) if of.lacks_replicas(&settings) => ErrorCode::NotEnoughReplicasAfterAppend,
            Ok(Commit::Reached) => continue,
            Ok(Commit::Lost) => ErrorCode::NotLeaderOrFollower,
            Err(_) => {
                broker.metrics.waiting.produce_expires.inc();
                ErrorCode::RequestTimedOut
            }
        };
        response.responses[topic].partition_responses[partition].error_code = error.code();
    }
}

impl Broker {
    /// Adds who leads, for partitions that are not led here (version 10 and later).
    fn tell_leaders(&self, cx: &Context, image: &Image, response: &mut ProduceResponse) {
        if cx.version < 10 {
            return;
        }
        let mut told = BTreeMap::new();
        for topic in &mut response.responses {
            for answer in &mut topic.partition_responses {
                if answer.error_code != ErrorCode::NotLeaderOrFollower.code() {
                    continue;
                }
                let Ok(found) = self.resolve(image, cx.version >= 13, &topic.name, topic.topic_id) else {
                    continue;
                };
                let Some(partition) = found.partition(answer.index) else { continue };
                answer.current_leader = LeaderIdAndEpoch {
                    leader_id: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    ..Default::default()
                };
                if let Some((endpoint, rack)) = self.endpoint(image, partition.leader, &cx.listener().name) {
                    told.entry(partition.leader).or_insert_with(|| NodeEndpoint {
                        node_id: partition.leader,
                        host: endpoint.host,
                        port: i32::from(endpoint.port),
                        rack,
                        ..Default::default()
                    });
                }
            }
        }
        response.node_endpoints = told.into_values().collect();
    }
}
