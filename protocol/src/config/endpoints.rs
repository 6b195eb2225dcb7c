//! Listeners and voters as `server.properties` writes them: one reader for brokers and controllers.
//!
//!     listeners, advertised.listeners  PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093
//!     listener.security.protocol.map   CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,...
//!     controller.quorum.voters         1@a:9093,2@b:9093,3@c:9093
//!     controller.quorum.bootstrap.servers        a:9093,b:9093,c:9093

use std::collections::BTreeMap;

use crate::Uuid;

/// What is wrong with such a setting: one sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{setting}: {entry:?} is no listener; NAME://host:port is expected")]
    Listener { setting: &'static str, entry: String },
    #[error("{setting}: the listener {listener} is named twice")]
    Twice { setting: &'static str, listener: String },
    #[error(
        "listener.security.protocol.map: {0:?} is not NAME:PROTOCOL, with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )]
    ProtocolMap(String),
    #[error("the listener {0} has no entry in listener.security.protocol.map")]
    NoProtocol(String),
    #[error("controller.quorum.voters: {0:?} is no voter; id@host:port is expected")]
    Voter(String),
    #[error("{setting}: {entry:?} is no address; host:port is expected")]
    Address { setting: &'static str, entry: String },
    #[error("{setting}: {entry:?} is no voter; id@host:port:directory-id is expected")]
    DirectoryVoter { setting: &'static str, entry: String },
}

/// The protocol of a listener, as in `listener.security.protocol.map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name, as it stands in configs.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Kafka takes the name in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
        [Plaintext, Ssl, SaslPlaintext, SaslSsl].into_iter().find(|p| p.name().eq_ignore_ascii_case(name))
    }

    /// The number in metadata records (Kafka's `SecurityProtocol`).
    pub fn id(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// In capitals: Kafka takes the name in any case.
    pub name: String,
    /// Empty for every address of the machine; without brackets.
    pub host: String,
    /// 0 for any that is free.
    pub port: u16,
}

impl Endpoint {
    /// Where to listen: an empty host is every address.
    pub fn bind_address(&self) -> String {
        let host = if self.host.is_empty() { "0.0.0.0" } else { &self.host };
        format!("{}:{}", bracketed(host), self.port)
    }

    /// Where a program on this machine connects to.
    pub fn local_address(&self) -> String {
        let host = if self.is_everywhere() { "127.0.0.1" } else { &self.host };
        format!("{}:{}", bracketed(host), self.port)
    }

    /// It listens on every address, and names none that others could connect to.
    pub fn is_everywhere(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// `host:port`, the host perhaps empty or in brackets.
fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Reads `NAME://host:port,...`, in the order given.
pub fn parse_listeners(setting: &'static str, text: &str) -> Result<Vec<Endpoint>, EndpointError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for entry in entries(text) {
        let wrong = || EndpointError::Listener { setting, entry: entry.to_owned() };
        let (name, address) = entry.split_once("://").ok_or_else(wrong)?;
        let (host, port) = split_address(address).ok_or_else(wrong)?;
        let name = name.trim().to_ascii_uppercase();
        if name.is_empty() {
            return Err(wrong());
        }
        if endpoints.iter().any(|known| known.name == name) {
            return Err(EndpointError::Twice { setting, listener: name });
        }
        endpoints.push(Endpoint { name, host, port });
    }
    Ok(endpoints)
}

/// `listener.security.protocol.map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityProtocols(BTreeMap<String, SecurityProtocol>);

impl SecurityProtocols {
    pub fn parse(text: &str) -> Result<SecurityProtocols, EndpointError> {
        let mut map = BTreeMap::new();
        for entry in entries(text) {
            let wrong = || EndpointError::ProtocolMap(entry.to_owned());
            let (name, protocol) = entry.split_once(':').ok_or_else(wrong)?;
            let protocol = SecurityProtocol::from_name(protocol.trim()).ok_or_else(wrong)?;
            map.insert(name.trim().to_ascii_uppercase(), protocol);
        }
        Ok(SecurityProtocols(map))
    }

    /// For a listener that the map does not name.
    pub fn or_insert(&mut self, listener: &str, protocol: SecurityProtocol) {
        self.0.entry(listener.to_ascii_uppercase()).or_insert(protocol);
    }

    pub fn of(&self, listener: &str) -> Result<SecurityProtocol, EndpointError> {
        self.0.get(listener).copied().ok_or_else(|| EndpointError::NoProtocol(listener.to_owned()))
    }
}

/// Reads `id@host:port,...`.
pub fn parse_voters(text: &str) -> Result<Vec<(i32, String)>, EndpointError> {
    let voter = |entry: &str| {
        let (id, address) = entry.split_once('@')?;
        let (host, port) = split_address(address).filter(|(host, _)| !host.is_empty())?;
        Some((id.trim().parse().ok()?, format!("{}:{port}", bracketed(&host))))
    };
    entries(text).map(|entry| voter(entry).ok_or_else(|| EndpointError::Voter(entry.to_owned()))).collect()
}

/// Reads `host:port,...`.
pub fn parse_addresses(setting: &'static str, text: &str) -> Result<Vec<String>, EndpointError> {
    let address = |entry: &str| {
        let (host, port) = split_address(entry).filter(|(host, _)| !host.is_empty())?;
        Some(format!("{}:{port}", bracketed(&host)))
    };
    let wrong = |entry: &str| EndpointError::Address { setting, entry: entry.to_owned() };
    entries(text).map(|entry| address(entry).ok_or_else(|| wrong(entry))).collect()
}

/// A voter as formatting names it: node id, address, directory id.
pub type DirectoryVoter = (i32, String, Uuid);

/// Reads `id@host:port:directory-id,...`, as Kafka's `--initial-controllers`.
pub fn parse_directory_voters(
    setting: &'static str,
    text: &str,
) -> Result<Vec<DirectoryVoter>, EndpointError> {
    let voter = |entry: &str| {
        let (rest, directory) = entry.rsplit_once(':')?;
        let directory: Uuid = directory.trim().parse().ok().filter(|id| *id != Uuid::ZERO)?;
        let [(id, address)] = &parse_voters(rest).ok()?[..] else { return None };
        Some((*id, address.clone(), directory))
    };
    let wrong = |entry: &str| EndpointError::DirectoryVoter { setting, entry: entry.to_owned() };
    entries(text).map(|entry| voter(entry).ok_or_else(|| wrong(entry))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_with_and_without_a_host() {
        let text = "PLAINTEXT://127.0.0.1:9092, controller://:9093,V6://[::1]:1";
        let read = parse_listeners("listeners", text).expect("read");
        assert_eq!(read[0].bind_address(), "127.0.0.1:9092");
        assert_eq!((read[1].name.as_str(), read[1].bind_address().as_str()), ("CONTROLLER", "0.0.0.0:9093"));
        assert_eq!((read[1].is_everywhere(), read[1].local_address().as_str()), (true, "127.0.0.1:9093"));
        assert_eq!((read[2].host.as_str(), read[2].bind_address().as_str()), ("::1", "[::1]:1"));
        assert_eq!(parse_listeners("listeners", " , "), Ok(Vec::new()));
        for bad in
            ["PLAINTEXT:127.0.0.1:1", "A://host", "A://host:x", "A://h:1,a://h:2", "A://h:70000", "://h:1"]
        {
            let error = parse_listeners("listeners", bad).expect_err(bad).to_string();
            assert!(error.starts_with("listeners"), "{error}");
        }
    }

    #[test]
    fn the_security_protocol_of_a_listener_comes_from_the_map() {
        let map = SecurityProtocols::parse("controller:PLAINTEXT, A:ssl").expect("read");
        assert_eq!(map.of("CONTROLLER"), Ok(SecurityProtocol::Plaintext));
        assert_eq!(map.of("A"), Ok(SecurityProtocol::Ssl));
        assert_eq!(map.of("SSL"), Err(EndpointError::NoProtocol("SSL".to_owned())), "as in Kafka");
        assert!(SecurityProtocols::parse("A:NOTHING").is_err());
        assert!(SecurityProtocols::parse("A").is_err());
    }

    #[test]
    fn voters_are_read_or_refused_by_name() {
        let three = vec![(1, "a:9093".to_owned()), (2, "b:9094".to_owned()), (3, "[::1]:1".to_owned())];
        assert_eq!(parse_voters("1@a:9093, 2@b:9094,3@[::1]:1"), Ok(three));
        for bad in ["1@", "1@a", "a:1", "x@a:1", "1@:1"] {
            let error = parse_voters(bad).expect_err(bad).to_string();
            assert!(error.starts_with("controller.quorum.voters"), "{error}");
        }
    }

    #[test]
    fn first_voters_are_read_with_their_directories() {
        let text = "1@a:9093:4L6g3nShT-eMCtK--X86sw, 2@[::1]:9094:5L6g3nShT-eMCtK--X86sw";
        let read = parse_directory_voters("--initial-controllers", text).expect("read");
        assert_eq!((read[0].0, read[0].1.as_str()), (1, "a:9093"));
        assert_eq!((read[1].0, read[1].1.as_str()), (2, "[::1]:9094"));
        assert_eq!(read[1].2.to_string(), "5L6g3nShT-eMCtK--X86sw");
        for bad in ["1@a:9093", "1@a:4L6g3nShT-eMCtK--X86sw", "a:9093:4L6g3nShT-eMCtK--X86sw", "1@a:1:zz"] {
            let error = parse_directory_voters("--initial-controllers", bad).expect_err(bad).to_string();
            assert!(error.starts_with("--initial-controllers") && error.contains(bad), "{error}");
        }
        let servers = parse_addresses("controller.quorum.bootstrap.servers", "a:1,[::1]:2");
        assert_eq!(servers, Ok(vec!["a:1".to_owned(), "[::1]:2".to_owned()]));
        assert!(parse_addresses("controller.quorum.bootstrap.servers", "a").is_err());
    }
}
