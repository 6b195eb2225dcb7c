//! The client of a simulated cluster: it creates topics, writes and reads, and remembers what it was promised.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use host::Host;
use protocol::batch::{BatchBuilder, BatchOptions, batches};
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    CreateTopicsRequest, ElectLeadersRequest, FetchRequest, MetadataRequest, ProduceRequest,
};
use protocol::{ErrorCode, Records, Str, Uuid};
use wire::client::{Node, NodeOptions, Pool};

use super::committer::Commits;

/// What a client was promised and what it saw.
#[derive(Debug, Default)]
pub struct Promises {
    /// Topics whose creation was acknowledged.
    pub topics: BTreeMap<String, Uuid>,
    /// Records whose append was acknowledged, by topic, partition and offset.
    pub records: BTreeMap<(String, i32, i64), Bytes>,
    /// Records that a reader was given, in the same way.
    pub seen: BTreeMap<(String, i32, i64), Bytes>,
    /// Offsets that a group committed.
    pub commits: Commits,
    /// The highest high watermark that a reader was told, by partition and leader epoch.
    told: BTreeMap<(i32, i32), i64>,
    /// Leaders that a metadata answer named, by topic, partition and leader epoch.
    pub leaders: BTreeMap<(Uuid, i32, i32), i32>,
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

    fn address_of(&self, broker: i32) -> Option<&str> {
        self.brokers.iter().find(|(id, _)| *id == broker).map(|(_, address)| address.as_str())
    }

    /// Appends one record with acks=all. What is acknowledged is remembered.
    pub async fn produce(&self, name: &str, partition: i32, value: &str) -> bool {
        let Some(topic) = self.topic(name).await else { return false };
        let leader = topic.partitions.iter().find(|p| p.partition_index == partition).map(|p| p.leader_id);
        let Some(address) = leader.and_then(|id| self.address_of(id)) else { return false };
        let mut batch = BatchBuilder::new(BatchOptions::default());
        batch.append(self.host.clock().wall_ms(), None, Some(value.as_bytes()), &[]);
        let records = Some(Records::from(batch.finish().to_bytes()));
        let data = PartitionProduceData { index: partition, records, ..Default::default() };
        let data = TopicProduceData {
            name: Str::from(name),
            topic_id: topic.topic_id,
            partition_data: vec![data],
            ..Default::default()
        };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![data], ..Default::default() };
        let Ok(response) = self.pool.node(address).call(&request).await else { return false };
        let answer = response.responses.first().and_then(|t| t.partition_responses.first());
        let Some(answer) = answer.filter(|a| a.error_code == 0) else { return false };
        let key = (name.to_owned(), partition, answer.base_offset);
        let mut promises = self.promises();
        if let Some(other) = promises.records.insert(key.clone(), Bytes::from(value.to_owned())) {
            promises.broken.push(format!("{key:?} was acknowledged twice: {other:?} and {value}"));
        }
        true
    }

    /// Every record of a partition from its leader; None if it did not answer.
    pub async fn read_all(&self, name: &str, partition: i32) -> Option<BTreeMap<i64, Bytes>> {
        let mut all = BTreeMap::new();
        let mut offset = 0;
        loop {
            let (records, next, high_watermark) = self.read_from(name, partition, offset).await?;
            all.extend(records);
            offset = next;
            if offset >= high_watermark {
                return Some(all);
            }
        }
    }

    /// Reads a partition as it grows, and writes down what it was given and told.
    pub async fn read_for_ever(self, name: &'static str, partition: i32) {
        let mut offset = 0;
        while !self.is_stopped() {
            match self.read_from(name, partition, offset).await {
                Some((records, next, _)) => {
                    offset = next;
                    let mut promises = self.promises();
                    for (at, value) in records {
                        promises.seen.insert((name.to_owned(), partition, at), value);
                    }
                }
                None => self.host.clock().sleep(Duration::from_millis(50)).await,
            }
            self.host.clock().sleep(Duration::from_millis(20)).await;
        }
    }

    /// Records from an offset on, the offset after them, and the high watermark. None if the leader did not answer.
    async fn read_from(
        &self,
        name: &str,
        partition: i32,
        offset: i64,
    ) -> Option<(Vec<(i64, Bytes)>, i64, i64)> {
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
        self.is_told(partition, epoch, data.high_watermark);
        let (mut records, mut next) = (Vec::new(), offset);
        for batch in batches(data.records.as_ref().and_then(Records::to_bytes).unwrap_or_default()) {
            let batch = batch.ok()?;
            for record in batch.records(1 << 20).ok()? {
                let record = record.ok()?;
                if record.offset.0 >= offset {
                    records.push((record.offset.0, record.value.unwrap_or_default()));
                }
            }
            next = batch.header.next_offset().0;
        }
        Some((records, next, data.high_watermark))
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
