//! What a broker is told by `server.properties`: listeners, directories, times.
//!
//! **Invariant:** everything that can be wrong with the settings of a broker is found here, before anything is opened, and
//! is told in one sentence. Configs that may change while running are not here: they are read from the Image at use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::config::Configs;
use protocol::{Str, Uuid};
use wire::SecurityProtocol;

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("node.id must be set to 0 or more")]
    NodeId,
    #[error("{name}: {entry:?} is not NAME://host:port")]
    Listener { name: &'static str, entry: String },
    #[error("{name}: the listener {listener} is named twice")]
    Twice { name: &'static str, listener: String },
    #[error("the listener {0} has no entry in listener.security.protocol.map")]
    NoProtocol(String),
    #[error("listener.security.protocol.map: {0:?} is not NAME:PROTOCOL")]
    ProtocolMap(String),
    #[error("advertised.listeners names {0}, which is not among the listeners")]
    NotAListener(String),
    #[error("advertised.listeners must be set: the listener {0} has no host that others could connect to")]
    NoHost(String),
    #[error("a broker needs a listener besides those of the controller")]
    NoListener,
    #[error("inter.broker.listener.name is {0}, which is not among the listeners")]
    InterBroker(String),
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
    /// `weir.http.address`; None: no HTTP, as in a simulation.
    pub http_address: Option<String>,
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
            http_address: server.opt_string("weir.http.address").filter(|address| !address.is_empty()),
            server: Arc::new(server),
        })
    }
}

/// `NAME://host:port`, in the order given. The host may be missing, or in brackets.
fn parse_listeners(
    name: &'static str,
    entries: &[String],
) -> Result<Vec<(String, String, u16)>, ConfigError> {
    let mut found: Vec<(String, String, u16)> = Vec::new();
    for entry in entries {
        let wrong = || ConfigError::Listener { name, entry: entry.clone() };
        let (listener, address) = entry.split_once("://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let listener = listener.to_ascii_uppercase();
        let port = port.parse().map_err(|_| wrong())?;
        if listener.is_empty() {
            return Err(wrong());
        }
        if found.iter().any(|(known, ..)| *known == listener) {
            return Err(ConfigError::Twice { name, listener });
        }
        found.push((listener, host.to_owned(), port));
    }
    Ok(found)
}

fn protocols(server: &Configs) -> Result<BTreeMap<String, SecurityProtocol>, ConfigError> {
    let text = server.string("listener.security.protocol.map");
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parsed = entries.map(|entry| {
        let wrong = || ConfigError::ProtocolMap(entry.to_owned());
        let (name, protocol) = entry.split_once(':').ok_or_else(wrong)?;
        let protocol = SecurityProtocol::from_name(protocol.trim()).ok_or_else(wrong)?;
        Ok((name.trim().to_ascii_uppercase(), protocol))
    });
    parsed.collect()
}

fn listeners(server: &Configs) -> Result<Vec<Listener>, ConfigError> {
    let protocols = protocols(server)?;
    let of_controller: Vec<String> =
        server.list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut bound = parse_listeners("listeners", &items(server, "listeners"))?;
    bound.retain(|(name, ..)| !of_controller.contains(name));
    let advertised = parse_listeners("advertised.listeners", &items(server, "advertised.listeners"))?;
    if let Some((stranger, ..)) = advertised
        .iter()
        .find(|(name, ..)| !of_controller.contains(name) && !bound.iter().any(|(b, ..)| b == name))
    {
        return Err(ConfigError::NotAListener(stranger.clone()));
    }
    if bound.is_empty() {
        return Err(ConfigError::NoListener);
    }
    let listener = |(name, host, port): (String, String, u16)| {
        let protocol = *protocols.get(&name).ok_or_else(|| ConfigError::NoProtocol(name.clone()))?;
        let told = advertised.iter().find(|(known, ..)| *known == name);
        let (advertised_host, advertised_port) = told.map_or((&host, port), |(_, host, port)| (host, *port));
        if advertised_host.is_empty() || advertised_host == "0.0.0.0" || advertised_host == "::" {
            return Err(ConfigError::NoHost(name));
        }
        let bound_host = match host.as_str() {
            "" => "0.0.0.0".to_owned(),
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        Ok(Listener {
            advertised_host: Str::from(advertised_host.as_str()),
            advertised_port,
            address: format!("{bound_host}:{port}"),
            name: Str::from(name),
            protocol,
        })
    };
    bound.into_iter().map(listener).collect()
}

/// The items of a config that may be a list or a text with commas, null being empty.
fn items(server: &Configs, name: &str) -> Vec<String> {
    let text = match server.value(name) {
        protocol::config::Value::Null => String::new(),
        value => value.to_string(),
    };
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
        assert!(wrong(&[("listeners", "127.0.0.1:9092")]).contains("not NAME://host:port"));
        assert!(wrong(&[("listeners", "PLAINTEXT://127.0.0.1:99999")]).contains("not NAME://host:port"));
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
