//! What voters say to each other: the bodies of private requests, and their answers.
//!
//! ```text
//!   request   magic "WEIRRAFT" | version i16 | cluster id 16 | from | to (optional) | kind i8 | ...
//!   answer    kind i8 | ...
//! ```
//! A request travels inside Kafka's Envelope (58) on the controller listener: framing, order, bounds, TLS and the right to
//! act for the cluster are those of every other request there. The magic cannot begin a forwarded Kafka request.
//!
//! **Invariant:** a request that names another cluster or another voter than the receiver is refused. After a disk was
//! replaced, the directory id differs, and a leader must not count the new one's answers as the old one's.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use protocol::{DecodeError, Decoder, Encoder, Str, Uuid};

use super::codec::{
    blob, entry, finish, log_id, option, put_blob, put_entry, put_log_id, put_option, put_raft_id,
    put_snapshot_meta, put_vote, raft_id, snapshot_meta, vote,
};
use super::types::{LogId, RaftId, SnapshotMeta, TypeConfig, Vote};

const MAGIC: &[u8; 8] = b"WEIRRAFT";
const VERSION: i16 = 0;

/// Who asks, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Zero if the sender does not know it yet.
    pub cluster_id: Uuid,
    pub from: RaftId,
    /// None when the sender asks who is there.
    pub to: Option<RaftId>,
}

#[derive(Clone, Debug)]
pub enum Request {
    /// Who are you?
    Hello,
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    /// Part of a snapshot; the last one installs it.
    Snapshot(SnapshotPart),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// The sender listens there, has no vote, and wants to be sent the log.
    Observe {
        address: String,
    },
}

#[derive(Clone, Debug)]
pub struct SnapshotPart {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub end_offset: i64,
    pub epoch: i32,
    /// Position of the first byte; the parts come in order.
    pub position: u64,
    pub bytes: Bytes,
    pub last: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Hello {
        id: RaftId,
        initialized: bool,
    },
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Snapshot(Vote),
    /// The part was kept; send the next one.
    SnapshotPart,
    TransferLeader(bool),
    /// The log will be sent.
    Observing,
    /// It will not be; perhaps by the controller at this address, which is the active one.
    NotObserving {
        leader: Option<String>,
    },
    /// Not done, and why: for the log of whoever asked.
    Refused(String),
}

