//! What committed entries do: they change the image, and are published.
//!
//! **Invariant:** the same entries give the same image at the same offset on every voter. An entry that was decided
//! against another epoch or another end of the log changes nothing: its proposer had lost leadership in between.
//!
//! The state lives in memory. What is kept are snapshots (in the log store) and the log after them; a restart applies
//! that again. Snapshots are Kafka's: batches of records between a header and a footer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use host::{Clock, Host};
use metadata::features::KRAFT_VERSION;
use metadata::{Delta, Image};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use protocol::{DecodeError, Decoder, Encoder};

use super::batches::{self, Stamp};
use super::codec;
use super::log_store::LogStore;
use super::types::{Applied, Entry, LogId, Proposal, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
pub use crate::publisher::Checkpoint;
use crate::publisher::{Committed, Publisher};

pub struct StateMachine {
    clock: Clock,
    store: LogStore,
    publisher: Arc<Publisher>,
    state: State,
}

/// What a snapshot must carry.
#[derive(Clone, Default)]
struct State {
    applied: Option<LogId>,
    membership: StoredMembership,
    image: Image,
    /// Epoch of the last record.
    epoch: i32,
    /// Timestamp of the last batch.
    timestamp_ms: i64,
}

impl State {
    fn committed(&self) -> Committed {
        Committed { image: self.image.clone(), epoch: self.epoch, applied: self.applied.map(|id| id.index) }
    }

    /// The bytes to publish, if the entry has records.
    fn apply(&mut self, entry: &Entry) -> io::Result<(Applied, Option<Bytes>)> {
        self.applied = Some(entry.log_id);
        let epoch = i32::try_from(entry.log_id.leader_id.term).map_err(io::Error::other)?;
        let published = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                let level = self.image.features.level(KRAFT_VERSION);
                Some(batches::voters(self.image.end_offset, epoch, level, membership))
            }
            EntryPayload::Normal(proposal) => {
                if !self.fits(entry, proposal) {
                    return Ok((Applied { end_offset: self.image.end_offset, accepted: false }, None));
                }
                Some(proposal.batch.clone())
            }
        };
        if let Some(batches) = &published {
            let mut delta = Delta::new(&self.image);
            batches::apply(&mut delta, batches).map_err(io::Error::other)?;
            self.image = delta.finish();
            self.epoch = epoch;
            self.timestamp_ms = self.timestamp_ms.max(last_timestamp(batches));
        }
        Ok((Applied { end_offset: self.image.end_offset, accepted: true }, published))
    }

    fn fits(&self, entry: &Entry, proposal: &Proposal) -> bool {
        proposal.epoch == entry.log_id.leader_id.term && proposal.base_offset == self.image.end_offset
    }
}

fn last_timestamp(batches: &Bytes) -> i64 {
    let last = protocol::batch::batches(batches.clone()).filter_map(Result::ok).last();
    last.map_or(0, |batch| batch.header.max_timestamp)
}

/// What is stored beside a checkpoint.
struct Meta {
    raft: SnapshotMeta,
    end_offset: i64,
    epoch: i32,
    timestamp_ms: i64,
}

impl Meta {
    fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        codec::put_snapshot_meta(&mut out, &self.raft);
        out.i64(self.end_offset);
        out.i32(self.epoch);
        out.i64(self.timestamp_ms);
        codec::finish(out)
    }

    fn decode(bytes: Bytes) -> Result<Meta, DecodeError> {
        let mut input = Decoder::new(bytes);
        let raft = codec::snapshot_meta(&mut input)?;
        Ok(Meta { raft, end_offset: input.i64()?, epoch: input.i32()?, timestamp_ms: input.i64()? })
    }
}

