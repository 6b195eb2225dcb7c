//! A broker: from its log dirs to its listeners, and back. Start reading here.
//!
//! ```text
//!   start:  log dirs -> ports -> partitions, line to the controllers -> register -> metadata -> unfenced -> serve
//!   stop:   leaderships away -> listeners drained -> logs closed -> clean-shutdown files
//! ```
//! **Invariant:** clients are served only once this broker is unfenced and knows the metadata of its own registration;
//! nothing is written after `stop` has returned. Ports are taken, and directories locked, before `start` returns.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use host::{Host, Task};
use metadata::{Endpoint, Image, Topic};
use protocol::{ErrorCode, Str, Uuid, bounds};
use storage::CheckpointKind;
use tokio::sync::watch;
use wire::{Bound, ConnectionQuotas, Context, Operation, Resource, ResourceType, ServerHandle, Table};

use crate::auto_creation::AutoCreation;
use crate::config::{BrokerConfig, Listener};
use crate::controller_link::{self, ControllerEndpoints, ControllerLink, Identity};
use crate::fetch_sessions::FetchSessions;
use crate::group_coordinator::GroupCoordinator;
use crate::isr_changes::{self, IsrChanges};
use crate::log_cleanup;
use crate::log_dirs::{self, LogDirs};
use crate::metadata_cache::MetadataCache;
use crate::metrics::collect::{QuorumSource, Sources};
use crate::metrics::{Metrics, Watcher};
use crate::producer_ids::ProducerIds;
use crate::replica_fetchers::{self, ReplicaFetchers};
use crate::replicas::Replicas;
use crate::replication_quotas::{self, ReplicationQuotas};
use crate::telemetry::Telemetry;
use crate::{checkpoints, dispatch, http, listeners, room};

/// Why a broker does not start. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    LogDirs(#[from] log_dirs::Error),
    #[error("listener {listener} cannot listen on {address}: {source}")]
    Listen { listener: Str, address: String, source: std::io::Error },
    #[error("HTTP cannot listen on {address}: {source}")]
    Http { address: String, source: std::io::Error },
    #[error("a broker needs controllers: controller.quorum.voters is empty")]
    NoControllers,
}

/// What all handlers share.
pub struct Broker {
    pub host: Host,
    pub config: BrokerConfig,
    pub cluster_id: Str,
    pub log_dirs: Arc<LogDirs>,
    pub metadata: Arc<MetadataCache>,
    pub replicas: Arc<Replicas>,
    pub isr_changes: Arc<IsrChanges>,
    pub groups: Arc<GroupCoordinator>,
    pub link: Arc<ControllerLink>,
    pub metrics: Arc<Metrics>,
    pub fetch_sessions: FetchSessions,
    pub replication_quotas: Arc<ReplicationQuotas>,
    pub telemetry: Arc<Telemetry>,
    quorum: OnceLock<QuorumSource>,
    pub producer_ids: ProducerIds,
    pub auto_creation: AutoCreation,
    /// What is served: ApiVersions lists it.
    pub table: Arc<Table<Broker>>,
    endpoints: Vec<Endpoint>,
    addresses: Vec<SocketAddr>,
    http_address: Option<SocketAddr>,
    serving: watch::Sender<Vec<ServerHandle>>,
    tasks: Mutex<Vec<Task<()>>>,
    is_stopping: AtomicBool,
}

