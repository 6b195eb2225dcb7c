//! A cluster as a command sees it: where to ask, who leads what, and what went wrong in words.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Host;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, Request, Str};
use wire::client::{CallError, Node, NodeOptions, Pool};

use crate::cli::Target;

/// Runs a command's future on a small runtime of its own.
pub fn block_on<T: Send + 'static>(
    command: impl FnOnce(Host) -> Box<dyn Future<Output = Result<T, String>> + Send> + Send + 'static,
) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("the runtime does not start: {e}"))?;
    let ended = runtime.block_on(async {
        let host = host::real::host();
        let inner = host.clone();
        host.spawn("command", async move { Box::into_pin(command(inner)).await }).await
    });
    ended.unwrap_or_else(|_| Err("the command panicked".to_owned()))
}

/// Connections to a cluster.
#[derive(Clone)]
pub struct Cluster {
    pub host: Host,
    pool: Pool,
    bootstrap: Vec<String>,
    pub timeout: Duration,
}

impl Cluster {
    pub fn new(host: Host, target: &Target) -> Cluster {
        let timeout = Duration::from_secs(target.timeout.max(1));
        let options = NodeOptions {
            request_timeout: timeout,
            connect_timeout: timeout.min(Duration::from_secs(5)),
            ..NodeOptions::default()
        };
        let bootstrap =
            target.bootstrap.split(',').map(|a| a.trim().to_owned()).filter(|a| !a.is_empty()).collect();
        Cluster { pool: Pool::new(&host, options), host, bootstrap, timeout }
    }

    /// Asks the first bootstrap broker that answers.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, String> {
        let mut last = "no bootstrap broker was named".to_owned();
        for address in &self.bootstrap {
            match self.pool.node(address).call(request).await {
                Ok(response) => return Ok(response),
                Err(CallError::Connect { peer, reason }) => {
                    last = format!(
                        "cannot connect to {peer} ({reason}); is the broker running, and is -b right?"
                    );
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    pub fn node(&self, address: &str) -> Node {
        self.pool.node(address)
    }

    /// The metadata of some topics, or of all. Topics are not created by asking.
    pub async fn metadata(&self, names: Option<&[String]>, create: bool) -> Result<MetadataResponse, String> {
        let topic = |name: &String| MetadataRequestTopic {
            name: Some(Str::from(name.as_str())),
            ..Default::default()
        };
        let topics = names.map(|names| names.iter().map(topic).collect());
        self.call(&MetadataRequest { topics, allow_auto_topic_creation: create, ..Default::default() }).await
    }

    /// One topic with its leaders. Waits for leaders that are just being chosen.
    pub async fn topic(&self, name: &str, create: bool) -> Result<Leaders, String> {
        let deadline = self.host.clock().now() + self.timeout;
        loop {
            let metadata = self.metadata(Some(&[name.to_owned()]), create).await?;
            let topic = metadata.topics.first().cloned().unwrap_or_default();
            let error = ErrorCode::from_code(topic.error_code);
            let leaderless = topic.partitions.iter().any(|p| p.leader_id < 0);
            if error == ErrorCode::None && !leaderless && !topic.partitions.is_empty() {
                return Ok(Leaders::new(&metadata, topic));
            }
            let may_pass = error.is_retriable() && (create || error != ErrorCode::UnknownTopicOrPartition);
            if error != ErrorCode::None && !may_pass || self.host.clock().now() > deadline {
                return Err(explain_topic(name, error));
            }
            self.host.clock().sleep(Duration::from_millis(50)).await;
        }
    }
}

fn explain_topic(name: &str, error: ErrorCode) -> String {
    match error {
        ErrorCode::None => format!("topic {name} has partitions without a leader"),
        ErrorCode::UnknownTopicOrPartition => {
            format!("topic {name} does not exist; `weir topic create {name}` makes it")
        }
        error => format!("topic {name}: {error}"),
    }
}

/// Who leads the partitions of a topic.
pub struct Leaders {
    pub topic: MetadataResponseTopic,
    addresses: BTreeMap<i32, String>,
}

impl Leaders {
    fn new(metadata: &MetadataResponse, topic: MetadataResponseTopic) -> Leaders {
        let address = |b: &protocol::messages::metadata_response::MetadataResponseBroker| {
            (b.node_id, format!("{}:{}", b.host, b.port))
        };
        Leaders { topic, addresses: metadata.brokers.iter().map(address).collect() }
    }

    pub fn partitions(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self.topic.partitions.iter().map(|p| p.partition_index).collect();
        all.sort_unstable();
        all
    }

    /// The address of a partition's leader.
    pub fn leader(&self, partition: i32) -> Result<&str, String> {
        let name = self.topic.name.as_deref().unwrap_or_default();
        let found = self.topic.partitions.iter().find(|p| p.partition_index == partition);
        let found = found.ok_or_else(|| format!("topic {name} has no partition {partition}"))?;
        let address = self.addresses.get(&found.leader_id);
        address.map(String::as_str).ok_or_else(|| format!("the leader of {name}-{partition} is not alive"))
    }
}

/// A failure as a sentence: Kafka's code and what the broker said.
pub fn told(what: &str, code: i16, message: Option<&Str>) -> Result<(), String> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        error => Err(match message {
            Some(message) => format!("{what}: {error}: {message}"),
            None => format!("{what}: {error}"),
        }),
    }
}
