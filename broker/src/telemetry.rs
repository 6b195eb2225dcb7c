//! Client telemetry (KIP-714): which metrics clients are asked for, and what they push.
//!
//! ```text
//!   GetTelemetrySubscriptions ─► the client's instance: subscriptions that are about it ─► id, metrics, interval
//!   PushTelemetry ─► checked against the instance ─► decompressed ─► otlp ─► series ─► /metrics
//! ```
//! An instance is what Kafka's `ClientMetricsManager` keeps of a client: it follows the subscriptions, is forgotten when its
//! connection ends or when it is silent for three intervals, and another broker makes the same one anew, since its
//! subscription id is computed from what it is subscribed to. Series live on for their time: a client's last push comes just
//! before its connection ends.
//!
//! **Invariant:** instances, series and their text are bounded, for each client and together.

pub(crate) mod otlp;
mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use host::{Clock, Entropy};
use metadata::client_metrics::{self, Attributes, Subscription};
use metadata::configs::Values;
use metadata::{Configs, ResourceType};
use protocol::batch::{Compression, decompress};
use protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
};
use protocol::{ErrorCode, Str, Uuid, bounds};
use wire::{Context, Peer};

use crate::metrics::Counter;

pub(crate) use series::{Client, Family, Series};

/// Kafka's order of preference; clients take the first one that they know.
const ACCEPTED: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

/// Kafka keeps an instance at least so long.
const INSTANCE_MS_MIN: i64 = 60_000;

/// A connection of this node.
type ConnectionKey = (Str, u64);

/// What is known of a client from one request to the next.
#[derive(Debug)]
struct Instance {
    attributes: Attributes,
    connection: ConnectionKey,
    /// The subscriptions that it was matched with.
    version: u64,
    subscription_id: i32,
    metrics: Vec<String>,
    interval_ms: i32,
    last_get_ms: i64,
    last_push_ms: i64,
    is_terminating: bool,
    last_error: ErrorCode,
    expires_ms: i64,
}

#[derive(Debug, Default)]
struct State {
    /// The configs that the subscriptions were read from.
    configs: Option<Arc<Configs>>,
    values: BTreeMap<Str, Arc<Values>>,
    subscriptions: Vec<Subscription>,
    version: u64,
    instances: BTreeMap<Uuid, Instance>,
    connections: BTreeMap<ConnectionKey, Uuid>,
    series: Series,
    expired_at_ms: i64,
}

/// See the module.
pub struct Telemetry {
    clock: Clock,
    entropy: Entropy,
    /// `telemetry.max.bytes`
    bytes_max: usize,
    state: Mutex<State>,
    pub(crate) unknown_subscriptions: Counter,
    pub(crate) throttled: Counter,
    pub(crate) pushes: Counter,
    pub(crate) failed_pushes: Counter,
    /// Series that found no room.
    pub(crate) dropped_series: Counter,
}

