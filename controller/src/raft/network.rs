//! openraft's network: private requests over connections to the other voters' controller listeners.
//!
//! **Invariant:** a connection carries one request at a time and is dropped after any failure, so an answer is never taken
//! for another request's. openraft keeps separate clients for log entries, heartbeats and snapshots: a slow fsync or a long
//! snapshot does not hold up a heartbeat.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use host::Host;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use protocol::{Uuid, bounds};

use super::rpc::{self, Header, Request, Response, SnapshotPart};
use super::state_machine::Checkpoint;
use super::types::{Membership, RaftId, Snapshot, TypeConfig, Vote, Voter};
use crate::peer::Peer;

/// How long an append may take: the follower answers after its fsync, and a slow disk must not look like a lost voter.
const APPEND_LIMIT: Duration = Duration::from_secs(2);
const SNAPSHOT_PART_LIMIT: Duration = Duration::from_secs(10);

/// Where the members of the quorum listen.
pub struct Addresses {
    /// From `controller.quorum.voters`: they win over the addresses in the log, so that a voter can move.
    given: BTreeMap<i32, String>,
    in_log: Mutex<BTreeMap<RaftId, String>>,
}

impl Addresses {
    pub fn new(given: BTreeMap<i32, String>) -> Addresses {
        Addresses { given, in_log: Mutex::default() }
    }

    fn in_log(&self) -> MutexGuard<'_, BTreeMap<RaftId, String>> {
        self.in_log.lock().expect("no code that holds this lock panics")
    }

    /// Takes over what the log says now.
    pub fn follow(&self, membership: &Membership) {
        let now = membership.nodes().map(|(id, voter)| (*id, voter.address.clone())).collect();
        *self.in_log() = now;
    }

    fn of(&self, id: &RaftId) -> Option<String> {
        self.given.get(&id.node).cloned().or_else(|| self.in_log().get(id).cloned())
    }
}

/// Makes clients of other voters.
#[derive(Clone)]
pub struct Network {
    pub host: Host,
    pub cluster_id: Uuid,
    pub id: RaftId,
    pub addresses: Arc<Addresses>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: RaftId, node: &Voter) -> Client {
        let address = self.addresses.of(&target).unwrap_or_else(|| node.address.clone());
        let header = Header { cluster_id: self.cluster_id, from: self.id, to: Some(target) };
        let peer = Peer::new(&self.host, address);
        Client { header, target, addresses: self.addresses.clone(), host: self.host.clone(), peer }
    }
}

/// A client of one voter.
pub struct Client {
    header: Header,
    target: RaftId,
    addresses: Arc<Addresses>,
    host: Host,
    peer: Peer,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("refused: {0}")]
    Refused(String),
    #[error("an answer to another question")]
    Unexpected,
}

impl From<CallError> for RPCError<TypeConfig> {
    fn from(error: CallError) -> Self {
        match error {
            // Nobody listens, or somebody else does: openraft waits before it tries again.
            CallError::Io(e) => RPCError::Unreachable(Unreachable::new(&e)),
            CallError::Refused(why) => RPCError::Unreachable(Unreachable::from_string(why)),
            CallError::Unexpected => RPCError::Network(NetworkError::new(&error)),
        }
    }
}

impl Client {
    async fn call(&mut self, request: &Request, limit: Duration) -> Result<Response, CallError> {
        // openraft keeps a client as long as its target is a member, also when that moves.
        if let Some(moved) = self.addresses.of(&self.target).filter(|address| address != self.peer.address())
        {
            self.peer = Peer::new(&self.host, moved);
        }
        let bytes = rpc::encode_request(&self.header, request);
        let answer = self.peer.call(bytes, limit).await?;
        match rpc::decode_response(answer).map_err(io::Error::other)? {
            Response::Refused(why) => Err(CallError::Refused(why)),
            response => Ok(response),
        }
    }

    async fn ask_vote(
        &mut self,
        request: Request,
        limit: Duration,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&request, limit).await? {
            Response::Vote(answer) => Ok(answer),
            _ => Err(CallError::Unexpected.into()),
        }
    }

    async fn send_snapshot(&mut self, vote: Vote, snapshot: Snapshot) -> Result<Vote, CallError> {
        let Checkpoint { end_offset, epoch, bytes } = snapshot.snapshot;
        let mut position = 0;
        loop {
            let part = bytes
                .slice(position..bytes.len().min(position + bounds::CONTROLLER_SNAPSHOT_CHUNK_BYTES_MAX));
            let next = position + part.len();
            let last = next == bytes.len();
            let (meta, bytes) = (snapshot.meta.clone(), part);
            let part = SnapshotPart { vote, meta, end_offset, epoch, position: position as u64, bytes, last };
            match self.call(&Request::Snapshot(part), SNAPSHOT_PART_LIMIT).await? {
                Response::Snapshot(vote) => return Ok(vote),
                Response::SnapshotPart if !last => position = next,
                _ => return Err(CallError::Unexpected),
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        append: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&Request::Append(append), APPEND_LIMIT).await? {
            Response::Append(answer) => Ok(answer),
            _ => Err(CallError::Unexpected.into()),
        }
    }

    async fn vote(
        &mut self,
        ask: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(Request::Vote(ask), option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        ask: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(Request::PreVote(ask), option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        transfer: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&Request::TransferLeader(transfer), option.soft_ttl()).await? {
            Response::TransferLeader(_) => Ok(Ok(())),
            _ => Err(CallError::Unexpected.into()),
        }
    }

    /// Quick at first: a voter that restarts is back within a second.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(
            [50, 100, 200].into_iter().chain(std::iter::repeat(250)).map(Duration::from_millis),
        ))
    }
}

/// Asks who listens at an address; `from` is who asks.
pub async fn hello(
    host: &Host,
    address: &str,
    cluster_id: Uuid,
    from: RaftId,
    limit: Duration,
) -> io::Result<(RaftId, bool)> {
    match ask(host, address, Header { cluster_id, from, to: None }, &Request::Hello, limit).await? {
        Response::Hello { id, initialized } => Ok((id, initialized)),
        Response::Refused(why) => Err(io::Error::other(why)),
        _ => Err(io::Error::other("an answer to another question")),
    }
}

/// What a controller says to who wants to be sent the log.
pub enum Asked {
    Accepted,
    /// It is not the active one, and says where that is if it knows.
    Elsewhere(Option<String>),
}

/// Asks the controller at an address to send its log to `from`, which listens at `own`.
pub async fn observe(
    host: &Host,
    address: &str,
    cluster_id: Uuid,
    from: RaftId,
    own: &str,
    limit: Duration,
) -> io::Result<Asked> {
    let request = Request::Observe { address: own.to_owned() };
    match ask(host, address, Header { cluster_id, from, to: None }, &request, limit).await? {
        Response::Observing => Ok(Asked::Accepted),
        Response::NotObserving { leader } => Ok(Asked::Elsewhere(leader)),
        Response::Refused(why) => Err(io::Error::other(why)),
        _ => Err(io::Error::other("an answer to another question")),
    }
}

async fn ask(
    host: &Host,
    address: &str,
    header: Header,
    request: &Request,
    limit: Duration,
) -> io::Result<Response> {
    let bytes: Bytes = rpc::encode_request(&header, request);
    let answer = Peer::new(host, address.to_owned()).call(bytes, limit).await?;
    rpc::decode_response(answer).map_err(io::Error::other)
}
