//! This broker's line to the controllers: who is active, registration, heartbeats, metadata, forwarded requests.
//!
//! ```text
//!                      .-- heartbeat --> register, heartbeat          (its end tells the controller that we are gone)
//!   active controller <--- follow -----> Fetch, FetchSnapshot         (long polls; tells who is active)
//!                      |-- isr --------> AlterPartition                (commits wait for it)
//!                      |-- forward ----> Envelope
//!                      '-- own --------> AllocateProducerIds, AssignReplicasToDirs
//! ```
//! Each purpose has a connection of its own, since answers come in the order of requests. All go to the one controller that
//! is taken to be active; whoever hears otherwise says so, and all move.
//!
//! **Invariant:** the line may be down at any time, and then nothing here fails: it is tried again. A request that was
//! perhaps handled is sent again only where that does no harm.

mod follower;
mod heartbeat;
mod registration;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use host::{Host, Instant};
use protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse,
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, EnvelopeRequest,
};
use protocol::{ErrorCode, Uuid, bounds};
use tokio::sync::{Notify, watch};
use wire::client::{CallError, Node, NodeOptions, Target};

pub use follower::follow;
pub use heartbeat::{beat, leave};
pub use registration::Identity;

/// How to reach the controllers that are known beforehand: node id and where each is. The active one may be another, and is
/// learned from them.
#[derive(Clone, Debug, Default)]
pub struct ControllerEndpoints {
    pub nodes: Vec<(i32, Target)>,
}

/// Ids of controllers of which only the address is known count downwards from here, as in Kafka.
const FIRST_NAMELESS: i32 = -2;

impl ControllerEndpoints {
    /// A controller that listens on `host:port`.
    pub fn address(mut self, node_id: i32, address: &str) -> ControllerEndpoints {
        self.nodes.push((node_id, Target::address(address)));
        self
    }

    /// A controller of `controller.quorum.bootstrap.servers`, whose id nobody told.
    pub fn bootstrap(self, address: &str) -> ControllerEndpoints {
        let nameless = self.nodes.iter().filter(|(id, _)| *id < 0).count() as i32;
        self.address(FIRST_NAMELESS - nameless, address)
    }

    /// A controller that is reached otherwise: within this process.
    pub fn through(mut self, node_id: i32, target: Target) -> ControllerEndpoints {
        self.nodes.push((node_id, target));
        self
    }
}

/// The connections to one controller.
struct Lines {
    heartbeat: Node,
    follow: Node,
    isr: Node,
    forward: Node,
    /// What may take long at a controller must not wait for it: forwarded requests do.
    own: Node,
}

/// A controller, and how it is reached.
struct Known {
    target: Target,
    /// The settings say where it is, and are believed.
    is_given: bool,
    lines: Arc<Lines>,
}

impl Known {
    fn new(host: &Host, target: &Target, options: &NodeOptions, is_given: bool) -> Known {
        let node = || Node::new(host, target.clone(), options.clone());
        let lines = Lines { heartbeat: node(), follow: node(), isr: node(), forward: node(), own: node() };
        Known { target: target.clone(), is_given, lines: Arc::new(lines) }
    }
}

/// See the module.
pub struct ControllerLink {
    host: Host,
    pub identity: Identity,
    options: NodeOptions,
    lines: Mutex<BTreeMap<i32, Known>>,
    /// The controller that is taken to be active.
    active: watch::Sender<i32>,
    /// The one that was the last to take a heartbeat, which only the active one does.
    proven: watch::Sender<Option<i32>>,
    /// Of the registration that stands; -1 before the first.
    broker_epoch: AtomicI64,
    /// This broker has the metadata of its own registration, and its partitions are open.
    caught_up: AtomicBool,
    /// The next heartbeat shall be sent now.
    beat_now: Notify,
    /// Why this broker cannot belong to the cluster at all.
    refused: watch::Sender<Option<String>>,
}

impl std::fmt::Debug for ControllerLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControllerLink(active {})", self.active())
    }
}

/// No controller could be reached in time.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("no active controller could be reached in time")]
    TimedOut,
    #[error(transparent)]
    Call(CallError),
}