impl Broker {
    /// Opens the log dirs, takes the ports, and begins to join the cluster. `ready` tells when it has joined.
    pub async fn start(
        host: &Host,
        config: BrokerConfig,
        controllers: ControllerEndpoints,
    ) -> Result<Arc<Broker>, StartError> {
        if controllers.nodes.is_empty() {
            return Err(StartError::NoControllers);
        }
        let opened = LogDirs::open(host, &config.log_dirs, config.cluster_id, config.node_id).await;
        let log_dirs = Arc::new(opened?);
        let metrics = Arc::new(Metrics::new(host));
        let telemetry = Arc::new(telemetry(host, &config));
        let watcher = Watcher { metrics: Arc::clone(&metrics), telemetry: Arc::clone(&telemetry) };
        let quotas = ConnectionQuotas::unlimited();
        let bound = listeners::bind(host, &config, &quotas, Arc::new(watcher)).await?;
        let http = http::bind(config.http_address.as_ref()).await?;
        let endpoints = endpoints(&config.listeners, &bound);
        let identity = Identity {
            node_id: config.node_id,
            cluster_id: Str::from(log_dirs.cluster_id.as_str()),
            incarnation_id: Uuid::from_random(|| host.entropy().u128()),
            endpoints: endpoints.clone(),
            rack: config.rack.clone(),
            log_dirs: log_dirs.ids(),
            previous_broker_epoch: log_dirs.previous_broker_epoch(),
        };
        let link = Arc::new(ControllerLink::new(host, identity, &controllers));
        let metadata = Arc::new(MetadataCache::default());
        let replication_quotas = Arc::new(ReplicationQuotas::new(host.clock(), &config.server));
        let fetchers = ReplicaFetchers::new(replica_fetchers::Surroundings {
            host: host.clone(),
            node_id: config.node_id,
            server: Arc::clone(&config.server),
            listener: config.inter_broker_listener.clone(),
            metadata: Arc::clone(&metadata),
            link: Arc::clone(&link),
            log_dirs: Arc::clone(&log_dirs),
            quotas: Arc::clone(&replication_quotas),
        });
        let (dirs, of_topics) = (Arc::clone(&log_dirs), Arc::clone(&metrics));
        let replicas = Arc::new(Replicas::new(host, &config, dirs, fetchers, of_topics));
        let groups = GroupCoordinator::new(host, config.node_id, &config.server, &metadata, &replicas);
        let broker = Arc::new(Broker {
            host: host.clone(),
            cluster_id: Str::from(log_dirs.cluster_id.as_str()),
            groups: Arc::new(groups),
            metadata,
            replicas,
            fetch_sessions: FetchSessions::new(host, session_slots(&config)),
            replication_quotas,
            isr_changes: Arc::new(IsrChanges::new(Arc::clone(&metrics.replication))),
            producer_ids: ProducerIds::new(Arc::clone(&link)),
            auto_creation: AutoCreation::default(),
            table: Arc::new(dispatch::table()),
            addresses: bound.iter().map(Bound::local_addr).collect(),
            http_address: http.as_ref().map(http::Bound::local_addr),
            endpoints,
            serving: watch::Sender::new(Vec::new()),
            tasks: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            log_dirs,
            link,
            metrics,
            telemetry,
            quorum: OnceLock::new(),
            config,
        });
        broker.run(bound, http, quotas);
        Ok(broker)
    }

    fn run(self: &Arc<Self>, bound: Vec<Bound>, http: Option<http::Bound>, quotas: Arc<ConnectionQuotas>) {
        let (link, metadata) = (&self.link, &self.metadata);
        let (replicas, groups) = (Arc::clone(&self.replicas), Arc::clone(&self.groups));
        let follow = controller_link::follow(Arc::clone(link), Arc::clone(metadata), replicas, groups);
        let interval = self.config.heartbeat_interval;
        let registration_timeout = self.config.server.int("initial.broker.registration.timeout.ms");
        let registration_timeout = Duration::from_millis(u64::from(registration_timeout.unsigned_abs()));
        let beat = controller_link::beat(
            Arc::clone(link),
            Arc::clone(metadata),
            Arc::clone(&self.log_dirs),
            interval,
            registration_timeout,
        );
        let mut tasks = vec![
            self.host.spawn("metadata follower", follow),
            self.host.spawn("heartbeat", beat),
            self.host.spawn("serve", serve(Arc::clone(self), bound)),
            self.host.spawn("metrics", Arc::clone(&self.metrics).run()),
            self.host.spawn("checkpoints", checkpoints::run(Arc::clone(self))),
            self.host.spawn("log cleanup", log_cleanup::run(Arc::clone(self))),
            self.host.spawn("connection limits", listeners::follow_limits(Arc::clone(self), quotas)),
            self.host.spawn("replication quotas", replication_quotas::follow_limits(Arc::clone(self))),
            self.host.spawn("log dir room", room::watch(Arc::clone(self))),
            self.host.spawn("log dir failures", tell_failures(Arc::clone(self))),
        ];
        let (changes, lag_max) = (&self.isr_changes, self.replicas.lag_max());
        let ask = Arc::clone(changes).run(self.host.clone(), Arc::clone(link));
        tasks.push(self.host.spawn("isr changes", ask));
        let assignments = Arc::clone(&self.replicas.directory_assignments);
        let tell = assignments.run(self.host.clone(), Arc::clone(link));
        tasks.push(self.host.spawn("directory assignments", tell));
        let (host, replicas) = (self.host.clone(), Arc::clone(&self.replicas));
        let shrink = isr_changes::shrink(host, replicas, Arc::clone(changes), lag_max);
        tasks.push(self.host.spawn("isr shrink", shrink));
        if let Some(http) = http {
            tasks.push(self.host.spawn(
                "http",
                http.serve(self.host.clone(), Sources { broker: Some(Arc::clone(self)), quorum: None }),
            ));
        }
        self.tasks.lock().expect("no code that holds this lock panics").extend(tasks);
    }