impl StateMachine {
    /// Begins with the stored snapshot, if there is one.
    ///
    /// # Errors
    /// A snapshot that is damaged, or that a newer release wrote.
    pub fn open(host: &Host, store: LogStore, publisher: Arc<Publisher>) -> io::Result<StateMachine> {
        let clock = host.clock().clone();
        let mut machine = StateMachine { clock, store, publisher, state: State::default() };
        if let Some((meta, bytes)) = machine.store.snapshot() {
            let meta = Meta::decode(meta).map_err(io::Error::other)?;
            let checkpoint = Checkpoint { end_offset: meta.end_offset, epoch: meta.epoch, bytes };
            machine.restore(&meta.raft, checkpoint, meta.timestamp_ms)?;
        }
        Ok(machine)
    }

    fn restore(&mut self, meta: &SnapshotMeta, checkpoint: Checkpoint, timestamp_ms: i64) -> io::Result<()> {
        let image =
            batches::read_checkpoint(&checkpoint.bytes, checkpoint.end_offset).map_err(io::Error::other)?;
        let (applied, membership) = (meta.last_log_id, meta.last_membership.clone());
        self.state = State { applied, membership, image, epoch: checkpoint.epoch, timestamp_ms };
        self.publisher.reset(checkpoint, self.state.committed());
        Ok(())
    }

    fn apply_one(&mut self, entry: &Entry) -> io::Result<Applied> {
        let (applied, published) = self.state.apply(entry)?;
        match published {
            Some(batches) => self.publisher.append(batches, self.state.committed()),
            None => self.publisher.advance(entry.log_id.index),
        }
        Ok(applied)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = self.apply_one(&entry)?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (store, publisher, state) = (self.store.clone(), self.publisher.clone(), self.state.clone());
        SnapshotBuilder { clock: self.clock.clone(), store, publisher, state }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        checkpoint: Checkpoint,
    ) -> Result<(), io::Error> {
        let stored = Meta {
            raft: meta.clone(),
            end_offset: checkpoint.end_offset,
            epoch: checkpoint.epoch,
            timestamp_ms: self.state.timestamp_ms,
        };
        // Read before it is stored: a checkpoint that this release cannot read must not replace one that it can.
        batches::read_checkpoint(&checkpoint.bytes, checkpoint.end_offset).map_err(io::Error::other)?;
        let last_index = meta.last_log_id.map(|id| id.index);
        self.store.save_snapshot(last_index, stored.encode(), checkpoint.bytes.clone()).await?;
        self.restore(meta, checkpoint, stored.timestamp_ms)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some((meta, bytes)) = self.store.snapshot() else { return Ok(None) };
        let meta = Meta::decode(meta).map_err(io::Error::other)?;
        let snapshot = Checkpoint { end_offset: meta.end_offset, epoch: meta.epoch, bytes };
        Ok(Some(Snapshot { meta: meta.raft, snapshot }))
    }
}

/// A view of the state at one moment; the image is shared with the machine that goes on.
pub struct SnapshotBuilder {
    clock: Clock,
    store: LogStore,
    publisher: Arc<Publisher>,
    state: State,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let state = &self.state;
        let began = self.clock.now();
        let stamp = Stamp { epoch: state.epoch, timestamp_ms: state.timestamp_ms };
        let bytes = batches::checkpoint(&state.image, state.membership.membership(), stamp);
        let raft = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone() };
        let (end_offset, epoch) = (state.image.end_offset, state.epoch);
        let meta = Meta { raft, end_offset, epoch, timestamp_ms: state.timestamp_ms };
        let last_index = state.applied.map(|id| id.index);
        let made = self.clock.now();
        self.store.save_snapshot(last_index, meta.encode(), bytes.clone()).await?;
        let (making, saving) = (made - began, self.clock.now() - made);
        tracing::info!(end_offset, bytes = bytes.len(), ?making, ?saving, "took a snapshot");
        let checkpoint = Checkpoint { end_offset, epoch, bytes };
        self.publisher.set_checkpoint(checkpoint.clone());
        Ok(Snapshot { meta: meta.raft, snapshot: checkpoint })
    }
}