impl ControllerLink {
    /// # Panics
    /// When there is no controller: checked where the settings are read.
    pub fn new(host: &Host, identity: Identity, endpoints: &ControllerEndpoints) -> ControllerLink {
        let options = NodeOptions {
            request_timeout: bounds::CONTROLLER_CALL_TIMEOUT,
            connect_timeout: bounds::CONTROLLER_CALL_TIMEOUT,
            reconnect_wait_min: bounds::CONTROLLER_RETRY_WAIT,
            reconnect_wait_max: bounds::CONTROLLER_RETRY_WAIT_MAX,
            ..NodeOptions::default()
        };
        let known = |target: &Target| Known::new(host, target, &options, true);
        let lines: BTreeMap<i32, Known> = endpoints.nodes.iter().map(|(id, t)| (*id, known(t))).collect();
        // Ids that are known before those that are not.
        let first = lines.keys().find(|id| **id >= 0).or(lines.keys().next_back());
        let first = *first.expect("a cluster has a controller");
        ControllerLink {
            host: host.clone(),
            identity,
            options,
            lines: Mutex::new(lines),
            active: watch::Sender::new(first),
            proven: watch::Sender::new(None),
            broker_epoch: AtomicI64::new(-1),
            caught_up: AtomicBool::new(false),
            beat_now: Notify::new(),
            refused: watch::Sender::new(None),
        }
    }

    /// Resolves when this broker was never registered and will not be, with a sentence for the operator.
    pub async fn refused(&self) -> String {
        let mut refused = self.refused.subscribe();
        let told = refused.wait_for(Option::is_some).await.map(|why| why.clone());
        told.ok().flatten().expect("the sender lives as long as this, and has said why")
    }

