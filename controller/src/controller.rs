//! A controller: from its directory to its listener, and back.
//!
//! ```text
//!   start: open the directory -> log store, state machine, Raft -> listen -> writer, fencing, housekeeping -> join the quorum
//!   stop:  hand leadership over -> stop listening -> stop Raft
//! ```
//!
//! **Invariant:** nothing is served before the stored log was read, and nothing is written after `stop` returned.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::{Host, Stream, Task};
use metadata::QuorumStatus;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{ServerState, SnapshotPolicy};
use protocol::{Str, Uuid, bounds};
use tokio::sync::{Notify, watch};
use wire::SecurityProtocol;

use crate::decide::{Broken, Settings};
use crate::format::{self, Opened, Wanted};
use crate::kv::KvKind;
use crate::liveness::Liveness;
use crate::node::Node;
use crate::publisher::{Committed, Publisher};
use crate::quorum::{Founders, Quorum};
use crate::raft::log_store::LogStore;
use crate::raft::network::{Addresses, Network};
use crate::raft::service::Service;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::{Raft, RaftId, Voter};
use crate::writer::{Active, Writer};
use crate::{balancing, dispatch, fencing, listener, registering, voters};

/// A listener of the controller.
#[derive(Clone, Debug)]
pub struct Listen {
    /// As in `listeners`, e.g. `CONTROLLER`.
    pub name: Str,
    pub protocol: SecurityProtocol,
    /// `host:port`; port 0 takes any free one.
    pub address: String,
}

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    pub node_id: i32,
    /// `controller.quorum.voters`: node ids and `host:port`, this node too; none for a quorum whose voters live in its log.
    pub voters: Vec<(i32, String)>,
    /// How a quorum whose voters live in its log is found.
    pub joining: Joining,
    pub listeners: Vec<Listen>,
    /// `metadata.log.dir`, or the first of `log.dirs`.
    pub metadata_dir: PathBuf,
    /// Required when the directory is not formatted and there are other voters.
    pub cluster_id: Option<Uuid>,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// All of `server.properties`: the static layer of configs.
    pub properties: BTreeMap<Str, Str>,
    pub kv: KvKind,
    /// What a simulation breaks on purpose.
    pub broken: Broken,
}

/// What a controller that `controller.quorum.voters` does not name goes by.
#[derive(Clone, Debug, Default)]
pub struct Joining {
    /// `controller.quorum.bootstrap.servers`: `host:port`. Without any, and with a directory that was formatted for nobody,
    /// this controller is a quorum by itself.
    pub bootstrap_servers: Vec<String>,
    /// Where other controllers reach this one; otherwise where it listens.
    pub advertised_address: Option<String>,
    /// `controller.quorum.auto.join.enable`: it makes itself a voter.
    pub auto_join: bool,
}

/// Why a controller does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] format::Error),
    #[error("controller.quorum.voters does not name node {0}, which is a controller")]
    NotAVoter(i32),
    #[error("controller.quorum.voters names node {0} twice")]
    NamedTwice(i32),
    #[error("{voters} controllers cannot form a quorum here: 1, 3 or 5 can")]
    QuorumSize { voters: usize },
    #[error("a controller needs a listener: controller.listener.names names none")]
    NoListener,
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("the metadata log cannot be read: {0}")]
    Log(std::io::Error),
    #[error("Raft does not start: {0}")]
    Raft(String),
    #[error("the disk is gone")]
    DiskGone(#[from] host::DiskGone),
}

/// A running controller. Dropping it does not stop it: `stop` does.
pub struct Controller {
    pub(crate) node: Arc<Node>,
    store: LogStore,
    listener: listener::Listening,
    tasks: Mutex<Vec<Task<()>>>,
    _lock: Arc<host::LockGuard>,
}

