//! The settings that groups follow: the server's, and a group's own in their place.

use std::ops::RangeInclusive;

use metadata::Image;
use metadata::configs::ConfigResource;
use protocol::config::{self, Configs, Value};

use crate::consumer::ConsumerSettings;
use crate::consumer::assignor::Assignor;

/// Which way a group may go from one protocol to the other while it has members (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl MigrationPolicy {
    /// By Kafka's name, in any case of letters; both ways where there is no such name.
    pub fn named(name: &str) -> MigrationPolicy {
        match name.to_ascii_lowercase().as_str() {
            "disabled" => MigrationPolicy::Disabled,
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            _ => MigrationPolicy::Bidirectional,
        }
    }

    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

/// Between which numbers the settings of a group of its own must lie.
#[derive(Clone, Debug)]
pub struct ConsumerRanges {
    pub session_timeout_ms: RangeInclusive<i32>,
    pub heartbeat_interval_ms: RangeInclusive<i32>,
    pub assignment_interval_ms: RangeInclusive<i32>,
}

/// See the module. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    pub node_id: i32,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    pub size_max: usize,
    pub initial_rebalance_delay_ms: i64,
    pub metadata_bytes_max: usize,
    pub retention_ms: i64,
    pub retention_check_interval_ms: i64,
    /// What the entries of one operation may take: they stand in one batch.
    pub batch_bytes_max: usize,
    /// Of consumer groups without settings of their own.
    pub consumer: ConsumerSettings,
    pub consumer_ranges: ConsumerRanges,
    pub consumer_size_max: usize,
    /// The first is the default.
    pub consumer_assignors: Vec<Assignor>,
    pub migration_policy: MigrationPolicy,
}

impl GroupConfig {
    /// `batch_bytes_max`: what the internal topic takes as one batch.
    pub fn new(server: &Configs, batch_bytes_max: usize) -> GroupConfig {
        const BATCH_OVERHEAD_BYTES: usize = 128;
        let size = |name| usize::try_from(server.int(name)).unwrap_or(usize::MAX);
        // A range that is upside down lets everything be its lower end, as Kafka's own clamping does.
        let range = |min, max| {
            let min = server.int(min);
            min..=server.int(max).max(min)
        };
        GroupConfig {
            node_id: server.int("node.id"),
            session_timeout_ms_min: server.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: server.int("group.max.session.timeout.ms"),
            size_max: size("group.max.size"),
            initial_rebalance_delay_ms: i64::from(server.int("group.initial.rebalance.delay.ms")),
            metadata_bytes_max: size("offset.metadata.max.bytes"),
            retention_ms: i64::from(server.int("offsets.retention.minutes")) * 60_000,
            retention_check_interval_ms: server.long("offsets.retention.check.interval.ms"),
            batch_bytes_max: batch_bytes_max.saturating_sub(BATCH_OVERHEAD_BYTES),
            consumer: ConsumerSettings {
                session_timeout_ms: server.int("group.consumer.session.timeout.ms"),
                heartbeat_interval_ms: server.int("group.consumer.heartbeat.interval.ms"),
                assignment_interval_ms: server.int("group.consumer.assignment.interval.ms"),
            },
            consumer_ranges: ConsumerRanges {
                session_timeout_ms: range(
                    "group.consumer.min.session.timeout.ms",
                    "group.consumer.max.session.timeout.ms",
                ),
                heartbeat_interval_ms: range(
                    "group.consumer.min.heartbeat.interval.ms",
                    "group.consumer.max.heartbeat.interval.ms",
                ),
                assignment_interval_ms: range(
                    "group.consumer.min.assignment.interval.ms",
                    "group.consumer.max.assignment.interval.ms",
                ),
            },
            consumer_size_max: size("group.consumer.max.size"),
            consumer_assignors: server
                .list("group.consumer.assignors")
                .iter()
                .filter_map(|name| Assignor::named(name))
                .collect(),
            migration_policy: MigrationPolicy::named(&server.string("group.consumer.migration.policy")),
        }
    }

    /// The settings of one consumer group: its own, kept within the server's bounds, or else the server's.
    pub(crate) fn consumer_settings(&self, image: &Image, group: &str) -> ConsumerSettings {
        let default = self.consumer_defaults(image);
        let Some(own) = image.configs.values(&ConfigResource::group(group)) else { return default };
        let setting = |name: &str, range: &RangeInclusive<i32>, default: i32| {
            let text = own.get(name);
            let value = text.and_then(|text| config::group().get(name)?.parse(text).ok());
            match value {
                Some(Value::Int(value)) => value.clamp(*range.start(), *range.end()),
                _ => default,
            }
        };
        let ranges = &self.consumer_ranges;
        ConsumerSettings {
            session_timeout_ms: setting(
                "consumer.session.timeout.ms",
                &ranges.session_timeout_ms,
                default.session_timeout_ms,
            ),
            heartbeat_interval_ms: setting(
                "consumer.heartbeat.interval.ms",
                &ranges.heartbeat_interval_ms,
                default.heartbeat_interval_ms,
            ),
            assignment_interval_ms: setting(
                "consumer.assignment.interval.ms",
                &ranges.assignment_interval_ms,
                default.assignment_interval_ms,
            ),
        }
    }
    /// What the server says now: one of the settings may be changed while it runs.
    fn consumer_defaults(&self, image: &Image) -> ConsumerSettings {
        const NAME: &str = "group.consumer.assignment.interval.ms";
        let layers = [ConfigResource::broker(self.node_id), ConfigResource::cluster_default()];
        let changed = layers.iter().find_map(|layer| {
            let text = image.configs.values(layer)?.get(NAME)?;
            match config::server().get(NAME)?.parse(text).ok()? {
                Value::Int(value) => Some(value),
                _ => None,
            }
        });
        let assignment_interval_ms = changed.unwrap_or(self.consumer.assignment_interval_ms);
        ConsumerSettings { assignment_interval_ms, ..self.consumer }
    }
}

#[cfg(test)]
mod tests {
    use metadata::Record;
    use protocol::Str;
    use protocol::messages::ConfigRecord;

    use super::*;

    fn with(image: &Image, resource: &ConfigResource, name: &str, value: &str) -> Image {
        let record = ConfigRecord {
            resource_type: resource.kind.0,
            resource_name: resource.name.clone(),
            name: Str::from(name),
            value: Some(Str::from(value)),
            ..Default::default()
        };
        image.with(&[Record::from(record)])
    }

    #[test]
    fn the_assignment_interval_is_the_groups_the_nodes_the_clusters_or_the_files() {
        const NAME: &str = "group.consumer.assignment.interval.ms";
        let server = Configs::parse(config::server(), [("node.id", "7"), (NAME, "100")]).expect("valid");
        let config = GroupConfig::new(&server, 1_000_000);
        let interval = |image: &Image| config.consumer_settings(image, "g").assignment_interval_ms;
        let layers = [
            (ConfigResource::broker(8), NAME, "800", 100), // Another node's is not ours.
            (ConfigResource::cluster_default(), NAME, "200", 200),
            (ConfigResource::broker(7), NAME, "300", 300),
            (ConfigResource::group("g"), "consumer.assignment.interval.ms", "400", 400),
        ];
        let mut image = Image::default();
        assert_eq!(interval(&image), 100);
        for (resource, name, value, expected) in layers {
            image = with(&image, &resource, name, value);
            assert_eq!(interval(&image), expected, "{resource:?}");
        }
    }
}