/// Whether the payload of an Envelope is one of these requests.
pub fn is_request(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub fn encode_request(header: &Header, request: &Request) -> Bytes {
    let mut out = Encoder::new();
    out.raw(MAGIC);
    out.i16(VERSION);
    out.uuid(header.cluster_id);
    put_raft_id(&mut out, &header.from);
    put_option(&mut out, header.to.as_ref(), put_raft_id);
    match request {
        Request::Hello => out.i8(0),
        Request::Append(append) => {
            out.i8(1);
            put_append(&mut out, append);
        }
        Request::Vote(ask) => {
            out.i8(2);
            put_vote_request(&mut out, ask);
        }
        Request::PreVote(ask) => {
            out.i8(3);
            put_vote_request(&mut out, ask);
        }
        Request::Snapshot(part) => {
            out.i8(4);
            put_vote(&mut out, &part.vote);
            put_snapshot_meta(&mut out, &part.meta);
            out.i64(part.end_offset);
            out.i32(part.epoch);
            out.i64(part.position as i64);
            put_blob(&mut out, &part.bytes);
            out.bool(part.last);
        }
        Request::TransferLeader(transfer) => {
            out.i8(5);
            put_vote(&mut out, transfer.from_leader());
            put_raft_id(&mut out, transfer.to_node_id());
            put_option(&mut out, transfer.last_log_id(), put_log_id);
        }
        Request::Observe { address } => {
            out.i8(6);
            put_text(&mut out, address);
        }
    }
    finish(out)
}

pub fn decode_request(bytes: Bytes) -> Result<(Header, Request), DecodeError> {
    let mut input = Decoder::new(bytes);
    if input.take(MAGIC.len())? != MAGIC[..] {
        return Err(DecodeError::Unknown { what: "private request", value: -1 });
    }
    let version = input.i16()?;
    if version != VERSION {
        return Err(DecodeError::UnsupportedVersion { message: "private request", version });
    }
    let header =
        Header { cluster_id: input.uuid()?, from: raft_id(&mut input)?, to: option(&mut input, raft_id)? };
    let request = match input.i8()? {
        0 => Request::Hello,
        1 => Request::Append(append(&mut input)?),
        2 => Request::Vote(vote_request(&mut input)?),
        3 => Request::PreVote(vote_request(&mut input)?),
        4 => Request::Snapshot(SnapshotPart {
            vote: vote(&mut input)?,
            meta: snapshot_meta(&mut input)?,
            end_offset: input.i64()?,
            epoch: input.i32()?,
            position: input.i64()? as u64,
            bytes: blob(&mut input)?,
            last: input.bool()?,
        }),
        5 => {
            let (from, to) = (vote(&mut input)?, raft_id(&mut input)?);
            Request::TransferLeader(TransferLeaderRequest::new(from, to, option(&mut input, log_id)?))
        }
        6 => Request::Observe { address: text(&mut input)? },
        other => return Err(DecodeError::Unknown { what: "private request", value: other.into() }),
    };
    input.finish()?;
    Ok((header, request))
}

fn put_text(out: &mut Encoder, text: &str) {
    put_blob(out, &Bytes::copy_from_slice(text.as_bytes()));
}

fn text(input: &mut Decoder) -> Result<String, DecodeError> {
    Ok(Str::from_utf8(blob(input)?).ok_or(DecodeError::NotUtf8)?.to_string())
}

fn put_append(out: &mut Encoder, append: &AppendEntriesRequest<TypeConfig>) {
    put_vote(out, &append.vote);
    put_option(out, append.prev_log_id.as_ref(), put_log_id);
    put_option(out, append.leader_commit.as_ref(), put_log_id);
    out.u32(append.entries.len() as u32);
    for one in &append.entries {
        put_entry(out, one);
    }
}

fn append(input: &mut Decoder) -> Result<AppendEntriesRequest<TypeConfig>, DecodeError> {
    let vote = vote(input)?;
    let prev_log_id = option(input, log_id)?;
    let leader_commit = option(input, log_id)?;
    let count = input.u32()?;
    // Grows with what is really there: the count is the sender's word.
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(entry(input)?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn put_vote_request(out: &mut Encoder, ask: &VoteRequest<TypeConfig>) {
    put_vote(out, &ask.vote);
    put_option(out, ask.last_log_id.as_ref(), put_log_id);
    out.bool(ask.leadership_transfer);
}

fn vote_request(input: &mut Decoder) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    let mut ask = VoteRequest::new(vote(input)?, option(input, log_id)?);
    ask.leadership_transfer = input.bool()?;
    Ok(ask)
}

pub fn encode_response(response: &Response) -> Bytes {
    let mut out = Encoder::new();
    match response {
        Response::Hello { id, initialized } => {
            out.i8(0);
            put_raft_id(&mut out, id);
            out.bool(*initialized);
        }
        Response::Append(answer) => {
            out.i8(1);
            put_append_answer(&mut out, answer);
        }
        Response::Vote(answer) => {
            out.i8(2);
            put_vote(&mut out, &answer.vote);
            out.bool(answer.vote_granted);
            put_option(&mut out, answer.last_log_id.as_ref(), put_log_id);
        }
        Response::Snapshot(answer) => {
            out.i8(3);
            put_vote(&mut out, answer);
        }
        Response::SnapshotPart => out.i8(4),
        Response::TransferLeader(accepted) => {
            out.i8(5);
            out.bool(*accepted);
        }
        Response::Refused(why) => {
            out.i8(6);
            put_text(&mut out, why);
        }
        Response::Observing => out.i8(7),
        Response::NotObserving { leader } => {
            out.i8(8);
            put_option(&mut out, leader.as_ref(), |out, leader| put_text(out, leader));
        }
    }
    finish(out)
}

pub fn decode_response(bytes: Bytes) -> Result<Response, DecodeError> {
    let mut input = Decoder::new(bytes);
    let response = match input.i8()? {
        0 => Response::Hello { id: raft_id(&mut input)?, initialized: input.bool()? },
        1 => Response::Append(append_answer(&mut input)?),
        2 => {
            let (vote, granted) = (vote(&mut input)?, input.bool()?);
            Response::Vote(VoteResponse::new(vote, option(&mut input, log_id)?, granted))
        }
        3 => Response::Snapshot(vote(&mut input)?),
        4 => Response::SnapshotPart,
        5 => Response::TransferLeader(input.bool()?),
        6 => Response::Refused(text(&mut input)?),
        7 => Response::Observing,
        8 => Response::NotObserving { leader: option(&mut input, text)? },
        other => return Err(DecodeError::Unknown { what: "private answer", value: other.into() }),
    };
    input.finish()?;
    Ok(response)
}

fn put_append_answer(out: &mut Encoder, answer: &AppendEntriesResponse<TypeConfig>) {
    let put = |out: &mut Encoder, id: &Option<LogId>| put_option(out, id.as_ref(), put_log_id);
    match answer {
        AppendEntriesResponse::Success => out.i8(0),
        AppendEntriesResponse::PartialSuccess(upto) => {
            out.i8(1);
            put(out, upto);
        }
        AppendEntriesResponse::Conflict => out.i8(2),
        AppendEntriesResponse::HigherVote(higher) => {
            out.i8(3);
            put_vote(out, higher);
        }
    }
}

fn append_answer(input: &mut Decoder) -> Result<AppendEntriesResponse<TypeConfig>, DecodeError> {
    Ok(match input.i8()? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(option(input, log_id)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(vote(input)?),
        other => return Err(DecodeError::Unknown { what: "answer to an append", value: other.into() }),
    })
}
