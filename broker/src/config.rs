//! What a broker is told by `server.properties`: listeners, directories, times.
//!
//! **Invariant:** everything that can be wrong with the settings of a broker is found here, before anything is opened, and
//! is told in one sentence. Configs that may change while running are not here: they are read from the Image at use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::config::{
    Configs, Endpoint, EndpointError, SecurityProtocol, SecurityProtocols, parse_listeners,
};
use protocol::{Str, Uuid};

use crate::broken::Broken;
use crate::http::HttpAddress;

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("node.id must be set to 0 or more")]
    NodeId,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("advertised.listeners names {0}, which is not among the listeners")]
    NotAListener(String),
    #[error("advertised.listeners must be set: the listener {0} has no host that others could connect to")]
    NoHost(String),
    #[error("a broker needs a listener besides those of the controller")]
    NoListener,
    #[error("inter.broker.listener.name is {0}, which is not among the listeners")]
    InterBroker(String),
    #[error(
        "replica.selector.class is {0}; of Kafka's own, LeaderSelector and RackAwareReplicaSelector can be used"
    )]
    ReplicaSelector(String),
    #[error("log.dirs names no directory")]
    NoLogDirs,
    #[error("log.dirs names {} twice", .0.display())]
    LogDirTwice(PathBuf),
}

/// A listener, and what clients are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: Str,
    pub protocol: SecurityProtocol,
    /// `host:port` to listen on; port 0 takes any free one.
    pub address: String,
    pub advertised_host: Str,
    /// 0: the one that is listened on.
    pub advertised_port: u16,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    pub node_id: i32,
    pub rack: Option<Str>,
    pub listeners: Vec<Listener>,
    /// The listener on which brokers speak to each other.
    pub inter_broker_listener: Str,
    pub log_dirs: Vec<PathBuf>,
    /// None: what the log dirs say.
    pub cluster_id: Option<Uuid>,
    pub heartbeat_interval: Duration,
    /// `fetch.max.bytes`: what one fetch answers at most, unless its first batch is larger.
    pub fetch_bytes_max: u64,
    /// `replica.selector.class` is Kafka's `RackAwareReplicaSelector`.
    pub selects_replicas_by_rack: bool,
    /// `weir.http.address`; None: no HTTP, as in a simulation.
    pub http_address: Option<HttpAddress>,
    /// What a simulation breaks on purpose.
    pub broken: Broken,
    /// The static values, below the dynamic ones of the Image.
    pub server: Arc<Configs>,
}

impl BrokerConfig {
    /// Reads the settings of a broker from those of a server.
    pub fn from_server(mut server: Configs) -> Result<BrokerConfig, ConfigError> {
        let node_id = server.int("node.id");
        if node_id < 0 {
            return Err(ConfigError::NodeId);
        }
        // The old name of the same thing; tools look for it.
        server.set("broker.id", &node_id.to_string()).expect("an int is valid");
        let listeners = listeners(&server)?;
        let inter_broker_listener = inter_broker_listener(&server, &listeners)?;
        let millis = |name: &str| Duration::from_millis(server.long(name).max(1) as u64);
        Ok(BrokerConfig {
            node_id,
            rack: server.opt_string("broker.rack").map(Str::from),
            listeners,
            inter_broker_listener,
            log_dirs: log_dirs(&server)?,
            cluster_id: None,
            heartbeat_interval: millis("broker.heartbeat.interval.ms"),
            fetch_bytes_max: u64::try_from(server.int("fetch.max.bytes")).unwrap_or(0),
            http_address: HttpAddress::of(&server),
            selects_replicas_by_rack: selects_by_rack(&server)?,
            broken: Broken::default(),
            server: Arc::new(server),
        })
    }
}

/// Of the classes that Kafka has.
fn selects_by_rack(server: &Configs) -> Result<bool, ConfigError> {
    match server.opt_string("replica.selector.class").as_deref() {
        None | Some("" | "org.apache.kafka.common.replica.LeaderSelector") => Ok(false),
        Some("org.apache.kafka.common.replica.RackAwareReplicaSelector") => Ok(true),
        Some(class) => Err(ConfigError::ReplicaSelector(class.to_owned())),
    }
}