    /// Waits until this broker serves its clients.
    pub async fn ready(&self) {
        let mut serving = self.serving.subscribe();
        // An error would mean that this broker is gone, and then nobody asks.
        let _ = serving.wait_for(|servers| !servers.is_empty()).await;
    }

    pub fn is_ready(&self) -> bool {
        let is_serving = !self.serving.borrow().is_empty();
        is_serving && !self.is_stopping.load(Ordering::SeqCst) && self.is_unfenced(&self.metadata.applied())
    }

    fn is_unfenced(&self, image: &Image) -> bool {
        let epoch = self.link.broker_epoch();
        image.cluster.broker(self.config.node_id).is_some_and(|own| own.epoch == epoch && !own.fenced)
    }

    /// Where the listeners listen, in the order of the settings.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What clients are told of this broker, by listener.
    pub fn advertised(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Kafka's `BrokerState`: starting, running, or leaving the cluster.
    pub(crate) fn state(&self) -> u8 {
        match (self.is_stopping.load(Ordering::SeqCst), self.serving.borrow().is_empty()) {
            (true, _) => 6,
            (false, true) => 1,
            (false, false) => 3,
        }
    }

    /// Lets `/metrics` tell what a controller of this process knows. Once.
    pub fn tell_of_quorum(&self, quorum: QuorumSource) {
        assert!(self.quorum.set(quorum).is_ok(), "a process has one controller");
    }

    pub(crate) fn quorum(&self) -> Option<&QuorumSource> {
        self.quorum.get()
    }

    /// The listeners that serve, for metrics.
    pub(crate) fn servers(&self) -> Vec<ServerHandle> {
        self.serving.borrow().clone()
    }

    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Resolves when this broker cannot go on: no log dir is left, or the cluster does not take it. A sentence for the
    /// operator.
    pub async fn failed(&self) -> String {
        let all_offline = async {
            while !self.log_dirs.all_offline() {
                self.host.clock().sleep(self.config.heartbeat_interval).await;
            }
            "all log dirs have failed".to_owned()
        };
        // Cancellation is safe: both only look.
        tokio::select! {
            biased;
            why = all_offline => why,
            why = self.link.refused() => why,
        }
    }

    /// Leaves the cluster in order: leaderships move, answers go out, logs are closed.
    pub async fn stop(&self) {
        if self.is_stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        let is_wanted = self.config.server.bool("controlled.shutdown.enable");
        if is_wanted && !controller_link::leave(&self.link, &self.metadata, &self.log_dirs).await {
            tracing::warn!("no controller let this broker go in time; it stops all the same");
        }
        let servers = self.serving.borrow().clone();
        for server in servers {
            server.stop(bounds::STOP_DRAIN_WAIT_MAX).await;
        }
        for task in self.tasks.lock().expect("no code that holds this lock panics").drain(..) {
            task.abort();
        }
        self.groups.close();
        self.replicas.close().await;
        // What was taken over once, was opened and thereby recovered; before that the files say more than this life knows.
        let were_opened = self.metadata.applied().end_offset > 0;
        if were_opened {
            self.log_dirs.write_checkpoints(&self.replicas.checkpoints(), &CheckpointKind::ALL).await;
        }
        self.log_dirs.close(self.link.broker_epoch(), were_opened).await;
        tracing::info!("stopped");
    }

    /// The topic that a request names, by id where its version has ids.
    pub(crate) fn resolve(
        &self,
        image: &Image,
        by_id: bool,
        name: &str,
        id: Uuid,
    ) -> Result<Arc<Topic>, ErrorCode> {
        let found = if by_id { image.topics.by_id(id) } else { image.topics.by_name(name) };
        let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        found.cloned().ok_or(unknown)
    }

    /// How a client of a listener reaches a broker, and its rack.
    pub(crate) fn endpoint(&self, image: &Image, id: i32, listener: &str) -> Option<(Endpoint, Option<Str>)> {
        let broker = image.cluster.broker(id)?;
        Some((broker.listener(listener)?.clone(), broker.rack.clone()))
    }

    /// The broker that clients take for the controller: any one that lives, since all of them forward.
    pub(crate) fn controller_for_clients(&self, image: &Image) -> i32 {
        let own = self.config.node_id;
        let mut active = image.cluster.brokers().filter(|broker| !broker.fenced).map(|broker| broker.id);
        if image.cluster.broker(own).is_some_and(|broker| !broker.fenced) {
            own
        } else {
            active.next().unwrap_or(-1)
        }
    }

    /// The operations that a client may do, as a set of bits by their codes.
    pub(crate) fn authorized_operations(&self, cx: &Context, kind: ResourceType, name: &str) -> i32 {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs, IdempotentWrite,
            Read, Write,
        };
        let supported: &[Operation] = match kind {
            ResourceType::Topic => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            ResourceType::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            ResourceType::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            _ => &[Describe],
        };
        let resource = Resource { resource_type: kind, name };
        let allowed = supported.iter().filter(|operation| cx.allowed(**operation, resource));
        allowed.fold(0, |bits, operation| bits | 1 << operation.code())
    }
}

