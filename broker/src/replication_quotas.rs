//! Throttled replication (KIP-73): how fast this broker gives, and takes, records of the replicas that an operator has named.
//!
//! ```text
//!   topic    leader.replication.throttled.replicas=0:1,0:2   follower.replication.throttled.replicas=0:3   (partition:broker, or *)
//!   broker   leader.replication.throttled.rate               follower.replication.throttled.rate           bytes in a second
//! ```
//! A leader over its rate gives nothing to a named follower that is not in sync; a follower over its rate leaves named
//! partitions that lag out of its fetches. Who is in sync is never held up: commits wait for it.
//! The rate is that of the last `replication.quota.window.num` windows of `replication.quota.window.size.seconds`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::{Clock, Instant};
use metadata::Image;
use protocol::config::{Configs, Value};

use crate::broker::Broker;
use crate::config_layers::ConfigLayers;

/// No limit.
const UNLIMITED: u64 = u64::MAX;

/// Of one broker.
#[derive(Debug)]
pub struct ReplicationQuotas {
    pub leader: Throttle,
    pub follower: Throttle,
}

/// The bytes that were moved, held against a limit.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    bytes_per_second_max: AtomicU64,
    window: Duration,
    windows: usize,
    /// Since when, and how many bytes; the oldest first.
    moved: Mutex<VecDeque<(Instant, u64)>>,
}

/// The partitions of a topic that a broker throttles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ThrottledPartitions {
    #[default]
    None,
    All,
    These(BTreeSet<i32>),
}

impl ReplicationQuotas {
    pub fn new(clock: &Clock, server: &Configs) -> ReplicationQuotas {
        let throttle = || Throttle {
            clock: clock.clone(),
            bytes_per_second_max: AtomicU64::new(UNLIMITED),
            window: Duration::from_secs(
                server.int("replication.quota.window.size.seconds").max(1).unsigned_abs().into(),
            ),
            windows: usize::try_from(server.int("replication.quota.window.num")).unwrap_or(1).max(1),
            moved: Mutex::default(),
        };
        ReplicationQuotas { leader: throttle(), follower: throttle() }
    }

    fn set_limits(&self, image: &Image, server: &Configs, node_id: i32) {
        let configs = ConfigLayers::new(image, server, node_id);
        let limit = |name: &str| match configs.value(name) {
            Value::Long(rate) if rate < i64::MAX => u64::try_from(rate).unwrap_or(0),
            _ => UNLIMITED,
        };
        self.leader.set_limit(limit("leader.replication.throttled.rate"));
        self.follower.set_limit(limit("follower.replication.throttled.rate"));
    }
}

impl Throttle {
    fn set_limit(&self, bytes_per_second_max: u64) {
        self.bytes_per_second_max.store(bytes_per_second_max, Ordering::Relaxed);
    }

    fn limit(&self) -> Option<u64> {
        Some(self.bytes_per_second_max.load(Ordering::Relaxed)).filter(|limit| *limit != UNLIMITED)
    }

    /// Whether anything is throttled at all.
    pub fn is_limited(&self) -> bool {
        self.limit().is_some()
    }

    /// Counts bytes of throttled replicas.
    pub fn record(&self, bytes: u64) {
        if bytes == 0 || !self.is_limited() {
            return;
        }
        let now = self.clock.now();
        let mut moved = self.moved.lock().expect("no code that holds this lock panics");
        match moved.back_mut() {
            Some((since, sum)) if now - *since < self.window => *sum += bytes,
            _ => moved.push_back((now, bytes)),
        }
        self.forget_old(&mut moved, now);
    }

    fn forget_old(&self, moved: &mut VecDeque<(Instant, u64)>, now: Instant) {
        let kept = self.window.saturating_mul(u32::try_from(self.windows).unwrap_or(u32::MAX));
        while moved.front().is_some_and(|(since, _)| now - *since >= kept) {
            moved.pop_front();
        }
    }

    /// More was moved than the limit lets.
    pub fn is_exceeded(&self) -> bool {
        let Some(limit) = self.limit() else { return false };
        let now = self.clock.now();
        let mut moved = self.moved.lock().expect("no code that holds this lock panics");
        self.forget_old(&mut moved, now);
        let Some((oldest, _)) = moved.front() else { return false };
        let seconds = (now - *oldest).max(self.window).as_secs_f64();
        let bytes: u64 = moved.iter().map(|(_, bytes)| bytes).sum();
        bytes as f64 / seconds > limit as f64
    }
}

