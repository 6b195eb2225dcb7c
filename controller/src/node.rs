//! What the handlers of a controller share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};

use host::Host;
use openraft::async_runtime::WatchReceiver as _;
use protocol::{Str, Uuid};
use tokio::sync::{Notify, watch};
use wire::{Context as RequestContext, Table};

use crate::decide::{Context, Decision, Random, Refusal};
use crate::liveness::Liveness;
use crate::publisher::Publisher;
use crate::raft::network::Addresses;
use crate::raft::service::Service;
use crate::raft::types::{Raft, RaftId};
use crate::writer::{Active, Error, Writer};

/// One running controller.
pub struct Node {
    pub host: Host,
    pub id: RaftId,
    pub cluster_id: Uuid,
    /// Node ids and addresses of `controller.quorum.voters`.
    pub voters: BTreeMap<i32, String>,
    /// `controller.quorum.bootstrap.servers`
    pub bootstrap_servers: Vec<String>,
    /// Name of the listener at which controllers find each other: the first.
    pub listener_name: Str,
    /// Where the other controllers reach this one.
    pub advertised_address: String,
    /// `controller.quorum.auto.join.enable`
    pub auto_join: bool,
    pub addresses: Arc<Addresses>,
    /// Somebody asked for a change of the voters, and has no answer yet.
    pub changing: AtomicBool,
    /// Wakes the task that looks after the quorum.
    pub tend_now: Notify,
    pub raft: Raft,
    pub service: Service,
    pub writer: Writer,
    pub publisher: Arc<Publisher>,
    pub active: watch::Receiver<Active>,
    pub liveness: Mutex<Liveness>,
    /// Wakes the task that fences silent brokers: a deadline has moved forward.
    pub look_again: Notify,
    /// Brokers that were fenced because they were silent, for metrics.
    pub timed_out_heartbeats: AtomicU64,
    /// What is served: ApiVersions lists it.
    pub table: Arc<Table<Node>>,
}

impl Node {
    pub fn active(&self) -> Active {
        *self.active.borrow()
    }

    pub fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().expect("no code that holds this lock panics")
    }

    /// An operation on the metadata; the answer comes when it is committed and applied.
    pub async fn perform<A: Send + 'static>(
        &self,
        decide: impl FnOnce(&Context<'_>, &mut Random<'_>) -> Result<Decision<A>, Refusal> + Send + 'static,
    ) -> Result<A, Error> {
        self.writer.perform(decide).await.map(|(answer, _)| answer)
    }

    /// Host and port of a voter.
    pub fn address(&self, node: i32) -> Option<(Str, u16)> {
        let from_log = || {
            let metrics = self.raft.metrics();
            let membership = metrics.borrow_watched().membership_config.clone();
            // A node that lost its disk may be there twice: as the voter that it was, and as an observer.
            let is_active = |id: &RaftId| metrics.borrow_watched().current_leader == Some(*id);
            let named = membership.nodes().filter(|(id, _)| id.node == node);
            let likely =
                named.max_by_key(|(id, _)| (is_active(id), membership.voter_ids().any(|v| v == **id)));
            likely.map(|(_, voter)| voter.address.clone())
        };
        if node == self.id.node {
            return host_and_port(&self.advertised_address);
        }
        host_and_port(&self.voters.get(&node).cloned().or_else(from_log)?)
    }

    /// A broker was heard of on a connection, which is watched from now on: when it ends, the broker has a moment to come
    /// back on another one.
    pub fn heard(self: &Arc<Self>, broker: i32, epoch: i64, metadata_offset: i64, cx: &RequestContext) {
        let connection = cx.connection_id();
        let is_new =
            self.liveness().heard(broker, epoch, connection, metadata_offset, self.host.clock().now());
        if is_new {
            let (node, closed) = (self.clone(), cx.closed());
            self.host.spawn("controller broker connection", async move {
                closed.await;
                if node.liveness().closed(connection, node.host.clock().now()).is_some() {
                    node.look_again.notify_one();
                }
            });
        }
    }
}

/// Host and port of `host:port`.
pub fn host_and_port(address: &str) -> Option<(Str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((Str::from(host.trim_start_matches('[').trim_end_matches(']')), port.parse().ok()?))
}

/// Code and message of a failed operation, as answers carry them.
pub fn told(error: &Error) -> (i16, Option<Str>) {
    let message = match error {
        Error::Refused(refusal) => refusal.text(),
        other => Some(Str::from(other.to_string())),
    };
    (error.code().code(), message)
}
