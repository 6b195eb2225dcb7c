//! A cluster, seen from a client: bootstrap, metadata, leaders, retries.
//!
//!     produce, fetch, offset_for -> leader of the partition (view, refreshed when it proved stale) -> Node -> answer
//!                                        ^------------- retriable error: wait, refresh ---------------'
//!
//! **Invariant:** nothing is retried after `retry_max`, nor after an error that Kafka does not call retriable. Batches
//! are opaque: whoever wants a retried produce to be written once gives them producer ids and sequences.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::{Host, Instant};
use protocol::bounds::{CLIENT_RETRY_MAX, CLIENT_RETRY_WAIT_MAX, CLIENT_RETRY_WAIT_MIN};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, Request, Str, Uuid};

use super::connection::CallError;
use super::node::{Node, NodeOptions, Pool};

/// Why the cluster did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// A broker's refusal; the message is empty where Kafka sends none.
    #[error("{code} for {what}{}{message}", if message.is_empty() { "" } else { ": " })]
    Refused { what: String, code: ErrorCode, message: String },
    #[error("the answer of {0} does not contain what was asked for")]
    Incomplete(String),
    #[error("no bootstrap server was given")]
    NoBootstrap,
}

impl ClusterError {
    pub fn is_retriable(&self) -> bool {
        match self {
            ClusterError::Call(error) => error.is_retriable(),
            ClusterError::Refused { code, .. } => code.is_retriable(),
            ClusterError::Incomplete(_) | ClusterError::NoBootstrap => false,
        }
    }

    /// The broker's error code, if it was a broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClusterError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Nothing if `code` is no error.
    pub(super) fn check(
        what: impl FnOnce() -> String,
        code: i16,
        message: Option<&Str>,
    ) -> Result<(), ClusterError> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => {
                let message = message.map_or(String::new(), |m| m.to_string());
                Err(ClusterError::Refused { what: what(), code, message })
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub node: NodeOptions,
    /// How long an operation goes on trying.
    pub retry_max: Duration,
    pub retry_wait_min: Duration,
    pub retry_wait_max: Duration,
    /// Asking for a topic may create it, if the brokers do that.
    pub allow_auto_topic_creation: bool,
    /// Tries on when nobody can be connected to. Who sits before a terminal wants to know at once.
    pub retry_unconnected: bool,
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        ClusterOptions {
            node: NodeOptions::default(),
            retry_max: CLIENT_RETRY_MAX,
            retry_wait_min: CLIENT_RETRY_WAIT_MIN,
            retry_wait_max: CLIENT_RETRY_WAIT_MAX,
            allow_auto_topic_creation: false,
            retry_unconnected: true,
        }
    }
}

/// A client of a cluster. Clones share connections and metadata.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    bootstrap: Vec<String>,
    options: ClusterOptions,
    pool: Pool,
    view: Mutex<Arc<View>>,
}

/// What the metadata said when it was last asked.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub cluster_id: Option<Str>,
    /// `host:port` by broker id.
    pub brokers: BTreeMap<i32, String>,
    pub topics: BTreeMap<Str, TopicView>,
}

#[derive(Clone, Debug, Default)]
pub struct TopicView {
    pub id: Uuid,
    pub partitions: BTreeMap<i32, PartitionView>,
}

#[derive(Clone, Copy, Debug)]
pub struct PartitionView {
    pub error: ErrorCode,
    /// -1 if there is none.
    pub leader: i32,
    pub leader_epoch: i32,
}

/// Where a partition is led.
#[derive(Clone, Debug)]
pub struct Leader {
    pub node: Node,
    pub broker_id: i32,
    pub leader_epoch: i32,
    pub topic_id: Uuid,
}

