//! Writers of a simulated cluster. What they send and what they are told goes into the history.
//!
//! | | in flight | when it fails |
//! |---|---|---|
//! | plain | one record | given up: it may be there, once |
//! | idempotent | up to `IN_FLIGHT_MAX` of one partition, in the order of their sequences | sent again until its outcome is known |

use std::time::Duration;

use futures_util::future::join_all;
use protocol::ErrorCode;
use protocol::batch::BatchOptions;
use protocol::ids::ProducerId;
use protocol::messages::{InitProducerIdRequest, ProduceRequest};

use super::client::{Client, produce_request, produced};
use crate::history::Event;

/// `max.in.flight.requests.per.connection` of an idempotent producer: so many batches are remembered of it.
const IN_FLIGHT_MAX: u64 = 5;
const RETRY: Duration = Duration::from_millis(50);

fn sent(producer: &str, partition: i32, value: &str) -> Event {
    Event::Sent { producer: producer.to_owned(), partition, value: value.to_owned() }
}

fn acknowledged(producer: &str, partition: i32, value: &str, offset: Option<i64>) -> Event {
    let (producer, value) = (producer.to_owned(), value.to_owned());
    Event::Acknowledged { producer, partition, value, offset }
}

/// A while between records, by the seed.
async fn think(client: &Client) {
    client.pause(Duration::from_millis(20 + client.below(60))).await;
}

/// Writes single records until it is told to stop. When one is in doubt it goes on as somebody new: that record may come
/// late, after others.
pub async fn plain(client: Client, topic: &'static str, partitions: i32) {
    let mut lives = 0;
    for n in 0.. {
        if client.is_stopped() {
            return;
        }
        let (name, value) = (format!("plain/{lives}"), format!("plain-{n}"));
        let partition = client.below(partitions as u64) as i32;
        client.promises().history.push(sent(&name, partition, &value));
        match client.produce(topic, partition, &value).await {
            Some((ErrorCode::None, offset)) => {
                let event = acknowledged(&name, partition, &value, Some(offset));
                client.promises().history.push(event);
            }
            // Looked at before anything is appended.
            Some((ErrorCode::NotEnoughReplicas, _)) => {
                client.promises().history.push(Event::Failed { producer: name, partition, value });
            }
            _ => lives += 1,
        }
        think(&client).await;
    }
}

/// A record on its way.
struct InFlight {
    sequence: i32,
    value: String,
}

struct Idempotent {
    client: Client,
    topic: &'static str,
    name: &'static str,
    id: (ProducerId, i16),
}

/// Writes records in groups until it is told to stop and knows what became of each.
pub async fn idempotent(client: Client, topic: &'static str, partitions: i32, name: &'static str) {
    let Some(id) = producer_id(&client).await else { return };
    let producer = Idempotent { client, topic, name, id };
    let mut sequences = vec![0; partitions as usize];
    for n in 0.. {
        if producer.client.is_stopped() {
            return;
        }
        let partition = producer.client.below(partitions as u64) as i32;
        let next = &mut sequences[partition as usize];
        // A leader that knows nothing of a producer takes whatever sequence comes first, Kafka's too. One behind the first could
        // be taken where that one was refused a moment before, which then comes too late for ever (seed 1973).
        let count = if *next == 0 { 1 } else { 1 + producer.client.below(IN_FLIGHT_MAX) as i32 };
        let group = (0..count)
            .map(|k| InFlight { sequence: *next + k, value: format!("{name}-{n}.{k}") })
            .collect::<Vec<_>>();
        *next += count;
        for record in &group {
            producer.client.promises().history.push(sent(name, partition, &record.value));
        }
        producer.write(partition, group).await;
        think(&producer.client).await;
    }
}

/// An id from some broker; None if the client is told to stop before.
async fn producer_id(client: &Client) -> Option<(ProducerId, i16)> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    while !client.is_stopped() {
        if let Ok(answer) = client.any().call(&request).await
            && answer.error_code == 0
        {
            return Some((ProducerId(answer.producer_id), answer.producer_epoch));
        }
        client.pause(RETRY).await;
    }
    None
}

impl Idempotent {
    /// Sends a group again and again, without what has been acknowledged, until nothing is left.
    async fn write(&self, partition: i32, mut group: Vec<InFlight>) {
        while !group.is_empty() {
            let answers = self.attempt(partition, &group).await;
            let mut left = Vec::new();
            for (at, record) in group.into_iter().enumerate() {
                match answers.get(at).copied().flatten() {
                    Some((code, offset))
                        if self.is_settled(partition, &record, code, offset, left.is_empty()) => {}
                    _ => left.push(record),
                }
            }
            group = left;
            if !group.is_empty() {
                self.client.pause(RETRY).await;
            }
        }
    }

    /// Takes an answer down; false: the record is to be sent again.
    fn is_settled(
        &self,
        partition: i32,
        record: &InFlight,
        code: ErrorCode,
        offset: i64,
        is_first: bool,
    ) -> bool {
        let mut promises = self.client.promises();
        let offset = match code {
            ErrorCode::None => Some(offset),
            // It has been written, and more after it: nobody remembers where.
            ErrorCode::DuplicateSequenceNumber => None,
            // What it follows is not there yet.
            ErrorCode::OutOfOrderSequenceNumber if !is_first => return false,
            code if code.is_retriable() => return false,
            code => {
                promises.broken.push(format!(
                    "{}: {} of partition {partition}, sequence {}, was answered {code:?}",
                    self.name, record.value, record.sequence
                ));
                return true;
            }
        };
        promises.history.push(acknowledged(self.name, partition, &record.value, offset));
        true
    }

    /// Sends records one behind the other on one connection. An answer is missing where nobody knows.
    async fn attempt(&self, partition: i32, group: &[InFlight]) -> Vec<Option<(ErrorCode, i64)>> {
        let Some((leader, topic_id)) = self.client.leader(self.topic, partition).await else {
            return Vec::new();
        };
        let (producer_id, producer_epoch) = self.id;
        let request = |record: &InFlight| {
            let base_sequence = record.sequence;
            let options = BatchOptions { producer_id, producer_epoch, base_sequence, ..Default::default() };
            produce_request((self.topic, topic_id), partition, self.client.batch(options, &record.value))
        };
        let requests: Vec<ProduceRequest> = group.iter().map(request).collect();
        let Ok(session) = leader.session().await else { return Vec::new() };
        let answers = join_all(requests.iter().map(|request| session.call(request))).await;
        answers.iter().map(|answer| produced(answer.as_ref().ok()?)).collect()
    }
}
