//! The client of a simulated cluster: it creates topics, writes and reads, and remembers what it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::Host;
use protocol::batch::{BatchBuilder, BatchOptions, batches};
use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    AlterPartitionReassignmentsRequest, CreateTopicsRequest, ElectLeadersRequest, FetchRequest,
    MetadataRequest, ProduceRequest, ProduceResponse,
};
use protocol::{ErrorCode, Records, Str, Uuid};
use wire::client::{Node, NodeOptions, Pool};

use super::committer::Commits;
use super::voters;
use crate::history::{Event, Log};

/// What a client was promised and what it saw.
#[derive(Debug, Default)]
pub struct Promises {
    /// Topics whose creation was acknowledged.
    pub topics: BTreeMap<String, Uuid>,
    /// What writers and readers did and were told. It is of one topic.
    pub history: Vec<Event>,
    /// Offsets that a group committed.
    pub commits: Commits,
    /// The highest high watermark that a reader was told, by partition and leader epoch.
    told: BTreeMap<(i32, i32), i64>,
    /// Leaders that a metadata answer named, by topic, partition and leader epoch.
    pub leaders: BTreeMap<(Uuid, i32, i32), i32>,
    /// The sets of voters that were seen.
    pub voters: BTreeSet<Vec<voters::Id>>,
    /// A sentence for each promise that was seen broken.
    pub broken: Vec<String>,
}

/// See the module.
#[derive(Clone)]
pub struct Client {
    host: Host,
    pool: Pool,
    brokers: Vec<(i32, String)>,
    promises: Arc<Mutex<Promises>>,
    stopped: Arc<AtomicBool>,
}

impl Client {
    pub fn new(host: Host, brokers: Vec<(i32, String)>) -> Client {
        let second = Duration::from_secs(1);
        let options =
            NodeOptions { request_timeout: 2 * second, connect_timeout: second, ..NodeOptions::default() };
        let (promises, stopped) = Default::default();
        Client { pool: Pool::new(&host, options), host, brokers, promises, stopped }
    }

    /// Lets writers and readers end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to one of the brokers.
    pub fn any(&self) -> Node {
        self.pool.node(self.any_broker())
    }

    pub fn node(&self, broker: i32) -> Option<Node> {
        Some(self.pool.node(self.address_of(broker)?))
    }

    /// A number below a limit, by the seed.
    pub fn below(&self, limit: u64) -> u64 {
        self.host.entropy().below(limit)
    }

    pub async fn pause(&self, duration: Duration) {
        self.host.clock().sleep(duration).await;
    }

    fn any_broker(&self) -> &str {
        let at = self.host.entropy().below(self.brokers.len() as u64) as usize;
        &self.brokers[at].1
    }