    fn active(&self) -> i32 {
        *self.active.borrow()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<i32, Known>> {
        self.lines.lock().expect("no code that holds this lock panics")
    }

    fn lines(&self, id: i32) -> Arc<Lines> {
        let known = self.known();
        Arc::clone(&known.get(&id).expect("only known controllers are taken to be active").lines)
    }

    /// A controller, or the log, told where another one listens.
    fn learn(&self, id: i32, address: &str) {
        let mut known = self.known();
        match known.get(&id) {
            Some(known) if known.is_given || **known.target.name() == *address => {}
            _ => {
                tracing::debug!(controller = id, address, "a controller listens there");
                let target = Target::address(address);
                known.insert(id, Known::new(&self.host, &target, &self.options, false));
            }
        }
    }

    /// `id` is not active: `hint` is, if it is known, or the next one is tried.
    fn is_not_active(&self, id: i32, hint: Option<i32>) {
        let next = {
            let known = self.known();
            let after = || known.range(id + 1..).chain(known.iter()).map(|(id, _)| *id).next();
            let next = hint.filter(|hint| *hint != id && known.contains_key(hint)).or_else(after);
            next.expect("there is at least this one")
        };
        let is_another =
            self.active.send_if_modified(|active| *active == id && std::mem::replace(active, next) != next);
        if is_another {
            // A new active controller has not heard of this broker: the sooner it does, the surer it is of who is gone.
            self.beat_now.notify_one();
        }
    }

    /// `id` took a heartbeat: it is the active controller, and whoever waits for another one waits in vain.
    fn is_proven(&self, id: i32) {
        self.active.send_replace(id);
        // Told each time: a call may have begun since the last one.
        self.proven.send_replace(Some(id));
    }

    /// What a call to a controller gives, or that it was closed as soon as another controller proves to be active. A machine that
    /// hangs does not end its connections.
    async fn unless_replaced<T, E: From<CallError>>(
        &self,
        id: i32,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut proven = self.proven.subscribe();
        let another_is_proven = async {
            // The sender lives as long as this.
            while proven.changed().await.is_ok() && *proven.borrow_and_update() == Some(id) {}
        };
        // Cancellation is safe: waiting takes nothing, and a call that is given up counts for one without an answer.
        tokio::select! {
            biased;
            ended = call => ended,
            () = another_is_proven => Err(replaced(id).into()),
        }
    }

    /// The controllers beside one. Those of `controller.quorum.bootstrap.servers` have no ids, and may be that one: they count
    /// only as long as no other is known.
    fn others(&self, id: i32) -> Vec<i32> {
        let known: Vec<i32> = self.known().keys().copied().filter(|other| *other != id).collect();
        let named: Vec<i32> = known.iter().copied().filter(|other| *other >= 0).collect();
        if named.is_empty() { known } else { named }
    }

    /// Node id and epoch of this broker's registration.
    pub fn registration(&self) -> (i32, i64) {
        (self.identity.node_id, self.broker_epoch.load(Ordering::SeqCst))
    }

    pub fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::SeqCst)
    }

    pub fn directory_ids(&self) -> &[Uuid] {
        &self.identity.log_dirs
    }

    /// Metadata up to `end_offset` holds the registration of this broker.
    pub fn knows_registration(&self, end_offset: i64) -> bool {
        let epoch = self.broker_epoch();
        epoch >= 0 && end_offset > epoch
    }

    /// The broker has the metadata up to `end_offset`, and its partitions follow it.
    pub fn applied(&self, end_offset: i64) {
        if self.knows_registration(end_offset) && !self.caught_up.swap(true, Ordering::SeqCst) {
            self.beat_now.notify_one();
        }
    }

    /// Something changed that the controller should hear of at once.
    pub fn beat_now(&self) {
        self.beat_now.notify_one();
    }

    /// A block of producer ids. Sent again if its answer was lost: a block that nobody uses is lost, nothing else.
    pub async fn call(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Result<AllocateProducerIdsResponse, LinkError> {
        let deadline = self.host.clock().now() + bounds::CONTROLLER_CALL_TIMEOUT;
        loop {
            let id = self.active();
            let lines = self.lines(id);
            match self.unless_replaced(id, lines.own.call(request)).await {
                Ok(answer) if answer.error_code == ErrorCode::NotController.code() => {
                    self.is_not_active(id, None);
                }
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_retriable() => return Err(LinkError::Call(error)),
                Err(_) => {}
            }
            self.pause_before(deadline, bounds::CONTROLLER_RETRY_WAIT).await?;
        }
    }

    /// Changes of ISRs, asked for once. NOT_CONTROLLER is an answer like others: the next call asks another controller.
    pub async fn alter_partition(
        &self,
        request: &AlterPartitionRequest,
    ) -> Result<AlterPartitionResponse, CallError> {
        let id = self.active();
        let lines = self.lines(id);
        let answer = self.unless_replaced(id, lines.isr.call(request)).await?;
        if answer.error_code == ErrorCode::NotController.code() {
            self.is_not_active(id, None);
        }
        Ok(answer)
    }

    /// The log dirs of replicas, told once. NOT_CONTROLLER is an answer like others: the next call asks another controller.
    pub async fn assign_replicas_to_dirs(
        &self,
        request: &AssignReplicasToDirsRequest,
    ) -> Result<AssignReplicasToDirsResponse, CallError> {
        let id = self.active();
        let lines = self.lines(id);
        let answer = self.unless_replaced(id, lines.own.call(request)).await?;
        if answer.error_code == ErrorCode::NotController.code() {
            self.is_not_active(id, None);
        }
        Ok(answer)
    }

    /// Sends a client's request on to the active controller; returns the frame of its answer. Sent again as long as no
    /// controller has taken it; an answer that is lost is an error, since the request may have been handled.
    pub async fn forward(
        &self,
        envelope: &EnvelopeRequest,
        deadline: Instant,
    ) -> Result<Bytes, ForwardError> {
        loop {
            match self.host.clock().timeout_at(deadline, self.forward_once(envelope, deadline)).await {
                Ok(Ok(Some(answer))) => return Ok(answer),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(ForwardError::TimedOut),
            }
            let paused = self.pause_before(deadline, bounds::CONTROLLER_RETRY_WAIT).await;
            paused.map_err(|_| ForwardError::TimedOut)?;
        }
    }

    /// None: no controller has taken it.
    async fn forward_once(
        &self,
        envelope: &EnvelopeRequest,
        deadline: Instant,
    ) -> Result<Option<Bytes>, ForwardError> {
        let id = self.active();
        let lines = self.lines(id);
        let Ok(session) = self.unless_replaced(id, lines.forward.session()).await else {
            return Ok(None);
        };
        let limit = deadline - self.host.clock().now();
        let called = self.unless_replaced(id, session.call_within(limit, envelope)).await;
        let answer = called.map_err(|error| {
            tracing::debug!(%error, "a forwarded request has no answer");
            ForwardError::TimedOut
        })?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                answer.response_data.map(Some).ok_or(ForwardError::Refused(ErrorCode::UnknownServerError))
            }
            ErrorCode::NotController => {
                self.is_not_active(id, None);
                Ok(None)
            }
            refused => Err(ForwardError::Refused(refused)),
        }
    }

    async fn pause_before(&self, deadline: Instant, wait: Duration) -> Result<(), LinkError> {
        let clock = self.host.clock();
        if clock.now() + wait >= deadline {
            return Err(LinkError::TimedOut);
        }
        clock.sleep(wait).await;
        Ok(())
    }
}

/// Of a call to a controller that another one has taken the place of.
fn replaced(id: i32) -> CallError {
    CallError::Closed { peer: format!("controller {id}").into(), reason: "another one is active".into() }
}

/// Why a forwarded request has no answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    #[error("no answer of an active controller came in time")]
    TimedOut,
    #[error("the controller refused the envelope: {0}")]
    Refused(ErrorCode),
}