impl Cluster {
    /// A client that begins with any of `bootstrap` (`host:port`). Nothing is connected yet.
    pub fn new(host: &Host, bootstrap: impl IntoIterator<Item = String>, options: ClusterOptions) -> Cluster {
        let pool = Pool::new(host, options.node.clone());
        let bootstrap = bootstrap.into_iter().collect();
        let inner = Inner { host: host.clone(), bootstrap, options, pool, view: Mutex::default() };
        Cluster { inner: Arc::new(inner) }
    }

    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.inner.view.lock().expect("nobody panics while holding it"))
    }

    pub(super) fn options(&self) -> &ClusterOptions {
        &self.inner.options
    }

    /// Sends a request to any broker. For what the controller decides too: brokers forward it. Retries what failed before
    /// it was sent, and with `is_repeatable` also what may have been handled.
    pub async fn call_any<R: Request>(
        &self,
        request: &R,
        is_repeatable: bool,
    ) -> Result<R::Response, ClusterError> {
        let mut retry = self.retry();
        loop {
            match self.call_any_once(request, is_repeatable).await {
                Err(error) if self.may_repeat(&error, is_repeatable) && retry.wait(&error).await => {}
                result => return result,
            }
        }
    }

    fn may_repeat(&self, error: &ClusterError, is_repeatable: bool) -> bool {
        is_repeatable || matches!(error, ClusterError::Call(CallError::Connect { .. }))
    }

    async fn call_any_once<R: Request>(
        &self,
        request: &R,
        is_repeatable: bool,
    ) -> Result<R::Response, ClusterError> {
        let mut last = ClusterError::NoBootstrap;
        for address in self.addresses() {
            match self.inner.pool.node(&address).call(request).await.map_err(ClusterError::Call) {
                Err(error) if error.is_retriable() && self.may_repeat(&error, is_repeatable) => last = error,
                result => return result,
            }
        }
        Err(last)
    }

    /// The node of a broker that the metadata named.
    pub fn broker(&self, id: i32) -> Option<Node> {
        self.view().brokers.get(&id).map(|address| self.inner.pool.node(address))
    }

    /// The node at an address that a broker told.
    pub(super) fn node_at(&self, address: &str) -> Node {
        self.inner.pool.node(address)
    }

    /// Known brokers, beginning with a random one, and then the bootstrap servers.
    fn addresses(&self) -> Vec<String> {
        let mut known: Vec<String> = self.view().brokers.values().cloned().collect();
        if !known.is_empty() {
            let first = self.inner.host.entropy().below(known.len() as u64) as usize;
            known.rotate_left(first);
        }
        for address in &self.inner.bootstrap {
            if !known.contains(address) {
                known.push(address.clone());
            }
        }
        known
    }

    /// Asks for the brokers and these topics (None: all), and remembers the answer.
    pub async fn refresh(&self, topics: Option<&[Str]>) -> Result<MetadataResponse, ClusterError> {
        let wanted =
            |name: &Str| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(wanted).collect()),
            allow_auto_topic_creation: self.inner.options.allow_auto_topic_creation,
            ..MetadataRequest::default()
        };
        let answer = self.call_any(&request, true).await?;
        ClusterError::check(|| "the cluster".to_owned(), answer.error_code, None)?;
        self.remember(&answer, topics.is_none());
        Ok(answer)
    }

    fn remember(&self, answer: &MetadataResponse, all_topics: bool) {
        let mut slot = self.inner.view.lock().expect("nobody panics while holding it");
        let mut view = if all_topics { View::default() } else { View::clone(&slot) };
        view.cluster_id = answer.cluster_id.as_ref().map(Str::detached);
        let addresses = answer.brokers.iter().map(|b| (b.node_id, format!("{}:{}", b.host, b.port)));
        view.brokers = addresses.collect();
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code == ErrorCode::None.code() {
                view.topics.insert(name.detached(), topic_view(topic));
            } else {
                view.topics.remove(name);
            }
        }
        let view = Arc::new(view);
        *slot = Arc::clone(&view);
        drop(slot);
        let bootstrap = &self.inner.bootstrap;
        self.inner
            .pool
            .retain(|address| bootstrap.iter().chain(view.brokers.values()).any(|known| known == address));
    }

    /// Where a partition is led, by the metadata at hand, or by fresh one.
    pub async fn leader(&self, topic: &Str, partition: i32, fresh: bool) -> Result<Leader, ClusterError> {
        if !fresh && let Some(Ok(leader)) = self.known_leader(topic, partition) {
            return Ok(leader);
        }
        let answer = self.refresh(Some(std::slice::from_ref(topic))).await?;
        if let Some(asked) = answer.topics.iter().find(|t| t.name.as_ref() == Some(topic)) {
            ClusterError::check(|| topic.to_string(), asked.error_code, None)?;
        }
        let unknown = ErrorCode::UnknownTopicOrPartition;
        self.known_leader(topic, partition).unwrap_or_else(|| Err(refused(topic, partition, unknown)))
    }

    /// None if the partition is not known; an error if it is known to have no leader.
    fn known_leader(&self, topic: &Str, partition: i32) -> Option<Result<Leader, ClusterError>> {
        let view = self.view();
        let topic_view = view.topics.get(topic)?;
        let found = topic_view.partitions.get(&partition)?;
        let Some(address) = view.brokers.get(&found.leader) else {
            return Some(Err(refused(topic, partition, ErrorCode::LeaderNotAvailable)));
        };
        Some(Ok(Leader {
            node: self.inner.pool.node(address),
            broker_id: found.leader,
            leader_epoch: found.leader_epoch,
            topic_id: topic_view.id,
        }))
    }

    pub(super) fn retry(&self) -> Retry {
        let options = &self.inner.options;
        let clock = self.inner.host.clock();
        Retry {
            host: self.inner.host.clone(),
            deadline: clock.now() + options.retry_max,
            next_wait: options.retry_wait_min,
            wait_max: options.retry_wait_max,
            retry_unconnected: options.retry_unconnected,
            attempts: 0,
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.inner.bootstrap.join(","))
    }
}

fn topic_view(topic: &MetadataResponseTopic) -> TopicView {
    let partitions = topic.partitions.iter().map(|p| {
        let error = ErrorCode::from_code(p.error_code);
        (p.partition_index, PartitionView { error, leader: p.leader_id, leader_epoch: p.leader_epoch })
    });
    TopicView { id: topic.topic_id, partitions: partitions.collect() }
}

fn refused(topic: &Str, partition: i32, code: ErrorCode) -> ClusterError {
    ClusterError::Refused { what: format!("{topic}-{partition}"), code, message: String::new() }
}

/// Waits between attempts, until the time is up.
pub(super) struct Retry {
    host: Host,
    deadline: Instant,
    next_wait: Duration,
    wait_max: Duration,
    retry_unconnected: bool,
    attempts: u32,
}

impl Retry {
    /// This is not the first attempt: what was known may be stale.
    pub(super) fn is_again(&self) -> bool {
        self.attempts > 0
    }

    /// Waits and says true if it is worth trying again.
    pub(super) async fn wait(&mut self, error: &ClusterError) -> bool {
        let clock = self.host.clock();
        let is_unconnected = matches!(error, ClusterError::Call(CallError::Connect { .. }));
        let is_final = !error.is_retriable() || is_unconnected && !self.retry_unconnected;
        if is_final || clock.now() + self.next_wait >= self.deadline {
            return false;
        }
        clock.sleep(self.next_wait).await;
        self.next_wait = (self.next_wait * 2).min(self.wait_max);
        self.attempts += 1;
        true
    }
}
