//! `weir server`: from settings to a running node, and down again.
//!
//!     settings -> checked configs -> host -> controller (if its role) -> broker (if its role) -> until a signal -> stop
//!
//! Without a config file the node is broker and controller on loopback, with its data in `./weir-data`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerConfig, ControllerEndpoints, HttpAddress, QuorumSource};
use controller::{Controller, ControllerConfig, Joining, KvKind, Listen};
use host::Host;
use protocol::config::{
    self, Configs, Endpoint, EndpointError, SecurityProtocol, SecurityProtocols, parse_listeners,
    parse_voters,
};
use protocol::{Str, Uuid};
use wire::BoxFuture;
use wire::client::Target;

use crate::cli::ServerArgs;
use crate::settings::Settings;

/// Why the server does not start, or ended: one sentence.
pub type Failure = String;

/// Runs the server until it is told to stop.
pub fn run(args: &ServerArgs) -> Result<(), Failure> {
    let settings =
        Settings::read(args.config.as_deref(), std::env::vars(), &args.set).map_err(|e| e.to_string())?;
    let plan = Plan::new(settings)?;
    log_to_stderr();
    host::real::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("weir").build();
    let runtime = runtime.map_err(|e| format!("the runtime does not start: {e}"))?;
    let ended = runtime.block_on(async {
        let host = host::real::host();
        // Everything runs as a task of the host, so that parts which need to know their host find it.
        let inner = host.clone();
        host.spawn("server", async move { serve(inner, plan).await }).await
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended.unwrap_or_else(|_| Err("the server's task panicked".to_owned()))
}

/// `WEIR_LOG` filters as `RUST_LOG` does elsewhere; the default is info.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,openraft=warn"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .try_init();
    drop(started); // A second server in one process keeps the first one's log.
}

/// What the settings mean, checked before anything is touched.
pub(crate) struct Plan {
    broker: Option<BrokerConfig>,
    cluster_id: Option<Uuid>,
    controller: Option<ControllerConfig>,
    quorum: Quorum,
    /// `weir.http.address`
    http_address: Option<HttpAddress>,
}

/// A value for what is not set, when no config file is named: one node on loopback.
const ALONE: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("listeners", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"),
    ("controller.listener.names", "CONTROLLER"),
    ("log.dirs", "weir-data"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
];

/// To which cluster a node that is not formatted yet shall belong. No setting of Kafka's, whose nodes are all formatted first.
const CLUSTER_ID: &str = "cluster.id";

impl Plan {
    pub(crate) fn new(settings: Settings) -> Result<Plan, Failure> {
        let mut values = settings.values;
        if settings.no_file {
            for (name, value) in ALONE {
                values.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
            }
        }
        let configs = Configs::parse(config::server(), &values).map_err(|e| e.to_string())?;
        for name in configs.unknown().iter().filter(|name| *name != CLUSTER_ID) {
            write_note(&format!("{name} is not a setting that Kafka 4.3 or Weir knows; it is ignored"));
        }
        let idle: Vec<&str> = configs
            .set_values()
            .map(|(name, _)| name)
            .filter(|name| config::is_without_effect(name))
            .collect();
        if !idle.is_empty() {
            write_note(&format!("these settings have no effect yet: {}", idle.join(", ")));
        }
        let roles = items(&configs, "process.roles");
        if let Some(role) = roles.iter().find(|r| !["broker", "controller"].contains(&r.as_str())) {
            return Err(format!("process.roles: {role:?} is no role; broker, controller or both are"));
        }
        if roles.is_empty() {
            return Err("process.roles must say broker, controller or both".to_owned());
        }
        if !configs.is_set("node.id") || configs.int("node.id") < 0 {
            return Err("node.id must be set to a number from 0 on".to_owned());
        }
        let dirs = log_dirs(&configs);
        if dirs.is_empty() {
            return Err("log.dirs names no directory".to_owned());
        }
        let listeners = parse_listeners("listeners", &items(&configs, "listeners").join(","));
        let listeners = listeners.map_err(|e| e.to_string())?;
        if listeners.is_empty() {
            return Err("listeners names none; PLAINTEXT://127.0.0.1:9092 would be one".to_owned());
        }
        let controller_names: Vec<String> =
            items(&configs, "controller.listener.names").iter().map(|n| n.to_uppercase()).collect();
        let map = protocol_map(&configs, &controller_names).map_err(|e| e.to_string())?;
        for listener in &listeners {
            map.of(&listener.name).map_err(|e| e.to_string())?;
        }
        let is_controller = roles.iter().any(|r| r == "controller");
        let quorum = Quorum::new(&configs, &values, &listeners, &controller_names)?;
        let cluster_id = values.get(CLUSTER_ID).map(|id| id.parse::<Uuid>());
        let cluster_id = cluster_id.transpose().map_err(|e| format!("{CLUSTER_ID}: {e}"))?;
        let controller = if is_controller {
            let own = controller_config(&configs, &values, &listeners, &controller_names, &map, &quorum)?;
            Some(ControllerConfig { cluster_id, ..own })
        } else {
            None
        };
        let http_address = HttpAddress::of(&configs);
        let broker = match roles.iter().any(|r| r == "broker") {
            true => Some(BrokerConfig::from_server(configs).map_err(|e| e.to_string())?),
            false => None,
        };
        Ok(Plan { broker, cluster_id, controller, quorum, http_address })
    }

    pub(crate) fn node_id(&self) -> i32 {
        let broker = self.broker.as_ref().map(|broker| broker.node_id);
        broker.or(self.controller.as_ref().map(|controller| controller.node_id)).expect("a node has a role")
    }

    /// The controller that this node is to be.
    pub(crate) fn controller(&self) -> Option<&ControllerConfig> {
        self.controller.as_ref()
    }

    /// Those of the broker's logs and of the metadata log, each once.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        let logs = self.broker.iter().flat_map(|broker| broker.log_dirs.iter().cloned());
        logs.chain(self.controller.iter().map(|controller| controller.metadata_dir.clone())).collect()
    }
}

/// `listener.security.protocol.map`; where it is not set, the controller's listeners are plaintext, as in Kafka.
fn protocol_map(configs: &Configs, controller_names: &[String]) -> Result<SecurityProtocols, EndpointError> {
    let mut map = SecurityProtocols::parse(&configs.string("listener.security.protocol.map"))?;
    if !configs.is_set("listener.security.protocol.map") {
        controller_names.iter().for_each(|name| map.or_insert(name, SecurityProtocol::Plaintext));
    }
    Ok(map)
}

/// The items of a list; none if it is null, or required and not set.
fn items(configs: &Configs, name: &str) -> Vec<String> {
    match configs.find(name) {
        Some(config::Value::List(items)) => items,
        _ => Vec::new(),
    }
}

/// `log.dirs`, or `log.dir` where it is not set.
fn log_dirs(configs: &Configs) -> Vec<String> {
    let name = if configs.is_set("log.dirs") { "log.dirs" } else { "log.dir" };
    items(configs, name).into_iter().filter(|d| !d.trim().is_empty()).collect()
}

/// The controllers that the settings name.
pub(crate) struct Quorum {
    /// `controller.quorum.voters`
    voters: Vec<(i32, String)>,
    /// `controller.quorum.bootstrap.servers`
    bootstrap: Vec<String>,
    /// Id and address of this node, if it is a controller: it is asked first.
    own: Option<(i32, String)>,
}

impl Quorum {
    /// A lone controller that names nobody is its own quorum.
    fn new(
        configs: &Configs,
        values: &BTreeMap<String, String>,
        listeners: &[Endpoint],
        controller_names: &[String],
    ) -> Result<Quorum, Failure> {
        let voters = parse_voters(values.get("controller.quorum.voters").map_or("", String::as_str));
        let voters = voters.map_err(|e| e.to_string())?;
        if voters.is_empty() && values.get("controller.quorum.voters").is_some_and(|v| !v.trim().is_empty()) {
            return Err("controller.quorum.voters names no voter; id@host:port is expected".to_owned());
        }
        let servers = items(configs, BOOTSTRAP_SERVERS).join(",");
        let bootstrap = config::parse_addresses(BOOTSTRAP_SERVERS, &servers).map_err(|e| e.to_string())?;
        let own = listeners.iter().find(|l| controller_names.contains(&l.name));
        let own = own.map(|listener| (configs.int("node.id"), listener.local_address()));
        if voters.is_empty() && bootstrap.is_empty() && own.is_none() {
            return Err(format!(
                "controller.quorum.voters must name the controllers: id@host:port,... or {BOOTSTRAP_SERVERS} some of them: \
                 host:port,..."
            ));
        }
        Ok(Quorum { voters, bootstrap, own })
    }

    /// A controller of this process is reached by a stream in memory, the others by their addresses: the calls are the same.
    fn endpoints(&self, controller: Option<&Arc<Controller>>) -> ControllerEndpoints {
        let own = self.own.as_ref().filter(|_| controller.is_some());
        let is_named = own.is_some_and(|(own, _)| self.voters.iter().any(|(id, _)| id == own));
        let unnamed = own.filter(|_| !is_named);
        let known = self.voters.iter().chain(unnamed).fold(
            ControllerEndpoints::default(),
            |endpoints, (id, address)| match controller {
                Some(controller) if own.is_some_and(|(own, _)| own == id) => {
                    endpoints.through(*id, within(controller, address))
                }
                _ => endpoints.address(*id, address),
            },
        );
        let servers = self.bootstrap.iter().filter(|_| self.voters.is_empty());
        servers.fold(known, |endpoints, address| endpoints.bootstrap(address))
    }
}

const BOOTSTRAP_SERVERS: &str = "controller.quorum.bootstrap.servers";

/// A controller of this process.
fn within(controller: &Arc<Controller>, address: &str) -> Target {
    let controller = Arc::clone(controller);
    let connect = move || -> BoxFuture<'static, std::io::Result<host::Stream>> {
        let stream = controller.connect();
        Box::pin(std::future::ready(Ok(stream)))
    };
    Target::Through(Arc::from(address), Arc::new(connect))
}

