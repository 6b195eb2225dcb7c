//! Bytes of Raft's own things: votes, log entries, memberships. On disk (below the kv seam) and between voters.
//!
//! ```text
//!   log id      term u64 | index u64                     optional things: u8 0 or 1 before them
//!   vote        term u64 | node i32 | directory 16 | committed u8
//!   entry       log id | 0                               blank
//!               log id | 1 | epoch u64 | base offset i64 | length u32 | record batch
//!               log id | 2 | length u32 | membership, as JSON: rare, small, and read by people
//! ```
//!
//! **Invariant:** decoding never panics and never reserves more than the bytes at hand.

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Vote as RaftVote};
use protocol::{DecodeError, Decoder, Encoder};

use super::types::{Entry, LogId, Membership, Proposal, RaftId, SnapshotMeta, StoredMembership, Vote};

const BLANK: i8 = 0;
const NORMAL: i8 = 1;
const MEMBERSHIP: i8 = 2;

type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, RaftId>;
type Committed = <LeaderId as RaftLeaderId>::Committed;

/// The encoder's bytes: Raft's messages hold no file regions.
pub fn finish(out: Encoder) -> Bytes {
    out.into_bytes().expect("only bytes were encoded")
}

pub fn put_u64(out: &mut Encoder, value: u64) {
    out.i64(value as i64);
}

pub fn u64(input: &mut Decoder) -> Result<u64, DecodeError> {
    Ok(input.i64()? as u64)
}

pub fn put_blob(out: &mut Encoder, bytes: &Bytes) {
    out.u32(u32::try_from(bytes.len()).expect("batches and chunks are bounded far below 4 GiB"));
    out.shared(bytes);
}

pub fn blob(input: &mut Decoder) -> Result<Bytes, DecodeError> {
    let length = input.u32()?;
    input.take(length as usize)
}

pub fn put_option<T>(out: &mut Encoder, value: Option<&T>, put: impl FnOnce(&mut Encoder, &T)) {
    out.bool(value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

pub fn option<T>(
    input: &mut Decoder,
    take: impl FnOnce(&mut Decoder) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if input.bool()? { Ok(Some(take(input)?)) } else { Ok(None) }
}

pub fn put_raft_id(out: &mut Encoder, id: &RaftId) {
    out.i32(id.node);
    out.uuid(id.directory);
}

pub fn raft_id(input: &mut Decoder) -> Result<RaftId, DecodeError> {
    Ok(RaftId { node: input.i32()?, directory: input.uuid()? })
}

pub fn put_log_id(out: &mut Encoder, id: &LogId) {
    put_u64(out, id.leader_id.term);
    put_u64(out, id.index);
}

pub fn log_id(input: &mut Decoder) -> Result<LogId, DecodeError> {
    let term = u64(input)?;
    Ok(LogId::new(Committed::new(term), u64(input)?))
}

pub fn put_vote(out: &mut Encoder, vote: &Vote) {
    put_u64(out, vote.leader_id.term);
    put_raft_id(out, &vote.leader_id.voted_for);
    out.bool(vote.committed);
}

pub fn vote(input: &mut Decoder) -> Result<Vote, DecodeError> {
    let term = u64(input)?;
    let voted_for = raft_id(input)?;
    Ok(RaftVote { leader_id: LeaderId { term, voted_for }, committed: input.bool()? })
}

pub fn put_entry(out: &mut Encoder, entry: &Entry) {
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => out.i8(BLANK),
        EntryPayload::Normal(proposal) => {
            out.i8(NORMAL);
            put_u64(out, proposal.epoch);
            out.i64(proposal.base_offset);
            put_blob(out, &proposal.batch);
        }
        EntryPayload::Membership(membership) => {
            out.i8(MEMBERSHIP);
            put_json(out, membership);
        }
    }
}

pub fn entry(input: &mut Decoder) -> Result<Entry, DecodeError> {
    let log_id = log_id(input)?;
    let payload = match input.i8()? {
        BLANK => EntryPayload::Blank,
        NORMAL => {
            let epoch = u64(input)?;
            let base_offset = input.i64()?;
            EntryPayload::Normal(Proposal { epoch, base_offset, batch: blob(input)? })
        }
        MEMBERSHIP => EntryPayload::Membership(json::<Membership>(input)?),
        other => return Err(DecodeError::Unknown { what: "kind of Raft entry", value: other.into() }),
    };
    Ok(Entry::new(log_id, payload))
}

/// Roughly what an entry costs in memory and in a request.
pub fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => 64 + proposal.batch.len(),
        _ => 64,
    }
}

pub fn put_snapshot_meta(out: &mut Encoder, meta: &SnapshotMeta) {
    put_option(out, meta.last_log_id.as_ref(), put_log_id);
    put_option(out, meta.last_membership.log_id().as_ref(), put_log_id);
    put_json(out, meta.last_membership.membership());
}

pub fn snapshot_meta(input: &mut Decoder) -> Result<SnapshotMeta, DecodeError> {
    let last_log_id = option(input, log_id)?;
    let membership_id = option(input, log_id)?;
    let last_membership = StoredMembership::new(membership_id, json::<Membership>(input)?);
    Ok(SnapshotMeta { last_log_id, last_membership })
}

fn put_json<T: serde::Serialize>(out: &mut Encoder, value: &T) {
    let text = serde_json::to_vec(value).expect("a membership has text for its keys");
    put_blob(out, &Bytes::from(text));
}

fn json<T: serde::de::DeserializeOwned>(input: &mut Decoder) -> Result<T, DecodeError> {
    let text = blob(input)?;
    serde_json::from_slice(&text).map_err(|_| DecodeError::Unknown { what: "membership", value: -1 })
}
