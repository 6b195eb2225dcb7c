//! What a log must hold, kept as a list of its batches' bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::batch::{Batch, BatchHeader};
use protocol::ids::{LeaderEpoch, Offset};

use crate::log::append::marker_of;
use crate::producer_state::ProducerState;
use crate::txn_index::AbortedTransaction;

/// One batch as it stands in the log.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) header: BatchHeader,
    pub(super) bytes: Bytes,
}

impl Stored {
    pub(super) fn new(mut batch: Batch, base: i64, epoch: i32) -> Stored {
        (batch.header.base_offset, batch.header.leader_epoch) = (Offset(base), LeaderEpoch(epoch));
        Stored { header: batch.header, bytes: batch.to_bytes() }
    }

    pub(super) fn next(&self) -> i64 {
        self.header.next_offset().0
    }
}

/// What an operation that has not returned may have done already.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    /// Batches that may be there, the first ones of them.
    pub(super) appended: Vec<Stored>,
    /// The log may end as early as here.
    pub(super) cut_to: Option<i64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) batches: Vec<Stored>,
    pub(super) log_start: i64,
    pub(super) flushed_end: i64,
    pub(super) epoch: i32,
    /// The next sequence of each producer.
    pub(super) sequences: BTreeMap<i64, i32>,
    pub(super) in_flight: InFlight,
    pub(super) operations_done: u64,
}

impl Model {
    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(0, Stored::next).max(self.log_start)
    }

    pub(super) fn bounds(&self) -> (i64, i64) {
        (self.log_start, self.end())
    }

    pub(super) fn end_and_epoch(&self) -> (i64, i32) {
        (self.end(), self.epoch)
    }

    /// The end of the log if it is cut at an offset: a batch goes as a whole.
    pub(super) fn cut(&mut self, to: i64) {
        self.batches.retain(|b| b.header.last_offset().0 < to);
        self.flushed_end = self.flushed_end.min(self.end());
        self.epoch = self.epoch.max(self.batches.last().map_or(0, |b| b.header.leader_epoch.0));
        self.learn_sequences();
    }

    /// The batches that a reader from the log start sees.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Stored> {
        self.batches.iter().filter(|b| b.header.last_offset().0 >= self.log_start)
    }

    /// The producers' state and the aborted transactions, made from the batches alone.
    pub(super) fn producers(&self) -> (ProducerState, Vec<AbortedTransaction>) {
        let (mut state, mut aborted) = (ProducerState::default(), Vec::new());
        for stored in self.batches.iter().filter(|b| b.header.has_producer_id()) {
            let batch = Batch::read(&stored.bytes).expect("the model's batches are sound");
            match marker_of(&batch).expect("the model's batches are sound") {
                Some(marker) => aborted.extend(state.apply_marker(&stored.header, marker)),
                None => state.apply(&stored.header),
            }
        }
        (state, aborted)
    }

    /// After a crash took some batches: what each producer will send next.
    pub(super) fn learn_sequences(&mut self) {
        let (state, _) = self.producers();
        self.sequences = state.producers().iter().map(|(id, p)| (*id, p.last_sequence() + 1)).collect();
    }
}
