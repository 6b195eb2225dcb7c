//! The seam between a coordinator's state and the runtime that keeps it in a log.
//!
//! ```text
//!  operation ─► perform (decides, applies at once) ─► entries ─► appended as one batch ─► committed ─► answers leave
//!  log       ─► replay, entry by entry ─► loaded                       '─ failed: the machine is dropped and loaded anew
//! ```
//! A machine is one partition of an internal topic. It is pure: time, random ids and the log come from outside.
//!
//! **Invariant:** what `replay` makes of the entries is what `perform` made of the operations, as far as it must survive.

use bytes::Bytes;

/// Both clocks at the moment of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For what is written: milliseconds since 1970.
    pub wall_ms: i64,
    /// For deadlines: milliseconds of a clock that never jumps.
    pub timer_ms: i64,
}

/// Who waits for an answer. Given by the runtime; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One record of the internal topic. Without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl Entry {
    /// What it takes in a batch, roughly: the exact size depends on its neighbours.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 24;
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES
    }
}

/// What operations lead to.
#[derive(Debug)]
pub struct Effects<A> {
    /// To be appended together.
    pub entries: Vec<Entry>,
    /// To be given once everything is committed that was appended so far.
    pub answers: Vec<(Ticket, A)>,
}

impl<A> Default for Effects<A> {
    fn default() -> Effects<A> {
        Effects { entries: Vec::new(), answers: Vec::new() }
    }
}

impl<A> Effects<A> {
    pub fn answer(&mut self, ticket: Ticket, answer: A) {
        self.answers.push((ticket, answer));
    }

    pub fn size_bytes(&self) -> usize {
        self.entries.iter().map(Entry::size_bytes).sum()
    }
}

/// See the module.
pub trait Machine: Send + 'static {
    type Operation: Send + 'static;
    type Answer: Send + 'static;

    /// Does one operation. Its answer may come with a later one: a member waits for the others.
    fn perform(
        &mut self,
        now: Moment,
        ticket: Ticket,
        operation: Self::Operation,
        effects: &mut Effects<Self::Answer>,
    );

    /// Does what was due by now.
    fn expire(&mut self, now: Moment, effects: &mut Effects<Self::Answer>);

    /// When `expire` wants to be called, on the clock of deadlines.
    fn next_deadline_ms(&self) -> Option<i64>;

    /// Takes over one entry of the log, in order. `transaction` is the producer whose transaction it belongs to.
    fn replay(&mut self, entry: &Entry, transaction: Option<i64>);

    /// Takes over the end of a producer's transaction.
    fn replay_end_of_transaction(&mut self, producer_id: i64, is_commit: bool);

    /// The whole log was replayed.
    fn loaded(&mut self, now: Moment, effects: &mut Effects<Self::Answer>);
}