impl Controller {
    /// Starts a controller. Its quorum may not exist yet when this returns.
    pub async fn start(host: &Host, config: ControllerConfig) -> Result<Controller, StartError> {
        let voters = checked_voters(&config)?;
        let opened = open_directory(host, &config, &voters).await?;
        let Opened { cluster_id, directory_id, first_voters, kv, lock } = opened;
        let id = RaftId { node: config.node_id, directory: directory_id };
        let advertised_address = advertised_address(&config, &voters)?;
        let founders = founders(&config, &voters, first_voters.as_ref(), &advertised_address);
        let disk = host.disk(&format::log_dir(&config.metadata_dir));
        let store = LogStore::open(host, disk, kv).await.map_err(StartError::Log)?;
        let publisher = Arc::new(Publisher::default());
        let machine = StateMachine::open(host, store.clone(), publisher.clone()).map_err(StartError::Log)?;
        let addresses = Arc::new(Addresses::new(voters.clone()));
        let network = Network { host: host.clone(), cluster_id, id, addresses: addresses.clone() };
        let raft_config = Arc::new(raft_config().validate().map_err(|e| StartError::Raft(e.to_string()))?);
        let raft = start_raft(host, id, raft_config, network, store.clone(), machine).await?;
        let (active_sender, active) = watch::channel(Active::default());
        let settings = Settings {
            node_id: config.node_id,
            cluster_id: Str::from(cluster_id.to_string()),
            properties: config.properties.clone(),
            dynamic_quorum: voters.is_empty() || first_voters.is_some(),
            broken: config.broken,
        };
        let intervals = balancing::Intervals::of(&settings);
        let writer = Writer::start(host, raft.clone(), id, publisher.clone(), settings, active_sender);
        let table = Arc::new(dispatch::table());
        let node = Arc::new(Node {
            host: host.clone(),
            id,
            cluster_id,
            voters,
            bootstrap_servers: config.joining.bootstrap_servers.clone(),
            listener_name: config.listeners[0].name.clone(),
            advertised_address,
            auto_join: config.joining.auto_join,
            addresses,
            changing: AtomicBool::new(false),
            tend_now: Notify::new(),
            service: Service::new(host, raft.clone(), id, cluster_id),
            raft: raft.clone(),
            writer,
            publisher,
            active,
            liveness: Mutex::new(Liveness::new(config.session_timeout)),
            look_again: Notify::new(),
            timed_out_heartbeats: AtomicU64::new(0),
            table,
        });
        let registration =
            registering::request(host, config.node_id, &config.listeners, &node.advertised_address);
        let listener = listener::listen(&node, &config.listeners).await?;
        let quorum = Quorum { host: host.clone(), raft, id, cluster_id, founders };
        // An observer need not wait for a round.
        node.tend_now.notify_one();
        let tasks = vec![
            host.spawn("controller quorum", quorum.join()),
            host.spawn("controller voters", voters::tend(node.clone())),
            host.spawn("controller registration", registering::run(node.clone(), registration)),
            host.spawn("controller fencing", fencing::run(node.clone())),
            host.spawn("controller balancing", balancing::run(node.clone(), intervals)),
            host.spawn("controller snapshots", keep_small(node.clone(), store.clone())),
        ];
        Ok(Controller { node, store, listener, tasks: Mutex::new(tasks), _lock: Arc::new(lock) })
    }

    /// A connection within this process, served like any other.
    pub fn connect(&self) -> Stream {
        self.listener.connect()
    }

    /// Who is the active controller.
    pub fn active(&self) -> watch::Receiver<Active> {
        self.node.active.clone()
    }

    /// The committed metadata of this node.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.node.publisher.watch()
    }

    /// What this node knows of its quorum, for metrics.
    pub fn status(&self) -> QuorumStatus {
        let (active, committed) = (self.node.active(), self.node.publisher.committed());
        let metrics = self.node.raft.metrics().borrow_watched().clone();
        let membership = &metrics.membership_config;
        let (voters, nodes) = (membership.voter_ids().count(), membership.nodes().count());
        QuorumStatus {
            is_active: active.here,
            leader: active.node_id,
            epoch: i32::try_from(metrics.current_term).unwrap_or(i32::MAX),
            state: match metrics.state {
                ServerState::Leader => "leader",
                ServerState::Candidate => "candidate",
                ServerState::Learner => "observer",
                ServerState::Follower | ServerState::Shutdown => "follower",
            },
            vote: Some(metrics.vote.leader_id.voted_for.node),
            voters,
            observers: nodes.saturating_sub(voters),
            image: committed.image,
            last_epoch: committed.epoch,
            timed_out_heartbeats: self.node.timed_out_heartbeats.load(Ordering::Relaxed),
        }
    }

    pub fn cluster_id(&self) -> Uuid {
        self.node.cluster_id
    }

    pub fn directory_id(&self) -> Uuid {
        self.node.id.directory
    }

    /// Where the first listener listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Resolves when this controller cannot go on, e.g. because its disk failed; with a word why.
    pub async fn failed(&self) -> String {
        let mut metrics = self.node.raft.metrics();
        loop {
            if let Err(error) = &metrics.borrow_watched().running_state {
                return error.to_string();
            }
            if metrics.changed().await.is_err() {
                return "Raft has ended".to_owned();
            }
        }
    }

    /// Hands leadership over, if it is held, and ends.
    pub async fn stop(&self) {
        self.node.hand_over().await;
        self.listener.stop().await;
        for task in self.tasks.lock().expect("no code that holds this lock panics").drain(..) {
            task.abort();
        }
        if let Err(error) = self.node.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop as it should");
        }
        self.store.close().await;
    }
}