/// Where other controllers reach the one of this process: its first listener, as it is advertised.
fn advertised_address(
    values: &BTreeMap<String, String>,
    listeners: &[Endpoint],
    names: &[String],
    quorum: &Quorum,
) -> Result<Option<String>, Failure> {
    let text = values.get("advertised.listeners").map_or("", String::as_str);
    let advertised = parse_listeners("advertised.listeners", text).map_err(|e| e.to_string())?;
    let own = listeners.iter().find(|listener| names.contains(&listener.name));
    let told = own.map(|own| advertised.iter().find(|told| told.name == own.name).unwrap_or(own));
    match told {
        // 127.0.0.1 would be each of the others.
        Some(told) if told.is_everywhere() && !quorum.bootstrap.is_empty() => {
            let name = &told.name;
            Err(format!(
                "advertised.listeners must say where others reach this controller: {name}://host:port"
            ))
        }
        told => Ok(told.map(Endpoint::local_address)),
    }
}

fn controller_config(
    configs: &Configs,
    values: &BTreeMap<String, String>,
    listeners: &[Endpoint],
    names: &[String],
    map: &SecurityProtocols,
    quorum: &Quorum,
) -> Result<ControllerConfig, Failure> {
    let mut listen = Vec::new();
    for listener in listeners.iter().filter(|l| names.contains(&l.name)) {
        let protocol = map.of(&listener.name).map_err(|e| e.to_string())?;
        if protocol != SecurityProtocol::Plaintext {
            let (name, protocol) = (&listener.name, protocol.name());
            return Err(format!("listener {name}: {protocol} is not served yet, PLAINTEXT is"));
        }
        listen.push(Listen {
            name: Str::from(listener.name.as_str()),
            protocol,
            address: listener.bind_address(),
        });
    }
    if listen.is_empty() {
        return Err("controller.listener.names must name one of listeners for a controller".to_owned());
    }
    let dir = values.get("metadata.log.dir").filter(|d| !d.trim().is_empty()).cloned();
    let first = log_dirs(configs).into_iter().next();
    Ok(ControllerConfig {
        node_id: configs.int("node.id"),
        voters: quorum.voters.clone(),
        joining: Joining {
            bootstrap_servers: quorum.bootstrap.clone(),
            advertised_address: advertised_address(values, listeners, names, quorum)?,
            auto_join: configs.bool("controller.quorum.auto.join.enable"),
        },
        listeners: listen,
        metadata_dir: PathBuf::from(dir.or(first).unwrap_or_else(|| "weir-data".to_owned())),
        cluster_id: None,
        session_timeout: Duration::from_millis(configs.int("broker.session.timeout.ms").max(1) as u64),
        properties: values.iter().map(|(n, v)| (Str::from(n.as_str()), Str::from(v.as_str()))).collect(),
        kv: KvKind::Rocks,
        broken: controller::decide::Broken::default(),
    })
}

