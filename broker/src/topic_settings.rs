//! The configs of a topic that the data path needs, as numbers.
//!
//! **Invariant:** always of one Image. They are worked out anew when the Image's configs are other ones, so a change of a
//! config acts on the next request.

use std::sync::Arc;
use std::time::Duration;

use metadata::configs::{ConfigResource, Values};
use metadata::{Configs as DynamicConfigs, Image};
use protocol::batch::{AppendRules, Compression, TimestampType};
use protocol::bounds;
use protocol::config::{self, Configs, Value};
use storage::{LogConfig, Retention};

use crate::replication_quotas::ThrottledPartitions;

/// See the module.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    pub batch_bytes_max: usize,
    pub compacted: bool,
    /// What may be deleted; None where `cleanup.policy` has no `delete`.
    pub retention: Option<Retention>,
    pub timestamp_type: TimestampType,
    pub timestamp_before_ms_max: i64,
    pub timestamp_after_ms_max: i64,
    /// None: as the producer sent it.
    pub compression: Option<Compression>,
    pub compression_level: Option<i32>,
    pub min_insync_replicas: usize,
    /// `weir.flush.on.acknowledge`: what is acknowledged is on the disk.
    pub flush_on_acknowledge: bool,
    /// `leader.replication.throttled.replicas`, those of this broker.
    pub leader_throttled: ThrottledPartitions,
    /// `follower.replication.throttled.replicas`
    pub follower_throttled: ThrottledPartitions,
    /// `file.delete.delay.ms`
    pub file_delete_delay: Duration,
    pub log: LogConfig,
}

impl TopicSettings {
    pub fn of(image: &Image, server: &Configs, node_id: i32, topic: &str) -> TopicSettings {
        Lookup::new(image, server, node_id, topic).settings()
    }

    /// What a produced batch is held against.
    pub fn rules(&self, produce_version: i16, now_ms: i64) -> AppendRules {
        AppendRules {
            produce_version,
            batch_bytes_max: self.batch_bytes_max,
            compacted: self.compacted,
            timestamp_type: self.timestamp_type,
            timestamp_before_ms_max: self.timestamp_before_ms_max,
            timestamp_after_ms_max: self.timestamp_after_ms_max,
            now_ms,
            compression: self.compression,
            compression_level: self.compression_level,
            decompressed_bytes_max: bounds::DECOMPRESSED_BATCH_BYTES_MAX,
        }
    }
}

/// The value of one config of a topic, as DescribeConfigs tells it.
pub fn value(image: &Image, server: &Configs, node_id: i32, topic: &str, name: &str) -> Value {
    Lookup::new(image, server, node_id, topic).value(name)
}

/// Finds values of one topic: its own, the broker's, the cluster's, `server.properties`, Kafka's default.
struct Lookup<'a> {
    topic: Option<&'a Arc<Values>>,
    layers: [Option<&'a Arc<Values>>; 2],
    server: &'a Configs,
    node_id: i32,
}

