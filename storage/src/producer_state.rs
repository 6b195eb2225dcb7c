//! What a log knows of its producers: the last batches of each, and which transactions are open.
//!
//! A batch of an idempotent producer continues the sequence of the one before, is one of the last five again (then it is
//! answered with its old offset), or is refused. A transaction is open from its first batch to its marker; the first
//! offset of the oldest open one is the first unstable offset, beyond which a read_committed consumer does not see.
//!
//!     offset   0   1   2   3   4   5   6   7
//!     pid 9    B-----------B       C              transaction 0..=6, committed by the marker at 6
//!     pid 7            B                          open since 2: the first unstable offset, once 9 is committed
//!
//! Invariant: a pure function of the batches of the log, in order; a snapshot and the batches after it give the same.

use std::collections::{BTreeMap, VecDeque};

use protocol::batch::{BatchHeader, NO_SEQUENCE, add_sequence};

use crate::txn_index::AbortedTransaction;

/// The batches per producer that can be told again (Kafka's `NUM_BATCHES_TO_RETAIN`).
const BATCHES_KEPT: usize = 5;

/// One batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    /// Records of the batch less one.
    pub offset_delta: i32,
    pub timestamp: i64,
}

impl ProducerBatch {
    fn first_sequence(&self) -> i32 {
        add_sequence(self.last_sequence, -self.offset_delta)
    }

    fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub epoch: i16,
    /// The newest last; none after a marker of a new epoch.
    pub batches: VecDeque<ProducerBatch>,
    pub coordinator_epoch: i32,
    /// That of the last batch or marker, for expiry: the record's own time, as in Kafka.
    pub last_timestamp: i64,
    pub transaction_first_offset: Option<i64>,
}

impl Producer {
    fn new(epoch: i16) -> Producer {
        Producer {
            epoch,
            batches: VecDeque::new(),
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first_offset: None,
        }
    }

    /// The sequence number of the last record, or -1.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(NO_SEQUENCE, |b| b.last_sequence)
    }
}

/// Why a producer's batch is refused. Kafka's codes: OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE,
/// TRANSACTION_COORDINATOR_FENCED.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    #[error(
        "out of order sequence number for producer {producer_id}: {found} (incoming), {expected} (current end)"
    )]
    OutOfOrderSequence { producer_id: i64, expected: i32, found: i32 },
    #[error("epoch {found} of producer {producer_id} is smaller than the last seen epoch {current}")]
    InvalidEpoch { producer_id: i64, current: i16, found: i16 },
    #[error("producer {producer_id} wrote outside of its open transaction")]
    InvalidTransactionState { producer_id: i64 },
    #[error("coordinator epoch {found} of producer {producer_id} is smaller than {current}")]
    CoordinatorFenced { producer_id: i64, current: i32, found: i32 },
}

/// What to do with a producer's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// It is in the log already, at these offsets.
    Duplicate {
        first_offset: i64,
        last_offset: i64,
        timestamp: i64,
    },
}

/// An end-of-transaction marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub commit: bool,
    pub coordinator_epoch: i32,
    pub timestamp: i64,
}

/// A transaction whose marker is written, but not yet below the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Completed {
    first_offset: i64,
    last_offset: i64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    producers: BTreeMap<i64, Producer>,
    /// Open transactions by their first offset.
    open: BTreeMap<i64, i64>,
    /// Completed ones by their first offset, until the high watermark passes them.
    unreplicated: BTreeMap<i64, Completed>,
}

impl ProducerState {
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Producers by id.
    pub fn producers(&self) -> &BTreeMap<i64, Producer> {
        &self.producers
    }

    /// Judges a client's batch. Changes nothing.
    pub fn decide(&self, batch: &BatchHeader) -> Result<Verdict, ProducerError> {
        let id = batch.producer_id.0;
        if id < 0 {
            return Ok(Verdict::Append);
        }
        // A producer that is not known may begin anywhere: its state may have expired (KIP-360).
        let Some(producer) = self.producers.get(&id) else { return Ok(Verdict::Append) };
        if batch.producer_epoch == producer.epoch
            && let Some(b) = producer.batches.iter().find(|b| {
                b.first_sequence() == batch.base_sequence && b.last_sequence == batch.last_sequence()
            })
        {
            let (first_offset, last_offset) = (b.first_offset(), b.last_offset);
            return Ok(Verdict::Duplicate { first_offset, last_offset, timestamp: b.timestamp });
        }
        if batch.producer_epoch < producer.epoch {
            let (current, found) = (producer.epoch, batch.producer_epoch);
            return Err(ProducerError::InvalidEpoch { producer_id: id, current, found });
        }
        Self::check_sequence(id, producer, batch)?;
        if !batch.is_transactional() && producer.transaction_first_offset.is_some() {
            return Err(ProducerError::InvalidTransactionState { producer_id: id });
        }
        Ok(Verdict::Append)
    }

