//! A cluster as a command sees it: where to ask, who leads what, and what went wrong in words.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Host;
use protocol::messages::MetadataResponse;
use protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use protocol::{ErrorCode, Request, Str};
use wire::client::{CallError, ClusterError, ClusterOptions, Node, NodeOptions};

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

/// A client of the cluster that `-b` names.
#[derive(Clone)]
pub struct Cluster {
    pub host: Host,
    client: wire::client::Cluster,
    pub timeout: Duration,
    creates_topics: bool,
}

impl Cluster {
    /// With `create`, asking for a topic may create it.
    pub fn new(host: Host, target: &Target, create: bool) -> Cluster {
        let timeout = Duration::from_secs(target.timeout.max(1));
        let node = NodeOptions {
            request_timeout: timeout,
            connect_timeout: timeout.min(Duration::from_secs(5)),
            ..NodeOptions::default()
        };
        // Who sits before a terminal wants to know at once that nobody answers, and tries again himself.
        let retry_max = Duration::ZERO;
        let options =
            ClusterOptions { node, retry_max, allow_auto_topic_creation: create, ..Default::default() };
        let bootstrap = target.bootstrap.split(',').map(str::trim).filter(|a| !a.is_empty());
        let client = wire::client::Cluster::new(&host, bootstrap.map(str::to_owned), options);
        Cluster { host, client, timeout, creates_topics: create }
    }

    /// Asks the first broker that answers.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, String> {
        self.client.call_any(request, false).await.map_err(in_words)
    }

    /// Asks one broker, whose address the metadata told before.
    pub async fn call_broker<R: Request>(&self, id: i32, request: &R) -> Result<R::Response, String> {
        let node = self.client.broker(id).ok_or_else(|| format!("broker {id} is not alive"))?;
        node.call(request).await.map_err(|error| in_words(error.into()))
    }

    /// The metadata of some topics, or of all.
    pub async fn metadata(&self, names: Option<&[String]>) -> Result<MetadataResponse, String> {
        let names: Option<Vec<Str>> = names.map(|all| all.iter().map(|n| Str::from(n.as_str())).collect());
        self.client.refresh(names.as_deref()).await.map_err(in_words)
    }

    /// One topic with its leaders. Waits for leaders that are just being chosen.
    pub async fn topic(&self, name: &str) -> Result<Leaders, String> {
        let deadline = self.host.clock().now() + self.timeout;
        loop {
            let metadata = self.metadata(Some(&[name.to_owned()])).await?;
            let topic = metadata.topics.into_iter().next().unwrap_or_default();
            let error = ErrorCode::from_code(topic.error_code);
            let leaderless = topic.partitions.iter().any(|p| p.leader_id < 0);
            if error == ErrorCode::None && !leaderless && !topic.partitions.is_empty() {
                return Ok(Leaders::new(&self.client, topic));
            }
            // A broker that is creating the topic answers that it does not exist.
            let is_unknown = error == ErrorCode::UnknownTopicOrPartition;
            let may_pass = error.is_retriable() && (self.creates_topics || !is_unknown);
            if error != ErrorCode::None && !may_pass || self.host.clock().now() > deadline {
                return Err(explain_topic(name, error));
            }
            self.host.clock().sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What went wrong, and what to do about it.
fn in_words(error: ClusterError) -> String {
    match error {
        ClusterError::Call(CallError::Connect { peer, reason }) => {
            format!("cannot connect to {peer} ({reason}); is the broker running, and is -b right?")
        }
        ClusterError::Call(CallError::NoVersion { peer, key }) => {
            format!("the broker {peer} does not serve {key}: it is too old, or not that far yet")
        }
        ClusterError::NoBootstrap => "no bootstrap broker was named; -b host:port names one".to_owned(),
        error => error.to_string(),
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
    nodes: BTreeMap<i32, Node>,
}

impl Leaders {
    fn new(client: &wire::client::Cluster, topic: MetadataResponseTopic) -> Leaders {
        let leader = |p: &MetadataResponsePartition| Some((p.partition_index, client.broker(p.leader_id)?));
        Leaders { nodes: topic.partitions.iter().filter_map(leader).collect(), topic }
    }

    pub fn partitions(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self.topic.partitions.iter().map(|p| p.partition_index).collect();
        all.sort_unstable();
        all
    }

    /// The leader of a partition.
    pub fn leader(&self, partition: i32) -> Result<&Node, String> {
        let name = self.topic.name.as_deref().unwrap_or_default();
        if !self.topic.partitions.iter().any(|p| p.partition_index == partition) {
            return Err(format!("topic {name} has no partition {partition}"));
        }
        let node = self.nodes.get(&partition);
        node.ok_or_else(|| format!("the leader of {name}-{partition} is not alive"))
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