impl ThrottledPartitions {
    /// Reads `*`, or a list of `partition:broker`, of which those of one broker count.
    pub fn parse(text: &str, node_id: i32) -> ThrottledPartitions {
        let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
        if items().any(|item| item == "*") {
            return ThrottledPartitions::All;
        }
        let own = items().filter_map(|item| {
            let (partition, broker) = item.split_once(':')?;
            let is_own = broker.trim().parse() == Ok(node_id);
            partition.trim().parse().ok().filter(|_| is_own)
        });
        let own: BTreeSet<i32> = own.collect();
        if own.is_empty() { ThrottledPartitions::None } else { ThrottledPartitions::These(own) }
    }

    pub fn contains(&self, partition: i32) -> bool {
        match self {
            ThrottledPartitions::None => false,
            ThrottledPartitions::All => true,
            ThrottledPartitions::These(these) => these.contains(&partition),
        }
    }
}

/// Takes over changes of the rates, as long as the broker runs.
pub(crate) async fn follow_limits(broker: Arc<Broker>) {
    let set = |image: &Image| {
        broker.replication_quotas.set_limits(image, &broker.config.server, broker.config.node_id);
    };
    broker.metadata.follow_configs(broker.host.clock(), set).await;
}

#[cfg(test)]
mod tests {
    use host::sim::World;
    use metadata::Record;
    use protocol::Str;
    use protocol::config;
    use protocol::messages::ConfigRecord;

    use super::*;

    fn rate(broker: &str, name: &str, value: &str) -> Record {
        Record::from(ConfigRecord {
            resource_type: 4,
            resource_name: Str::from(broker),
            name: Str::from(name),
            value: Some(Str::from(value)),
            ..Default::default()
        })
    }

    #[test]
    fn a_rate_is_that_of_the_last_windows() {
        let world = World::new(1);
        let server =
            Configs::parse(config::server(), [("replication.quota.window.num", "3")]).expect("valid");
        let quotas = ReplicationQuotas::new(world.node("a").host().clock(), &server);
        let throttle = &quotas.follower;
        throttle.record(1 << 30);
        assert!(!throttle.is_limited() && !throttle.is_exceeded(), "nothing is limited by default");
        throttle.set_limit(1000);
        assert!(!throttle.is_exceeded(), "what was moved before does not count");
        throttle.record(1000);
        assert!(!throttle.is_exceeded(), "just the limit");
        throttle.record(1500);
        assert!(throttle.is_exceeded());
        world.run_for(Duration::from_millis(2400));
        assert!(throttle.is_exceeded(), "2500 bytes in 2.4 s");
        world.run_for(Duration::from_millis(200));
        assert!(!throttle.is_exceeded(), "2500 bytes in 2.6 s");
        throttle.record(200);
        assert!(throttle.is_exceeded(), "2700 bytes in 2.6 s");
        world.run_for(Duration::from_millis(500));
        assert!(!throttle.is_exceeded(), "the first window is forgotten");
    }

    #[test]
    fn the_nearest_layer_says_the_rate() {
        let world = World::new(1);
        let server = Configs::parse(config::server(), [("node.id", "1")]).expect("valid");
        let quotas = ReplicationQuotas::new(world.node("a").host().clock(), &server);
        let (leader, follower) = ("leader.replication.throttled.rate", "follower.replication.throttled.rate");
        let image = Image::default().with(&[
            rate("", leader, "7"),
            rate("1", follower, "5"),
            rate("2", follower, "1"),
        ]);
        quotas.set_limits(&image, &server, 1);
        assert_eq!((quotas.leader.limit(), quotas.follower.limit()), (Some(7), Some(5)));
        quotas.set_limits(&Image::default(), &server, 1);
        assert_eq!((quotas.leader.limit(), quotas.follower.limit()), (None, None));
    }

    #[test]
    fn a_broker_throttles_the_partitions_that_are_named_with_it() {
        let of = |text: &str| ThrottledPartitions::parse(text, 101);
        assert_eq!(of(""), ThrottledPartitions::None);
        assert_eq!(of("0:102, 1:103"), ThrottledPartitions::None);
        assert_eq!(of("*"), ThrottledPartitions::All);
        let these = of("0:101,1:102, 2:101");
        assert!(these.contains(0) && !these.contains(1) && these.contains(2));
    }
}
