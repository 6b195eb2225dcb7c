//! The receiving side of private requests: into openraft, and its answers back.
//!
//! **Invariant:** a request for another cluster or another directory id is refused before openraft sees it.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use host::{Clock, Host, Instant};
use openraft::errors::Infallible;
use openraft::raft::{AppendEntriesResponse, TransferLeaderRequest};
use protocol::{Uuid, bounds};

use super::rpc::{self, Header, Request, Response, SnapshotPart};
use super::state_machine::Checkpoint;
use super::types::{Raft, RaftId, Snapshot, TypeConfig, Vote, Voter};

/// Answers the other voters.
#[derive(Clone)]
pub struct Service {
    raft: Raft,
    id: RaftId,
    cluster_id: Uuid,
    clock: Clock,
    /// When a leader last sent something.
    heard_at: Arc<Mutex<Option<Instant>>>,
    incoming: Arc<Mutex<Incoming>>,
}

/// The snapshot that is being received, and whose it is: two leaders' parts must not mix.
#[derive(Default)]
struct Incoming {
    sender: Option<(Vote, i64)>,
    bytes: BytesMut,
}

type Error = openraft::errors::RaftError<TypeConfig, Infallible>;

impl Service {
    pub fn new(host: &Host, raft: Raft, id: RaftId, cluster_id: Uuid) -> Service {
        let clock = host.clock().clone();
        Service { raft, id, cluster_id, clock, heard_at: Arc::default(), incoming: Arc::default() }
    }

    /// For how long no leader has sent anything.
    pub fn silence(&self) -> Duration {
        let heard_at = *self.heard_at.lock().expect("no code that holds this lock panics");
        heard_at.map_or(Duration::MAX, |heard_at| self.clock.now() - heard_at)
    }

    fn heard(&self) {
        *self.heard_at.lock().expect("no code that holds this lock panics") = Some(self.clock.now());
    }

    /// Answers the bytes of a private request; `observe` lets somebody without a vote have the log.
    pub async fn serve<Fut: Future<Output = Response>>(
        &self,
        request: Bytes,
        observe: impl FnOnce(RaftId, Voter) -> Fut,
    ) -> Bytes {
        let response = match rpc::decode_request(request) {
            Ok((header, request)) => self.answer(header, request, observe).await,
            Err(error) => Response::Refused(error.to_string()),
        };
        rpc::encode_response(&response)
    }

    async fn answer<Fut: Future<Output = Response>>(
        &self,
        header: Header,
        request: Request,
        observe: impl FnOnce(RaftId, Voter) -> Fut,
    ) -> Response {
        if header.cluster_id != self.cluster_id {
            let (theirs, ours) = (header.cluster_id, self.cluster_id);
            return Response::Refused(format!("cluster {theirs} is asked for, this is {ours}"));
        }
        if header.to.is_some_and(|to| to != self.id) {
            return Response::Refused(format!("this is voter {}", self.id));
        }
        if let Request::Observe { address } = request {
            return observe(header.from, Voter { address }).await;
        }
        match self.dispatch(header.from, request).await {
            Ok(response) => response,
            Err(error) => Response::Refused(error.to_string()),
        }
    }

    async fn dispatch(&self, from: RaftId, request: Request) -> Result<Response, Error> {
        Ok(match request {
            Request::Hello => {
                let initialized = self.raft.is_initialized().await.map_err(Error::Fatal)?;
                tracing::debug!(%from, initialized, "a voter asks who this is");
                Response::Hello { id: self.id, initialized }
            }
            Request::Append(append) => {
                let answer = self.raft.append_entries(append).await?;
                // Who sends under an old vote is no leader any more.
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.heard();
                }
                Response::Append(answer)
            }
            Request::Vote(ask) => Response::Vote(self.raft.vote(ask).await?),
            Request::PreVote(ask) => Response::Vote(self.raft.pre_vote(ask).await?),
            Request::TransferLeader(transfer) => self.transfer(transfer).await?,
            Request::Snapshot(part) => {
                self.heard();
                self.snapshot(part).await?
            }
            Request::Observe { .. } => unreachable!("it is answered above"),
        })
    }

    async fn transfer(&self, transfer: TransferLeaderRequest<TypeConfig>) -> Result<Response, Error> {
        let accepted = self.raft.handle_transfer_leader(transfer).await.map_err(Error::Fatal)?;
        Ok(Response::TransferLeader(accepted.is_ok()))
    }

    async fn snapshot(&self, part: SnapshotPart) -> Result<Response, Error> {
        let whole = match self.gather(&part) {
            Ok(None) => return Ok(Response::SnapshotPart),
            Ok(Some(whole)) => whole,
            Err(why) => return Ok(Response::Refused(why)),
        };
        let checkpoint = Checkpoint { end_offset: part.end_offset, epoch: part.epoch, bytes: whole };
        let snapshot = Snapshot { meta: part.meta, snapshot: checkpoint };
        let installed = self.raft.install_full_snapshot(part.vote, snapshot).await.map_err(Error::Fatal)?;
        Ok(Response::Snapshot(installed.vote))
    }

    /// The whole snapshot once its last part is there. Parts that do not follow each other start over.
    fn gather(&self, part: &SnapshotPart) -> Result<Option<Bytes>, String> {
        let mut incoming = self.incoming.lock().expect("no code that holds this lock panics");
        let sender = Some((part.vote, part.end_offset));
        if part.position == 0 {
            *incoming = Incoming { sender, bytes: BytesMut::new() };
        }
        if incoming.sender != sender || part.position != incoming.bytes.len() as u64 {
            *incoming = Incoming::default();
            return Err("a part of a snapshot is missing".to_owned());
        }
        if incoming.bytes.len() + part.bytes.len() > bounds::CONTROLLER_SNAPSHOT_BYTES_MAX {
            *incoming = Incoming::default();
            return Err("the snapshot is too large".to_owned());
        }
        incoming.bytes.extend_from_slice(&part.bytes);
        Ok(part.last.then(|| std::mem::take(&mut *incoming).bytes.freeze()))
    }
}