impl Telemetry {
    pub fn new(clock: Clock, entropy: Entropy, bytes_max: usize) -> Telemetry {
        Telemetry {
            clock,
            entropy,
            bytes_max,
            state: Mutex::default(),
            unknown_subscriptions: Counter::default(),
            throttled: Counter::default(),
            pushes: Counter::default(),
            failed_pushes: Counter::default(),
            dropped_series: Counter::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code that holds this lock panics")
    }

    /// What a client shall push, and how often.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED for one that asks again before its interval has passed.
    pub fn subscriptions(
        &self,
        cx: &Context,
        configs: &Arc<Configs>,
        request: &GetTelemetrySubscriptionsRequest,
    ) -> Result<GetTelemetrySubscriptionsResponse, ErrorCode> {
        let now_ms = self.clock.wall_ms();
        let mut state = self.lock();
        state.follow(configs);
        state.expire(now_ms);
        let id = match request.client_instance_id {
            asked if asked.is_zero() => Uuid::from_random(|| self.entropy.u128()),
            known => known,
        };
        let instance = state.instance(id, cx, now_ms);
        let elapsed_ms = now_ms - instance.last_get_ms.max(instance.last_push_ms);
        if elapsed_ms >= i64::from(instance.interval_ms) {
            instance.last_get_ms = now_ms;
        } else if !matches!(
            instance.last_error,
            ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType
        ) {
            // Whoever was told one of these two has to ask again.
            self.throttled.inc();
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        instance.last_error = ErrorCode::None;
        Ok(GetTelemetrySubscriptionsResponse {
            client_instance_id: id,
            subscription_id: instance.subscription_id,
            accepted_compression_types: ACCEPTED.map(Compression::id).to_vec(),
            push_interval_ms: instance.interval_ms,
            telemetry_max_bytes: i32::try_from(self.bytes_max).unwrap_or(i32::MAX),
            delta_temporality: true,
            requested_metrics: instance.metrics.iter().map(|name| Str::from(name.as_str())).collect(),
            ..Default::default()
        })
    }

    /// Takes a client's metrics.
    ///
    /// # Errors
    /// INVALID_REQUEST (reserved id, or a push after the terminating one), THROTTLING_QUOTA_EXCEEDED,
    /// UNKNOWN_SUBSCRIPTION_ID, UNSUPPORTED_COMPRESSION_TYPE, TELEMETRY_TOO_LARGE, INVALID_RECORD.
    pub fn push(
        &self,
        cx: &Context,
        configs: &Arc<Configs>,
        request: &PushTelemetryRequest,
    ) -> Result<(), ErrorCode> {
        let id = request.client_instance_id;
        if [Uuid::ZERO, Uuid::METADATA_TOPIC].contains(&id) {
            return Err(ErrorCode::InvalidRequest);
        }
        let now_ms = self.clock.wall_ms();
        let mut state = self.lock();
        state.follow(configs);
        state.expire(now_ms);
        let instance = state.instance(id, cx, now_ms);
        let checked = self.check(instance, request, now_ms);
        instance.is_terminating = request.terminating;
        let (expires_ms, labels) = (instance.expires_ms, series::labels(id, &instance.attributes));
        let taken = checked.and_then(|compression| {
            let payload = decompress(compression, &request.metrics, self.bytes_max);
            let payload = payload.map_err(|error| self.refuse(id, &error))?;
            let pushed = otlp::decode(&payload, bounds::TELEMETRY_CLIENT_SERIES_MAX);
            let pushed = pushed.map_err(|error| self.refuse(id, &error))?;
            if !request.metrics.is_empty() {
                self.pushes.inc();
                let dropped = state.series.take(id, labels, &pushed, expires_ms);
                self.dropped_series.inc_by(dropped as u64);
            }
            Ok(())
        });
        if let Some(instance) = state.instances.get_mut(&id) {
            instance.last_error = taken.err().unwrap_or(ErrorCode::None);
        }
        taken
    }

    /// A payload that is not what it should be; Kafka calls all of these the same.
    fn refuse(&self, id: Uuid, error: &dyn std::fmt::Display) -> ErrorCode {
        self.failed_pushes.inc();
        tracing::debug!(client = %id, %error, "pushed metrics cannot be read");
        ErrorCode::InvalidRecord
    }

    fn check(
        &self,
        instance: &mut Instance,
        request: &PushTelemetryRequest,
        now_ms: i64,
    ) -> Result<Compression, ErrorCode> {
        if instance.is_terminating {
            return Err(ErrorCode::InvalidRequest);
        }
        // The first push after the subscriptions were asked for may come early: clients spread their pushes.
        let may_push = instance.last_get_ms > instance.last_push_ms
            || now_ms - instance.last_push_ms >= i64::from(instance.interval_ms);
        if may_push {
            instance.last_push_ms = now_ms;
        } else if !request.terminating {
            self.throttled.inc();
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        if request.subscription_id != instance.subscription_id {
            self.unknown_subscriptions.inc();
            return Err(ErrorCode::UnknownSubscriptionId);
        }
        let compression = Compression::from_id(request.compression_type);
        let compression = compression.ok_or(ErrorCode::UnsupportedCompressionType)?;
        if request.metrics.len() > self.bytes_max {
            return Err(ErrorCode::TelemetryTooLarge);
        }
        Ok(compression)
    }

    /// Forgets the instance of a connection that has ended. Its series live on for their time.
    pub fn disconnected(&self, peer: &Peer) {
        let mut state = self.lock();
        // Most connections push nothing.
        if state.connections.is_empty() {
            return;
        }
        if let Some(id) = state.connections.remove(&(peer.listener.name.clone(), peer.connection_id)) {
            state.instances.remove(&id);
        }
    }

    /// How many instances there are, and what clients have pushed.
    pub(crate) fn clients(&self) -> (usize, Vec<Arc<Client>>) {
        let mut state = self.lock();
        state.expire(self.clock.wall_ms());
        (state.instances.len(), state.series.clients())
    }
}

impl State {
    /// Reads the subscriptions again when the configs have changed.
    fn follow(&mut self, configs: &Arc<Configs>) {
        if self.configs.as_ref().is_some_and(|known| Arc::ptr_eq(known, configs)) {
            return;
        }
        self.configs = Some(Arc::clone(configs));
        let resources = configs.iter().filter(|(resource, _)| resource.kind == ResourceType::CLIENT_METRICS);
        let values: BTreeMap<Str, Arc<Values>> =
            resources.map(|(resource, values)| (resource.name.clone(), Arc::clone(values))).collect();
        if values == self.values {
            return;
        }
        let read = values.iter().filter_map(|(name, values)| match Subscription::parse(name, values) {
            Ok(subscription) => Some(subscription),
            // A Java pattern that only Java reads, kept by a Kafka controller.
            Err(error) => {
                tracing::warn!(subscription = %name, %error, "a subscription to clients' metrics is ignored");
                None
            }
        });
        self.subscriptions = read.collect();
        self.values = values;
        self.version += 1;
    }

    /// Forgets who was silent for too long; looks once a second.
    fn expire(&mut self, now_ms: i64) {
        if now_ms - self.expired_at_ms < 1000 {
            return;
        }
        self.expired_at_ms = now_ms;
        let connections = &mut self.connections;
        self.instances.retain(|_, instance| {
            let lives = instance.expires_ms > now_ms;
            if !lives {
                connections.remove(&instance.connection);
            }
            lives
        });
        self.series.expire(now_ms);
    }

    /// The instance of a client, made if there is none or if the subscriptions have changed since.
    fn instance(&mut self, id: Uuid, cx: &Context, now_ms: i64) -> &mut Instance {
        let known = self.instances.get(&id);
        if known.is_none_or(|instance| instance.version < self.version) {
            let attributes = known.map_or_else(|| attributes(id, cx), |known| known.attributes.clone());
            if self.instances.len() >= bounds::TELEMETRY_INSTANCES_MAX && known.is_none() {
                self.evict();
            }
            let connection = (cx.listener().name.clone(), cx.connection_id());
            let instance = self.match_up(id, attributes, connection.clone());
            self.connections.insert(connection, id);
            self.instances.insert(id, instance);
        }
        let instance = self.instances.get_mut(&id).expect("it was there, or was made");
        instance.expires_ms = now_ms + INSTANCE_MS_MIN.max(3 * i64::from(instance.interval_ms));
        instance
    }

    fn match_up(&self, id: Uuid, attributes: Attributes, connection: ConnectionKey) -> Instance {
        let mut metrics: Vec<String> = Vec::new();
        let mut interval_ms = client_metrics::INTERVAL_MS_DEFAULT;
        for subscription in self.subscriptions.iter().filter(|all| all.is_about(&attributes)) {
            metrics.extend_from_slice(&subscription.metrics);
            interval_ms = interval_ms.min(subscription.interval_ms);
        }
        metrics.sort();
        metrics.dedup();
        if metrics.iter().any(|name| name == client_metrics::ALL_METRICS) {
            metrics = vec![client_metrics::ALL_METRICS.to_owned()];
        }
        Instance {
            subscription_id: subscription_id(&metrics, interval_ms, id),
            attributes,
            connection,
            version: self.version,
            metrics,
            interval_ms,
            last_get_ms: 0,
            last_push_ms: 0,
            is_terminating: false,
            last_error: ErrorCode::None,
            expires_ms: 0,
        }
    }

    /// Makes room for one more: whoever would expire first goes.
    fn evict(&mut self) {
        let first = self.instances.iter().min_by_key(|(_, instance)| instance.expires_ms);
        if let Some((id, _)) = first {
            let id = *id;
            let instance = self.instances.remove(&id).expect("it was just seen");
            self.connections.remove(&instance.connection);
        }
    }
}

fn attributes(id: Uuid, cx: &Context) -> Attributes {
    let software = cx.software();
    [
        Some(id.to_string()),
        cx.client_id.as_ref().map(|id| id.to_string()),
        software.map(|software| software.name.to_string()),
        software.map(|software| software.version.to_string()),
        Some(cx.address().ip().to_string()),
        Some(cx.address().port().to_string()),
    ]
}

/// As Kafka computes it: every broker gives a client the same number for the same subscriptions.
fn subscription_id(metrics: &[String], interval_ms: i32, id: Uuid) -> i32 {
    let text = format!("[{}]{interval_ms}", metrics.join(", "));
    let halves = (id.0 >> 64) as u64 ^ id.0 as u64;
    let hash = (halves >> 32) as i32 ^ halves as i32;
    crc32c::crc32c(text.as_bytes()) as i32 ^ hash
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Telemetry({} clients)", self.lock().instances.len())
    }
}