fn listeners(server: &Configs) -> Result<Vec<Listener>, ConfigError> {
    let protocols = SecurityProtocols::parse(&server.string("listener.security.protocol.map"))?;
    let of_controller: Vec<String> =
        server.list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut bound = parse_listeners("listeners", &text(server, "listeners"))?;
    bound.retain(|endpoint| !of_controller.contains(&endpoint.name));
    let advertised = parse_listeners("advertised.listeners", &text(server, "advertised.listeners"))?;
    let is_known =
        |e: &&Endpoint| of_controller.contains(&e.name) || bound.iter().any(|own| own.name == e.name);
    if let Some(stranger) = advertised.iter().find(|endpoint| !is_known(endpoint)) {
        return Err(ConfigError::NotAListener(stranger.name.clone()));
    }
    if bound.is_empty() {
        return Err(ConfigError::NoListener);
    }
    let listener = |own: Endpoint| {
        let protocol = protocols.of(&own.name)?;
        let told = advertised.iter().find(|known| known.name == own.name).unwrap_or(&own);
        if told.is_everywhere() {
            return Err(ConfigError::NoHost(own.name));
        }
        Ok(Listener {
            advertised_host: Str::from(told.host.as_str()),
            advertised_port: told.port,
            address: own.bind_address(),
            name: Str::from(own.name),
            protocol,
        })
    };
    bound.into_iter().map(listener).collect()
}

/// A config that may be a list or a text with commas, null being empty.
fn text(server: &Configs, name: &str) -> String {
    match server.value(name) {
        protocol::config::Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// Its items.
fn items(server: &Configs, name: &str) -> Vec<String> {
    let text = text(server, name);
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn inter_broker_listener(server: &Configs, listeners: &[Listener]) -> Result<Str, ConfigError> {
    if let Some(name) = server.opt_string("inter.broker.listener.name") {
        let name = name.to_ascii_uppercase();
        let known = listeners.iter().any(|listener| listener.name == *name.as_str());
        return if known { Ok(Str::from(name)) } else { Err(ConfigError::InterBroker(name)) };
    }
    let protocol = server.string("security.inter.broker.protocol");
    let first = listeners.iter().find(|listener| listener.protocol.name() == protocol);
    first.map(|listener| listener.name.clone()).ok_or(ConfigError::InterBroker(protocol))
}

fn log_dirs(server: &Configs) -> Result<Vec<PathBuf>, ConfigError> {
    let mut dirs = items(server, "log.dirs");
    if dirs.is_empty() {
        dirs = items(server, "log.dir");
    }
    let dirs: Vec<PathBuf> = dirs.into_iter().map(PathBuf::from).collect();
    match dirs.iter().enumerate().find(|(at, dir)| dirs[..*at].contains(dir)) {
        Some((_, twice)) => Err(ConfigError::LogDirTwice(twice.clone())),
        None if dirs.is_empty() => Err(ConfigError::NoLogDirs),
        None => Ok(dirs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
        let mut all =
            vec![("node.id", "1"), ("process.roles", "broker"), ("controller.listener.names", "CONTROLLER")];
        all.extend_from_slice(pairs);
        let configs = Configs::parse(protocol::config::server(), all).expect("valid values");
        BrokerConfig::from_server(configs)
    }

    #[test]
    fn listeners_are_told_apart_and_the_controllers_are_left_out() {
        let config = read(&[
            ("listeners", "INSIDE://:9092,OUTSIDE://10.0.0.1:9093,CONTROLLER://:9094"),
            ("advertised.listeners", "INSIDE://b1.local:9092,OUTSIDE://b1.example.org:19093"),
            ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:plaintext,CONTROLLER:PLAINTEXT"),
            ("inter.broker.listener.name", "INSIDE"),
        ]);
        let config = config.expect("valid");
        let told: Vec<_> = config
            .listeners
            .iter()
            .map(|l| (l.name.as_str(), l.address.as_str(), l.advertised_host.as_str(), l.advertised_port))
            .collect();
        assert_eq!(
            told,
            [
                ("INSIDE", "0.0.0.0:9092", "b1.local", 9092),
                ("OUTSIDE", "10.0.0.1:9093", "b1.example.org", 19093)
            ]
        );
        assert_eq!(config.inter_broker_listener, "INSIDE");
    }

    #[test]
    fn what_is_wrong_is_told_in_one_sentence() {
        let listeners = ("listeners", "PLAINTEXT://127.0.0.1:9092");
        let wrong = |pairs: &[(&str, &str)]| read(pairs).expect_err("refused").to_string();
        assert!(wrong(&[("listeners", "127.0.0.1:9092")]).contains("NAME://host:port is expected"));
        assert!(
            wrong(&[("listeners", "PLAINTEXT://127.0.0.1:99999")]).contains("NAME://host:port is expected")
        );
        assert!(wrong(&[("listeners", "A://h:1,a://h:2")]).contains("named twice"));
        assert!(wrong(&[("listeners", "OTHER://h:1")]).contains("listener.security.protocol.map"));
        assert!(wrong(&[("listeners", "PLAINTEXT://:9092")]).contains("advertised.listeners must be set"));
        assert!(wrong(&[("listeners", "CONTROLLER://h:1")]).contains("besides those of the controller"));
        assert!(wrong(&[listeners, ("advertised.listeners", "X://h:1")]).contains("not among the listeners"));
        assert!(
            wrong(&[listeners, ("inter.broker.listener.name", "X")]).contains("inter.broker.listener.name")
        );
    }
}