    fn check_sequence(id: i64, producer: &Producer, batch: &BatchHeader) -> Result<(), ProducerError> {
        let (last, found) = (producer.last_sequence(), batch.base_sequence);
        // A new epoch begins at 0; so does one that is known from its marker alone.
        let expected = if batch.producer_epoch == producer.epoch { add_sequence(last, 1) } else { 0 };
        if found == expected || producer.epoch < 0 {
            return Ok(());
        }
        Err(ProducerError::OutOfOrderSequence { producer_id: id, expected, found })
    }

    /// Judges a marker of a transaction coordinator, which says the version of transactions that it used (KIP-890): from
    /// version 2 on, a marker's epoch is above that of the transaction, or the marker is a repeated one.
    pub fn decide_marker(
        &self,
        batch: &BatchHeader,
        marker: Marker,
        transaction_version: i16,
    ) -> Result<(), ProducerError> {
        let id = batch.producer_id.0;
        let Some(producer) = self.producers.get(&id) else { return Ok(()) };
        let (current, found) = (producer.epoch, batch.producer_epoch);
        let is_repeated = found == current && producer.transaction_first_offset.is_none();
        let fenced =
            if transaction_version >= 2 { found <= current && !is_repeated } else { found < current };
        if fenced {
            return Err(ProducerError::InvalidEpoch { producer_id: id, current, found });
        }
        if producer.coordinator_epoch > marker.coordinator_epoch {
            let (current, found) = (producer.coordinator_epoch, marker.coordinator_epoch);
            return Err(ProducerError::CoordinatorFenced { producer_id: id, current, found });
        }
        Ok(())
    }

    /// Takes a batch that is in the log, at its offsets. Cannot refuse.
    pub fn apply(&mut self, batch: &BatchHeader) {
        let id = batch.producer_id.0;
        if id < 0 || batch.is_control() {
            return;
        }
        let producer = self.producers.entry(id).or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        let (first, last) = (batch.base_offset.0, batch.last_offset().0);
        if batch.base_sequence != NO_SEQUENCE {
            producer.batches.push_back(ProducerBatch {
                last_sequence: batch.last_sequence(),
                last_offset: last,
                offset_delta: batch.last_offset_delta,
                timestamp: batch.max_timestamp,
            });
            if producer.batches.len() > BATCHES_KEPT {
                producer.batches.pop_front();
            }
        }
        producer.last_timestamp = batch.max_timestamp;
        if batch.is_transactional() && producer.transaction_first_offset.is_none() {
            producer.transaction_first_offset = Some(first);
            self.open.insert(first, id);
        }
    }

    /// Takes a marker that is in the log. Returns the transaction, if it was open and is aborted by this.
    pub fn apply_marker(&mut self, batch: &BatchHeader, marker: Marker) -> Option<AbortedTransaction> {
        let id = batch.producer_id.0;
        let producer = self.producers.entry(id).or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = marker.timestamp;
        let first_offset = producer.transaction_first_offset.take()?;
        self.open.remove(&first_offset);
        let last_offset = batch.last_offset().0;
        self.unreplicated.insert(first_offset, Completed { first_offset, last_offset });
        if marker.commit {
            return None;
        }
        // The last stable offset once this transaction is out of the way.
        let last_stable_offset = self.open.keys().next().copied().unwrap_or(last_offset + 1);
        Some(AbortedTransaction { producer_id: id, first_offset, last_offset, last_stable_offset })
    }

    /// The first offset that a read_committed consumer must not see yet, given the high watermark.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let open = self.open.keys().next().copied();
        let unreplicated = self.unreplicated.keys().next().copied();
        open.into_iter().chain(unreplicated).min()
    }

    /// Completed transactions below the high watermark are stable.
    pub fn advance_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, t| t.last_offset >= high_watermark);
    }

    /// Forgets producers that have written nothing for `expiration_ms`, unless their transaction is open.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, p| {
            p.transaction_first_offset.is_some() || now_ms.saturating_sub(p.last_timestamp) < expiration_ms
        });
    }

    /// Takes a producer as a snapshot tells it.
    pub fn restore(&mut self, id: i64, producer: Producer) {
        if let Some(first) = producer.transaction_first_offset {
            self.open.insert(first, id);
        }
        self.producers.insert(id, producer);
    }
}

#[cfg(test)]
mod tests;