fn checked_voters(config: &ControllerConfig) -> Result<BTreeMap<i32, String>, StartError> {
    let mut voters = BTreeMap::new();
    for (id, address) in &config.voters {
        if voters.insert(*id, address.clone()).is_some() {
            return Err(StartError::NamedTwice(*id));
        }
    }
    if voters.is_empty() {
        return Ok(voters);
    }
    if !voters.contains_key(&config.node_id) {
        return Err(StartError::NotAVoter(config.node_id));
    }
    match voters.len() {
        1 | 3 | 5 => Ok(voters),
        voters => Err(StartError::QuorumSize { voters }),
    }
}

/// Where other controllers reach this one.
fn advertised_address(
    config: &ControllerConfig,
    voters: &BTreeMap<i32, String>,
) -> Result<String, StartError> {
    let listens = config.listeners.first().map(|listen| listen.address.clone());
    let given = voters.get(&config.node_id).or(config.joining.advertised_address.as_ref());
    given.cloned().or(listens).ok_or(StartError::NoListener)
}

/// Who founds the quorum, as far as this node knows.
fn founders(
    config: &ControllerConfig,
    voters: &BTreeMap<i32, String>,
    first: Option<&BTreeMap<RaftId, Voter>>,
    own_address: &str,
) -> Founders {
    match first {
        Some(first) => Founders::named(first),
        None if voters.is_empty() && config.joining.bootstrap_servers.is_empty() => {
            Founders(BTreeMap::from([(config.node_id, (own_address.to_owned(), None))]))
        }
        None => Founders::given(voters),
    }
}

async fn open_directory(
    host: &Host,
    config: &ControllerConfig,
    voters: &BTreeMap<i32, String>,
) -> Result<Opened, StartError> {
    let entropy = host.entropy();
    let is_sole_voter = voters.len() == 1 || voters.is_empty() && config.joining.bootstrap_servers.is_empty();
    let wanted = Wanted {
        metadata_dir: config.metadata_dir.clone(),
        node_id: config.node_id,
        cluster_id: config.cluster_id,
        is_sole_voter,
        kv: config.kv,
        new_cluster_id: Uuid::from_random(|| entropy.u128()),
        new_directory_id: Uuid::from_random(|| entropy.u128()),
    };
    let disk = host.disk(&format::log_dir(&config.metadata_dir));
    Ok(disk.run_slow(move |fs| format::open(fs, &wanted)).await??)
}

/// A follower waits for openraft's lease (the longer time-out) plus a random time-out: 750 to 1000 ms of silence in all.
fn raft_config() -> openraft::Config {
    openraft::Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 250,
        election_timeout_max: 500,
        install_snapshot_timeout: 30_000,
        max_payload_entries: 256,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(bounds::CONTROLLER_LOG_ENTRIES_PER_SNAPSHOT),
        max_in_snapshot_log_to_keep: bounds::CONTROLLER_LOG_ENTRIES_KEPT,
        purge_batch_size: 256,
        enable_pre_vote: Some(true),
        // Each process leads in an epoch of its own: brokers must be able to tell.
        enable_leader_restore: Some(false),
        // A leader that is cut off stops calling itself one.
        quorum_loss_probe_interval: Some(1_000),
        ..openraft::Config::default()
    }
}

/// Starts openraft inside a task of the host: its runtime finds the host there.
async fn start_raft(
    host: &Host,
    id: RaftId,
    config: Arc<openraft::Config>,
    network: Network,
    store: LogStore,
    machine: StateMachine,
) -> Result<Raft, StartError> {
    let starting = host.spawn("raft start", Raft::new(id, config, network, store, machine));
    let started = starting.await.map_err(|ended| StartError::Raft(ended.to_string()))?;
    started.map_err(|error| StartError::Raft(error.to_string()))
}

/// Takes a snapshot early when the log or what is published grows large.
async fn keep_small(node: Arc<Node>, store: LogStore) {
    let mut committed = node.publisher.watch();
    let mut tried_at = 0;
    while committed.changed().await.is_ok() {
        let end_offset = committed.borrow_and_update().image.end_offset;
        let covered = node.publisher.checkpoint().map_or(0, |c| c.end_offset).max(tried_at);
        let is_large = store.entries_bytes() > bounds::CONTROLLER_LOG_BYTES_MAX
            || node.publisher.bytes() > bounds::CONTROLLER_PUBLISHED_BYTES_MAX;
        // Not for every entry: a snapshot must have had the chance to make room before the next one is worth it.
        if is_large && end_offset > covered + bounds::CONTROLLER_PROPOSAL_RECORDS_MAX as i64 / 10 {
            tried_at = end_offset;
            if node.raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}