/// A word to the operator that is no failure.
fn write_note(text: &str) {
    let _ = writeln!(std::io::stderr(), "weir: note: {text}");
}

/// Starts what the roles say, waits for a signal or a failure, and stops in order: the broker first, while the controller
/// can still move its leaders.
async fn serve(host: Host, plan: Plan) -> Result<(), Failure> {
    let controller = match plan.controller {
        Some(config) => Some(Arc::new(Controller::start(&host, config).await.map_err(|e| e.to_string())?)),
        None => None,
    };
    let quorum =
        controller.clone().map(|controller| -> QuorumSource { Arc::new(move || controller.status()) });
    if let (None, Some(quorum), Some(address)) = (&plan.broker, &quorum, &plan.http_address) {
        broker::serve_controller(&host, address, Arc::clone(quorum)).await.map_err(|e| e.to_string())?;
    }
    // A broker that does not start is no reason to leave the controller's store open.
    let ended =
        serve_broker(&host, plan.broker, plan.cluster_id, &plan.quorum, controller.as_ref(), quorum).await;
    if let Some(controller) = &controller {
        controller.stop().await;
    }
    ended
}

/// Runs the broker, if there is one, until a signal or a failure of the node.
async fn serve_broker(
    host: &Host,
    config: Option<BrokerConfig>,
    cluster_id: Option<Uuid>,
    controllers: &Quorum,
    controller: Option<&Arc<Controller>>,
    quorum: Option<QuorumSource>,
) -> Result<(), Failure> {
    let broker = match config {
        Some(mut config) => {
            config.cluster_id = controller.map(|c| c.cluster_id()).or(cluster_id);
            let endpoints = controllers.endpoints(controller);
            let broker = Broker::start(host, config, endpoints).await.map_err(|e| e.to_string())?;
            quorum.into_iter().for_each(|quorum| broker.tell_of_quorum(quorum));
            Some(broker)
        }
        None => None,
    };
    let ended = wait(controller.map(Arc::as_ref), broker.as_deref()).await;
    if let Some(broker) = &broker {
        broker.stop().await;
    }
    ended
}

/// Until a signal asks to stop, or a part of the node cannot go on.
async fn wait(controller: Option<&Controller>, broker: Option<&Broker>) -> Result<(), Failure> {
    let controller_failed = async {
        match controller {
            Some(controller) => controller.failed().await,
            None => std::future::pending().await,
        }
    };
    let broker_failed = async {
        match broker {
            Some(broker) => broker.failed().await,
            None => std::future::pending().await,
        }
    };
    // Cancellation is safe: no future keeps anything that another outcome needs.
    tokio::select! {
        biased;
        signal = host::real::until_stopped() => {
            let signal = signal.map_err(|e| format!("signals cannot be waited for: {e}"))?;
            tracing::info!(signal, "stopping");
            Ok(())
        }
        why = controller_failed => Err(why),
        why = broker_failed => Err(why),
    }
}
