//! How a cluster is reached: the command line, then the environment, then a properties file as Kafka's tools take it.

use std::path::Path;
use std::time::Duration;

use protocol::bounds::CLIENT_CONNECT_TIMEOUT;

use crate::cli::Target;
use crate::settings;

const BOOTSTRAP: &str = "127.0.0.1:9092";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits longer than this before a terminal for a broker that does not answer.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// What a client of a cluster must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// `host:port` each; at least one.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    /// Of one request, and of trying again.
    pub timeout: Duration,
    pub connect_timeout: Duration,
}

impl ClientConfig {
    /// What the command line says, completed by the file that it names.
    pub fn of(target: &Target) -> Result<ClientConfig, String> {
        let file = match &target.command_config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let bootstrap = target.bootstrap.clone().or(file.bootstrap).unwrap_or_else(|| BOOTSTRAP.to_owned());
        let bootstrap: Vec<String> =
            bootstrap.split(',').map(|a| a.trim().to_owned()).filter(|a| !a.is_empty()).collect();
        let is_address = |a: &String| a.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if let Some(bad) = bootstrap.iter().find(|a| !is_address(a)) {
            return Err(format!("{bad:?} is no host:port; -b 127.0.0.1:9092 would be one"));
        }
        if bootstrap.is_empty() {
            return Err("no bootstrap broker was named; -b host:port names one".to_owned());
        }
        let asked = target.timeout.map(|seconds| Duration::from_secs(seconds.max(1)));
        let timeout = asked.or(file.timeout).unwrap_or(TIMEOUT);
        let connect_timeout = timeout.min(CONNECT_TIMEOUT_MAX).min(CLIENT_CONNECT_TIMEOUT);
        let client_id = file.client_id.unwrap_or_else(|| "weir".to_owned());
        Ok(ClientConfig { bootstrap, client_id, timeout, connect_timeout })
    }
}

/// What we take from a file. Other names are let be: such files are shared with producers and consumers.
#[derive(Default)]
struct File {
    bootstrap: Option<String>,
    client_id: Option<String>,
    timeout: Option<Duration>,
}

fn read(path: &Path) -> Result<File, String> {
    let mut values = settings::read_file(path).map_err(|e| e.to_string())?;
    if let Some(protocol) = values.get("security.protocol")
        && protocol != "PLAINTEXT"
    {
        return Err(format!(
            "{}: security.protocol={protocol} is not spoken by `weir` yet; PLAINTEXT is",
            path.display()
        ));
    }
    let timeout = match values.get("request.timeout.ms").map(|text| text.parse::<u64>()) {
        None => None,
        Some(Ok(ms)) => Some(Duration::from_millis(ms.max(1))),
        Some(Err(_)) => return Err(format!("{}: request.timeout.ms is no number", path.display())),
    };
    Ok(File { bootstrap: values.remove("bootstrap.servers"), client_id: values.remove("client.id"), timeout })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use crate::output::Format;

    fn target(bootstrap: Option<&str>, file: Option<&Path>) -> Target {
        Target {
            bootstrap: bootstrap.map(str::to_owned),
            command_config: file.map(Path::to_owned),
            format: Format::Table,
            timeout: None,
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("client.properties");
        let text = "bootstrap.servers=a:1, b:2\nclient.id=me\nrequest.timeout.ms=1500\nacks=all\n";
        std::fs::write(&file, text).expect("written");
        let read = ClientConfig::of(&target(None, Some(&file))).expect("read");
        assert_eq!(read.bootstrap, ["a:1", "b:2"]);
        assert_eq!((read.client_id.as_str(), read.timeout), ("me", Duration::from_millis(1500)));
        let read = ClientConfig::of(&target(Some("c:3"), Some(&file))).expect("read");
        assert_eq!(read.bootstrap, ["c:3"]);
        let read = ClientConfig::of(&target(None, None)).expect("read");
        assert_eq!((read.bootstrap, read.timeout), (vec![BOOTSTRAP.to_owned()], TIMEOUT));
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("client.properties");
        std::fs::write(&file, "security.protocol=SASL_SSL\n").expect("written");
        let refused = ClientConfig::of(&target(None, Some(&file))).expect_err("refused");
        assert!(refused.contains("SASL_SSL"), "{refused}");
        let refused = ClientConfig::of(&target(Some("localhost"), None)).expect_err("refused");
        assert!(refused.contains("host:port"), "{refused}");
    }
}
