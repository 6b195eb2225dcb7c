//! Producing and fetching one partition at a time: what tools and tests need. Batches are opaque.

use std::time::Duration;

use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{FetchRequest, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest};
use protocol::{Records, Request, Str};

use super::cluster::{Cluster, ClusterError, Leader};

/// Where a batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: i64,
    /// -1 unless the topic stamps records itself.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
}

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// Only up to the last stable offset (`isolation.level=read_committed`).
    pub read_committed: bool,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 1 << 20,
            read_committed: false,
        }
    }
}

/// What was fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Whole batches, and perhaps a part of one at the end. The first batch may begin before the offset asked for.
    pub records: Records,
    /// (producer id, first offset) of aborted transactions within the records.
    pub aborted: Vec<(i64, i64)>,
}

impl Cluster {
    /// A new producer id and its epoch, for batches that are written once although they are sent again.
    pub async fn producer_id(&self) -> Result<(i64, i16), ClusterError> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let mut retry = self.retry();
        loop {
            // An id that nobody uses costs nothing.
            let answer = self.call_any(&request, true).await?;
            match ClusterError::check(|| "a producer id".to_owned(), answer.error_code, None) {
                Ok(()) => return Ok((answer.producer_id, answer.producer_epoch)),
                Err(error) if retry.wait(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes batches to a partition. With acks=0 there is no answer, and the result is None.
    pub async fn produce_batch(
        &self,
        topic: &Str,
        partition: i32,
        records: Records,
        acks: i16,
    ) -> Result<Option<Produced>, ClusterError> {
        let mut retry = self.retry();
        loop {
            match self.produce_once(topic, partition, &records, acks, retry.is_again()).await {
                Err(error) if retry.wait(&error).await => {}
                result => return result,
            }
        }
    }

    async fn produce_once(
        &self,
        topic: &Str,
        partition: i32,
        records: &Records,
        acks: i16,
        fresh: bool,
    ) -> Result<Option<Produced>, ClusterError> {
        let leader = self.leader(topic, partition, fresh).await?;
        let data = PartitionProduceData { index: partition, records: Some(records.clone()) };
        let request = ProduceRequest {
            acks,
            timeout_ms: millis(self.options().node.request_timeout),
            topic_data: vec![TopicProduceData {
                name: topic.clone(),
                topic_id: leader.topic_id,
                partition_data: vec![data],
            }],
            ..ProduceRequest::default()
        };
        let session = leader.node.session().await?;
        if acks == 0 {
            session.connection().send_one_way(session.version(ProduceRequest::KEY)?, &request)?;
            return Ok(None);
        }
        let answer = session.call(&request).await?;
        let written =
            answer.responses.into_iter().flat_map(|t| t.partition_responses).find(|p| p.index == partition);
        let written = written.ok_or_else(|| incomplete(&leader))?;
        ClusterError::check(
            || format!("{topic}-{partition}"),
            written.error_code,
            written.error_message.as_ref(),
        )?;
        Ok(Some(Produced {
            base_offset: written.base_offset,
            log_append_time_ms: written.log_append_time_ms,
            log_start_offset: written.log_start_offset,
        }))
    }

    /// Reads a partition from an offset.
    pub async fn fetch(
        &self,
        topic: &Str,
        partition: i32,
        offset: i64,
        options: FetchOptions,
    ) -> Result<Fetched, ClusterError> {
        let mut retry = self.retry();
        loop {
            match self.fetch_once(topic, partition, offset, options, retry.is_again()).await {
                Err(error) if retry.wait(&error).await => {}
                result => return result,
            }
        }
    }

    async fn fetch_once(
        &self,
        topic: &Str,
        partition: i32,
        offset: i64,
        options: FetchOptions,
        fresh: bool,
    ) -> Result<Fetched, ClusterError> {
        let leader = self.leader(topic, partition, fresh).await?;
        let request = fetch_request(topic, partition, offset, options, &leader);
        let limit = self.options().node.request_timeout + options.max_wait;
        let answer = leader.node.session().await?.call_within(limit, &request).await?;
        ClusterError::check(|| leader.node.name().to_owned(), answer.error_code, None)?;
        let read =
            answer.responses.into_iter().flat_map(|t| t.partitions).find(|p| p.partition_index == partition);
        let read = read.ok_or_else(|| incomplete(&leader))?;
        ClusterError::check(|| format!("{topic}-{partition} at offset {offset}"), read.error_code, None)?;
        let aborted = read.aborted_transactions.unwrap_or_default();
        Ok(Fetched {
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            records: read.records.unwrap_or_default(),
            aborted: aborted.iter().map(|a| (a.producer_id, a.first_offset)).collect(),
        })
    }

    /// The offset at a timestamp in ms, or -1 for the end, -2 for the start (Kafka's `ListOffsetsRequest`). Returns -1 if
    /// no record is that late.
    pub async fn offset_for(&self, topic: &Str, partition: i32, timestamp: i64) -> Result<i64, ClusterError> {
        let mut retry = self.retry();
        loop {
            match self.offset_once(topic, partition, timestamp, retry.is_again()).await {
                Err(error) if retry.wait(&error).await => {}
                result => return result,
            }
        }
    }

    async fn offset_once(
        &self,
        topic: &Str,
        partition: i32,
        timestamp: i64,
        fresh: bool,
    ) -> Result<i64, ClusterError> {
        let leader = self.leader(topic, partition, fresh).await?;
        let asked = ListOffsetsPartition {
            partition_index: partition,
            current_leader_epoch: leader.leader_epoch,
            timestamp,
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: topic.clone(), partitions: vec![asked] }],
            ..ListOffsetsRequest::default()
        };
        let answer = leader.node.call(&request).await?;
        let found =
            answer.topics.into_iter().flat_map(|t| t.partitions).find(|p| p.partition_index == partition);
        let found = found.ok_or_else(|| incomplete(&leader))?;
        ClusterError::check(|| format!("{topic}-{partition}"), found.error_code, None)?;
        Ok(found.offset)
    }
}

fn fetch_request(
    topic: &Str,
    partition: i32,
    offset: i64,
    options: FetchOptions,
    leader: &Leader,
) -> FetchRequest {
    let asked = FetchPartition {
        partition,
        current_leader_epoch: leader.leader_epoch,
        fetch_offset: offset,
        partition_max_bytes: options.max_bytes,
        ..FetchPartition::default()
    };
    FetchRequest {
        max_wait_ms: millis(options.max_wait),
        min_bytes: options.min_bytes,
        max_bytes: options.max_bytes,
        isolation_level: i8::from(options.read_committed),
        // No session: each fetch names all that it wants.
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: topic.clone(), topic_id: leader.topic_id, partitions: vec![asked] }],
        ..FetchRequest::default()
    }
}

fn incomplete(leader: &Leader) -> ClusterError {
    ClusterError::Incomplete(leader.node.name().to_owned())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
