//! Listeners and voters as `server.properties` writes them.
//!
//!     listeners                  PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093
//!     listener.security.protocol.map   CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,...
//!     controller.quorum.voters   1@a:9093,2@b:9093,3@c:9093

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    /// Empty for every address of the machine.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Where to listen: an empty host is every address.
    pub fn bind_address(&self) -> String {
        let host = if self.host.is_empty() { "0.0.0.0" } else { &self.host };
        format!("{}:{}", bracketed(host), self.port)
    }

    /// Where others connect to.
    pub fn address(&self) -> String {
        let host = if self.host.is_empty() || self.host == "0.0.0.0" { "127.0.0.1" } else { &self.host };
        format!("{}:{}", bracketed(host), self.port)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Reads `NAME://host:port,...`. The error names the setting and the part that is wrong.
pub fn parse_listeners(setting: &str, text: &str) -> Result<Vec<Endpoint>, String> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let wrong = |why: &str| format!("{setting}: {part:?} {why}; NAME://host:port is expected");
        let (name, rest) = part.split_once("://").ok_or_else(|| wrong("is no listener"))?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let port = port.parse().map_err(|_| wrong("has no port"))?;
        let name = name.trim().to_uppercase();
        if endpoints.iter().any(|e| e.name == name) {
            return Err(wrong("names a listener twice"));
        }
        endpoints.push(Endpoint { name, host: host.trim_matches(['[', ']']).to_owned(), port });
    }
    if endpoints.is_empty() {
        return Err(format!("{setting}: at least one listener is needed, e.g. PLAINTEXT://127.0.0.1:9092"));
    }
    Ok(endpoints)
}

/// The security protocol of a listener: from the map, or its own name.
pub fn security_of(listener: &str, map: &str) -> Result<String, String> {
    let entries = map.split(',').filter_map(|e| e.trim().split_once(':'));
    let mut mapped = entries
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case(listener))
        .map(|(_, p)| p.trim().to_uppercase());
    let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    let protocol = mapped.next_back().or_else(|| known.contains(&listener).then(|| listener.to_owned()));
    match protocol {
        Some(protocol) if known.contains(&protocol.as_str()) => Ok(protocol),
        Some(protocol) => Err(format!("listener.security.protocol.map: {protocol} is no security protocol")),
        None => Err(format!("listener.security.protocol.map has no entry for listener {listener}")),
    }
}

/// Reads `id@host:port,...`.
pub fn parse_voters(text: &str) -> Result<Vec<(i32, String)>, String> {
    let mut voters = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let wrong = || format!("controller.quorum.voters: {part:?} is no voter; id@host:port is expected");
        let (id, address) = part.split_once('@').ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let id = id.parse().map_err(|_| wrong())?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() {
            return Err(wrong());
        }
        voters.push((id, format!("{host}:{port}")));
    }
    Ok(voters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_with_and_without_a_host() {
        let read =
            parse_listeners("listeners", "PLAINTEXT://127.0.0.1:9092, controller://:9093,V6://[::1]:1")
                .expect("read");
        assert_eq!(read[0].bind_address(), "127.0.0.1:9092");
        assert_eq!((read[1].name.as_str(), read[1].bind_address().as_str()), ("CONTROLLER", "0.0.0.0:9093"));
        assert_eq!(read[2].bind_address(), "[::1]:1");
        for bad in ["", "PLAINTEXT:127.0.0.1:1", "A://host", "A://host:x", "A://h:1,A://h:2", "A://h:70000"] {
            let error = parse_listeners("listeners", bad).expect_err(bad);
            assert!(error.starts_with("listeners"), "{error}");
        }
    }

    #[test]
    fn security_comes_from_the_map_or_the_name() {
        assert_eq!(security_of("CONTROLLER", "CONTROLLER:PLAINTEXT,A:SSL").as_deref(), Ok("PLAINTEXT"));
        assert_eq!(security_of("SSL", "").as_deref(), Ok("SSL"));
        assert!(security_of("NOSUCH", "").is_err());
        assert!(security_of("A", "A:NOTHING").is_err());
    }

    #[test]
    fn voters_are_read_or_refused_by_name() {
        let two = vec![(1, "a:9093".to_owned()), (2, "b:9094".to_owned())];
        assert_eq!(parse_voters("1@a:9093, 2@b:9094"), Ok(two));
        for bad in ["1@", "1@a", "a:1", "x@a:1", "1@:1"] {
            assert!(parse_voters(bad).is_err(), "{bad}");
        }
    }
}