    /// Creates a topic of a number of replicas, of which so many must be in sync; asks again until a broker says yes or that
    /// it exists. False if time ran out.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        (replication_factor, min_in_sync): (i16, i32),
        within: Duration,
    ) -> bool {
        let deadline = self.host.clock().now() + within;
        while self.host.clock().now() < deadline {
            let min_in_sync = CreatableTopicConfig {
                name: Str::from("min.insync.replicas"),
                value: Some(Str::from(min_in_sync.to_string())),
                ..Default::default()
            };
            let topic = CreatableTopic {
                name: Str::from(name),
                num_partitions: partitions,
                replication_factor,
                configs: vec![min_in_sync],
                ..Default::default()
            };
            let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, ..Default::default() };
            if let Ok(response) = self.pool.node(self.any_broker()).call(&request).await
                && let Some(answer) = response.topics.first()
            {
                match ErrorCode::from_code(answer.error_code) {
                    ErrorCode::None => {
                        self.promises().topics.insert(name.to_owned(), answer.topic_id);
                        return true;
                    }
                    // An earlier attempt came through, and its answer did not.
                    ErrorCode::TopicAlreadyExists => {
                        let there = self.topic(name).await.filter(|there| there.error_code == 0);
                        if let Some(there) = there {
                            self.promises().topics.insert(name.to_owned(), there.topic_id);
                            return true;
                        }
                    }
                    _ => {}
                }
            }
            self.host.clock().sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Asks a broker for a topic and notes the leaders that it names.
    pub async fn topic(&self, name: &str) -> Option<MetadataResponseTopic> {
        let wanted = protocol::messages::metadata_request::MetadataRequestTopic {
            name: Some(Str::from(name)),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response = self.pool.node(self.any_broker()).call(&request).await.ok()?;
        let topic = response.topics.first()?.clone();
        let mut promises = self.promises();
        for p in topic.partitions.iter().filter(|p| p.leader_id >= 0 && p.leader_epoch >= 0) {
            let key = (topic.topic_id, p.partition_index, p.leader_epoch);
            let known = *promises.leaders.entry(key).or_insert(p.leader_id);
            if known != p.leader_id {
                let told =
                    format!("two leaders in one epoch: {key:?} is led by {known} and by {}", p.leader_id);
                promises.broken.push(told);
            }
        }
        Some(topic)
    }

    /// Asks for the preferred leaders now and then, so that leaders change without a fault, too.
    pub async fn elect_for_ever(self) {
        while !self.is_stopped() {
            let request =
                ElectLeadersRequest { topic_partitions: None, timeout_ms: 1000, ..Default::default() };
            // A refusal is as good: the next one may be heard.
            drop(self.any().call(&request).await);
            let millis = 300 + self.host.entropy().below(2500);
            self.host.clock().sleep(Duration::from_millis(millis)).await;
        }
    }

    /// Moves replicas of a topic now and then, each time to three brokers of the dice's choice.
    pub async fn move_for_ever(self, name: &'static str, partitions: i32) {
        while !self.is_stopped() {
            let entropy = self.host.entropy();
            self.pause(Duration::from_millis(1000 + entropy.below(3000))).await;
            let mut replicas: Vec<i32> = self.brokers.iter().map(|(id, _)| *id).collect();
            while replicas.len() > 3 {
                replicas.remove(entropy.below(replicas.len() as u64) as usize);
            }
            let first = entropy.below(3) as usize;
            replicas.rotate_left(first);
            let partition = entropy.below(partitions as u64) as i32;
            // As above.
            let _ = self.reassign((name, partition), replicas).await;
        }
    }

    /// Asks for other replicas of a partition; None if no broker answered.
    pub async fn reassign(&self, of: (&str, i32), replicas: Vec<i32>) -> Option<ErrorCode> {
        let partition =
            ReassignablePartition { partition_index: of.1, replicas: Some(replicas), ..Default::default() };
        let topic =
            ReassignableTopic { name: Str::from(of.0), partitions: vec![partition], ..Default::default() };
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![topic],
            timeout_ms: 1000,
            ..Default::default()
        };
        let answer = self.any().call(&request).await.ok()?;
        let of_one = answer.responses.first().and_then(|topic| topic.partitions.first());
        let code = of_one.map_or(0, |partition| partition.error_code);
        Some(ErrorCode::from_code(if answer.error_code == 0 { code } else { answer.error_code }))
    }

    fn address_of(&self, broker: i32) -> Option<&str> {
        self.brokers.iter().find(|(id, _)| *id == broker).map(|(_, address)| address.as_str())
    }

    /// The leader of a partition, and its topic's id; None if nobody says who that is. As every client does, it does not go back
    /// to the leader of an earlier epoch, of which a broker tells that was cut off.
    pub async fn leader(&self, name: &str, partition: i32) -> Option<(Node, Uuid)> {
        let topic = self.topic(name).await?;
        let of = topic.topic_id;
        let told = topic.partitions.iter().find(|p| p.partition_index == partition)?;
        let promises = self.promises();
        let ((_, _, newest), leader) =
            promises.leaders.range((of, partition, 0)..=(of, partition, i32::MAX)).next_back()?;
        (*newest == told.leader_epoch).then_some((self.node(*leader)?, of))
    }

    /// A batch of one record.
    pub fn batch(&self, options: BatchOptions, value: &str) -> Records {
        let mut batch = BatchBuilder::new(options);
        batch.append(self.host.clock().wall_ms(), None, Some(value.as_bytes()), &[]);
        Records::from(batch.finish().to_bytes())
    }

    /// Appends one record with acks=all, once. None: nobody knows whether it is there.
    pub async fn produce(&self, name: &str, partition: i32, value: &str) -> Option<(ErrorCode, i64)> {
        let (leader, topic_id) = self.leader(name, partition).await?;
        let request =
            produce_request((name, topic_id), partition, self.batch(BatchOptions::default(), value));
        produced(&leader.call(&request).await.ok()?)
    }

    /// Every record of a partition from its leader; None if it did not answer.
    pub async fn read_all(&self, name: &str, partition: i32) -> Option<Log> {
        let mut all = Log::new();
        let mut offset = 0;
        loop {
            let (records, next, (_, high_watermark)) = self.read_from(name, partition, offset).await?;
            all.extend(records);
            offset = next;
            if offset >= high_watermark {
                return Some(all);
            }
        }
    }

    /// Reads a partition as it grows, for as long as the world goes on.
    pub async fn read_for_ever(self, name: &'static str, partition: i32) {
        let consumer = format!("reader of {partition}");
        let assigned = Event::Assigned { consumer: consumer.clone(), partitions: vec![partition] };
        self.promises().history.push(assigned);
        let mut position = 0;
        loop {
            match self.read_from(name, partition, position).await {
                Some((records, next, (epoch, high_watermark))) => {
                    // Of one reader, who waits for each answer: where two share a connection, an answer that waited comes
                    // before a later one that did not, and tells what is newer (seed 556).
                    self.is_told(partition, epoch, high_watermark);
                    position = next;
                    let polled = |(offset, value)| Event::Polled {
                        consumer: consumer.clone(),
                        partition,
                        offset,
                        value,
                    };
                    self.promises().history.extend(records.into_iter().map(polled));
                }
                None => self.pause(Duration::from_millis(50)).await,
            }
            self.pause(Duration::from_millis(20)).await;
        }
    }

    /// Records from an offset on, the offset after them, leader epoch and high watermark. None if the leader did not answer.
    async fn read_from(&self, name: &str, partition: i32, offset: i64) -> Option<(Log, i64, (i32, i64))> {
        let topic = self.topic(name).await?;
        let known = topic.partitions.iter().find(|p| p.partition_index == partition)?;
        let (leader, epoch) = (known.leader_id, known.leader_epoch);
        let wanted = FetchPartition {
            partition,
            current_leader_epoch: epoch,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let wanted = FetchTopic {
            topic: Str::from(name),
            topic_id: topic.topic_id,
            partitions: vec![wanted],
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![wanted],
            ..Default::default()
        };
        let response = self.pool.node(self.address_of(leader)?).call(&request).await.ok()?;
        let data = response.responses.into_iter().next()?.partitions.into_iter().next()?;
        if data.error_code != 0 {
            return None;
        }
        let (mut records, mut next) = (Log::new(), offset);
        for batch in batches(data.records.as_ref().and_then(Records::to_bytes).unwrap_or_default()) {
            let batch = batch.ok()?;
            for record in batch.records(1 << 20).ok()? {
                let record = record.ok()?;
                if record.offset.0 >= offset {
                    let value = String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned();
                    records.push((record.offset.0, value));
                }
            }
            next = batch.header.next_offset().0;
        }
        Some((records, next, (epoch, data.high_watermark)))
    }

    /// What one reader is told after another, within a leader epoch, never goes back. Answers that overlap may.
    fn is_told(&self, partition: i32, epoch: i32, high_watermark: i64) {
        let mut promises = self.promises();
        let highest = *promises.told.entry((partition, epoch)).or_insert(high_watermark);
        if high_watermark < highest {
            promises.broken.push(format!(
                "partition {partition}, epoch {epoch}: a reader was told the high watermark {highest}, then {high_watermark}"
            ));
        }
        promises.told.insert((partition, epoch), highest.max(high_watermark));
    }
}

/// Asks for a batch to be written to one partition with acks=all.
pub fn produce_request(topic: (&str, Uuid), partition: i32, batch: Records) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(batch), ..Default::default() };
    let data = TopicProduceData {
        name: Str::from(topic.0),
        topic_id: topic.1,
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![data], ..Default::default() }
}

/// What was answered to such a request: the error and the offset.
pub fn produced(response: &ProduceResponse) -> Option<(ErrorCode, i64)> {
    let answer = response.responses.first()?.partition_responses.first()?;
    Some((ErrorCode::from_code(answer.error_code), answer.base_offset))
}
