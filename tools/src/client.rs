//! A cluster as a command sees it: `wire`'s client, and what went wrong in words.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Host;
use protocol::messages::MetadataResponse;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::{ErrorCode, Request, Str, Uuid};
use wire::client::{CallError, Cluster, ClusterError, ClusterOptions, ConnectionOptions, Node, NodeOptions};

use crate::advice;
use crate::client_config::ClientConfig;

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

/// A client of the cluster that the command line names.
#[derive(Clone)]
pub struct Client {
    pub host: Host,
    pub cluster: Cluster,
    pub timeout: Duration,
    node: NodeOptions,
    creates_topics: bool,
}

impl Client {
    /// With `create`, asking for a topic may create it.
    pub fn new(host: Host, config: &ClientConfig, create: bool) -> Client {
        let client_id = Some(Str::from(config.client_id.as_str()));
        let node = NodeOptions {
            connection: ConnectionOptions { client_id, ..ConnectionOptions::default() },
            request_timeout: config.timeout,
            connect_timeout: config.connect_timeout,
            ..NodeOptions::default()
        };
        // Who sits before a terminal wants to know at once that nobody answers. What passes by itself is waited for.
        let options = ClusterOptions {
            node: node.clone(),
            retry_max: config.timeout,
            retry_unconnected: false,
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let cluster = Cluster::new(&host, config.bootstrap.iter().cloned(), options);
        Client { host, cluster, timeout: config.timeout, node, creates_topics: create }
    }

    /// The time-out as requests carry it.
    pub fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Asks the first broker that answers. What it decides may be decided already when the answer is lost.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, String> {
        self.cluster.call_any(request, false).await.map_err(in_words)
    }

    /// Asks one broker, whose address the metadata told before.
    pub async fn call_broker<R: Request>(&self, id: i32, request: &R) -> Result<R::Response, String> {
        self.broker(id)?.call(request).await.map_err(|error| in_words(error.into()))
    }

    pub fn broker(&self, id: i32) -> Result<Node, String> {
        let node = self.cluster.broker(id);
        node.ok_or_else(|| format!("broker {id} is not alive; `weir cluster describe` shows those that are"))
    }

    /// A node of which only the address is known: a controller.
    pub fn node(&self, address: &str) -> Node {
        Node::new(&self.host, wire::client::Target::address(address), self.node.clone())
    }

    /// The metadata of some topics, or of all.
    pub async fn metadata(&self, names: Option<&[String]>) -> Result<MetadataResponse, String> {
        let names: Option<Vec<Str>> = names.map(|all| all.iter().map(|n| Str::from(n.as_str())).collect());
        self.cluster.refresh(names.as_deref()).await.map_err(in_words)
    }

    /// Every topic's partitions, as of metadata that is asked for now. Fails at the first topic that does not exist.
    pub async fn topics(&self, names: &[String]) -> Result<Vec<MetadataResponseTopic>, String> {
        let mut topics = self.metadata(Some(names)).await?.topics;
        topics.sort_by_key(|t| t.name.clone());
        for topic in &mut topics {
            let name = topic.name.as_deref().unwrap_or_default();
            told(&format!("topic {name}"), topic.error_code, None)?;
            topic.partitions.sort_by_key(|p| p.partition_index);
        }
        Ok(topics)
    }

    /// The names of all topics by their ids.
    pub async fn topic_names(&self) -> Result<BTreeMap<Uuid, Str>, String> {
        let topics = self.metadata(None).await?.topics;
        Ok(topics.into_iter().filter_map(|t| Some((t.topic_id, t.name?.detached()))).collect())
    }

    /// One topic with its leaders. Waits for leaders that are just being chosen.
    pub async fn topic(&self, name: &str) -> Result<MetadataResponseTopic, String> {
        let deadline = self.host.clock().now() + self.timeout;
        loop {
            let metadata = self.metadata(Some(&[name.to_owned()])).await?;
            let topic = metadata.topics.into_iter().next().unwrap_or_default();
            let error = ErrorCode::from_code(topic.error_code);
            let leaderless = topic.partitions.iter().any(|p| p.leader_id < 0);
            if error == ErrorCode::None && !leaderless && !topic.partitions.is_empty() {
                return Ok(topic);
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
pub fn in_words(error: ClusterError) -> String {
    match error {
        ClusterError::Call(CallError::Connect { peer, reason }) => {
            format!("cannot connect to {peer} ({reason}); is the broker running, and is -b right?")
        }
        ClusterError::Call(CallError::NoVersion { peer, key }) => {
            format!("the broker {peer} does not serve {key}: it is too old, or not that far yet")
        }
        ClusterError::Call(CallError::TimedOut { peer, key }) => {
            format!("{peer} did not answer {key} in time; --timeout gives it longer")
        }
        ClusterError::NoBootstrap => "no bootstrap broker was named; -b host:port names one".to_owned(),
        ClusterError::Refused { what, code, message } => advice::sentence(&what, code, Some(&message)),
        error => error.to_string(),
    }
}

fn explain_topic(name: &str, error: ErrorCode) -> String {
    match error {
        ErrorCode::None => format!("topic {name} has partitions without a leader"),
        ErrorCode::UnknownTopicOrPartition => {
            format!("topic {name} does not exist; `weir topic create {name}` makes it")
        }
        error => advice::sentence(&format!("topic {name}"), error, None),
    }
}

/// A failure as a sentence: Kafka's code, what the broker said, and what to do next.
pub fn told(what: &str, code: i16, message: Option<&Str>) -> Result<(), String> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        error => Err(advice::sentence(what, error, message.map(Str::as_str))),
    }
}

/// Partitions of a topic as they are written on a command line: `orders` (None: all) or `orders:0,2`.
pub fn topic_and_partitions(text: &str) -> Result<(String, Option<Vec<i32>>), String> {
    let Some((topic, list)) = text.rsplit_once(':') else { return Ok((text.to_owned(), None)) };
    let partitions: Result<Vec<i32>, _> = list.split(',').map(|p| p.trim().parse::<i32>()).collect();
    let partitions = partitions.map_err(|_| format!("{text:?} is not topic or topic:0,2"))?;
    Ok((topic.to_owned(), Some(partitions)))
}