impl<'a> Lookup<'a> {
    fn new(image: &'a Image, server: &'a Configs, node_id: i32, topic: &str) -> Lookup<'a> {
        let configs: &DynamicConfigs = &image.configs;
        Lookup {
            topic: configs.values(&ConfigResource::topic(topic)),
            layers: [
                configs.values(&ConfigResource::broker(node_id)),
                configs.values(&ConfigResource::cluster_default()),
            ],
            server,
            node_id,
        }
    }

    /// The controller has checked every value before it wrote it; one that does not parse is of a newer release, and the
    /// next layer counts.
    fn value(&self, name: &str) -> Value {
        let own = self.topic.and_then(|values| values.get(name));
        if let Some(value) = own.and_then(|text| config::topic().get(name)?.parse(text).ok()) {
            return value;
        }
        for values in self.layers.iter().flatten() {
            for synonym in config::topic_synonyms(name) {
                let text = values.get(synonym.name);
                let parsed = text.and_then(|text| config::server().get(synonym.name)?.parse(text).ok());
                if let Some(value) = parsed.filter(|value| *value != Value::Null) {
                    return scaled(value, synonym.factor);
                }
            }
        }
        config::topic_default(self.server, name)
    }

    fn long(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Long(value) => value,
            Value::Int(value) => i64::from(value),
            other => panic!("topic config {name} is no number: {other:?}"),
        }
    }

    fn text(&self, name: &str) -> String {
        self.value(name).to_string()
    }

    fn settings(&self) -> TopicSettings {
        let compression = match self.text("compression.type").as_str() {
            "uncompressed" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        };
        let level = match compression {
            Some(Compression::Gzip) => Some("compression.gzip.level"),
            Some(Compression::Lz4) => Some("compression.lz4.level"),
            Some(Compression::Zstd) => Some("compression.zstd.level"),
            _ => None,
        };
        let timestamp_type = match self.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        TopicSettings {
            batch_bytes_max: self.size("max.message.bytes") as usize,
            compacted: self.has_policy("compact"),
            retention: self.has_policy("delete").then(|| self.retention()),
            timestamp_type,
            timestamp_before_ms_max: self.long("message.timestamp.before.max.ms"),
            timestamp_after_ms_max: self.long("message.timestamp.after.max.ms"),
            compression,
            compression_level: level.map(|name| self.long(name) as i32),
            min_insync_replicas: self.size("min.insync.replicas").max(1) as usize,
            flush_on_acknowledge: self.value("weir.flush.on.acknowledge") == Value::Boolean(true),
            leader_throttled: self.throttled("leader.replication.throttled.replicas"),
            follower_throttled: self.throttled("follower.replication.throttled.replicas"),
            file_delete_delay: Duration::from_millis(self.size("file.delete.delay.ms")),
            log: self.log(),
        }
    }

    fn throttled(&self, name: &str) -> ThrottledPartitions {
        ThrottledPartitions::parse(&self.text(name), self.node_id)
    }

    fn has_policy(&self, wanted: &str) -> bool {
        self.text("cleanup.policy").split(',').any(|policy| policy == wanted)
    }

    fn size(&self, name: &str) -> u64 {
        u64::try_from(self.long(name)).unwrap_or(0)
    }

    /// Negative limits are none.
    fn retention(&self) -> Retention {
        Retention {
            age_ms_max: Some(self.long("retention.ms")).filter(|ms| *ms >= 0),
            size_bytes_max: u64::try_from(self.long("retention.bytes")).ok(),
        }
    }

    fn log(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.size("segment.bytes"),
            segment_ms: self.long("segment.ms"),
            segment_jitter_ms: self.long("segment.jitter.ms"),
            preallocate: self.value("preallocate") == Value::Boolean(true),
            segment_index_bytes: self.size("segment.index.bytes"),
            index_interval_bytes: self.size("index.interval.bytes"),
            flush_messages: self.long("flush.messages"),
            flush_ms: self.long("flush.ms"),
            producer_expiration_ms: i64::from(self.server.int("producer.id.expiration.ms")),
        }
    }
}

fn scaled(value: Value, factor: i64) -> Value {
    match value {
        Value::Int(n) if factor != 1 => Value::Long(i64::from(n).saturating_mul(factor)),
        Value::Long(n) if factor != 1 && n >= 0 => Value::Long(n.saturating_mul(factor)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use metadata::Record;
    use protocol::Str;
    use protocol::messages::ConfigRecord;

    use super::*;

    fn config(kind: i8, resource: &str, name: &str, value: &str) -> Record {
        Record::from(ConfigRecord {
            resource_type: kind,
            resource_name: Str::from(resource),
            name: Str::from(name),
            value: Some(Str::from(value)),
            ..Default::default()
        })
    }

    #[test]
    fn the_nearest_layer_counts_and_a_change_acts() {
        let server = Configs::parse(config::server(), [("message.max.bytes", "5000")]).expect("valid");
        let image = Image::default();
        let of = |image: &Image| TopicSettings::of(image, &server, 1, "t");
        assert_eq!(of(&image).batch_bytes_max, 5000);
        assert_eq!(of(&image).log.segment_ms, 7 * 24 * 3_600_000, "log.roll.hours, in ms");
        let image =
            image.with(&[config(4, "", "message.max.bytes", "6000"), config(4, "", "log.roll.hours", "2")]);
        assert_eq!(of(&image).batch_bytes_max, 6000, "the dynamic default of all brokers");
        assert_eq!(of(&image).log.segment_ms, 2 * 3_600_000);
        let image = image
            .with(&[config(4, "1", "message.max.bytes", "7000"), config(4, "2", "message.max.bytes", "1")]);
        assert_eq!(of(&image).batch_bytes_max, 7000, "this broker's own");
        let topic = [
            config(2, "t", "max.message.bytes", "8000"),
            config(2, "t", "message.timestamp.type", "LogAppendTime"),
            config(2, "t", "cleanup.policy", "delete,compact"),
            config(2, "t", "compression.type", "zstd"),
            config(2, "t", "weir.flush.on.acknowledge", "true"),
        ];
        let settings = of(&image.with(&topic));
        assert_eq!(settings.batch_bytes_max, 8000);
        assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
        assert!(settings.compacted && settings.flush_on_acknowledge);
        assert_eq!((settings.compression, settings.compression_level), (Some(Compression::Zstd), Some(3)));
    }
}