fn telemetry(host: &Host, config: &BrokerConfig) -> Telemetry {
    let bytes_max = usize::try_from(config.server.int("telemetry.max.bytes")).unwrap_or(0);
    Telemetry::new(host.clock().clone(), host.entropy().clone(), bytes_max)
}

fn session_slots(config: &BrokerConfig) -> usize {
    usize::try_from(config.server.int("max.incremental.fetch.session.cache.slots")).unwrap_or(0)
}

/// What is advertised, with the ports that were really taken.
fn endpoints(listeners: &[Listener], bound: &[Bound]) -> Vec<Endpoint> {
    let endpoint = |(listener, bound): (&Listener, &Bound)| Endpoint {
        name: listener.name.clone(),
        host: listener.advertised_host.clone(),
        port: if listener.advertised_port == 0 {
            bound.local_addr().port()
        } else {
            listener.advertised_port
        },
        security_protocol: listener.protocol.id(),
    };
    listeners.iter().zip(bound).map(endpoint).collect()
}

/// What serves holds the broker, and the broker what serves: where a node dies with its tasks, this cuts the circle.
struct Serving(Arc<Broker>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.serving.send_replace(Vec::new());
    }
}

/// Waits until this broker is unfenced, and serves from then on.
async fn serve(broker: Arc<Broker>, bound: Vec<Bound>) {
    loop {
        let clock = broker.host.clock();
        let again = clock.now() + bounds::METADATA_FETCH_WAIT;
        // The epoch of the registration may arrive after the image that holds it: looked at again now and then.
        if broker.metadata.wait_for(clock, again, |image| broker.is_unfenced(image)).await {
            break;
        }
    }
    let service = Arc::clone(&broker.table).with(Arc::clone(&broker));
    let servers = bound.into_iter().map(|bound| bound.serve(Arc::clone(&service))).collect();
    broker.serving.send_replace(servers);
    tracing::info!(node = broker.config.node_id, listeners = ?broker.addresses, "serving");
    let _serving = Serving(broker);
    std::future::pending::<()>().await;
}

/// A failed log dir is told to the controller at once, so that its partitions move.
async fn tell_failures(broker: Arc<Broker>) {
    loop {
        broker.log_dirs.failed.notified().await;
        broker.link.beat_now();
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({} on {:?})", self.config.node_id, self.addresses)
    }
}
