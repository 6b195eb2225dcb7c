//! Every metric of a broker, by the names that the JMX exporter's rules for Kafka give them.
//!
//! **Invariant:** series of a topic live as long as this broker has a partition of it. Hot paths hold their counters; they
//! look nothing up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::partition::{Partition, Role};

/// The counters of one topic, shared by its partitions.
#[derive(Debug)]
pub struct TopicMetrics {
    pub messages_in: IntCounter,
    pub bytes_in: IntCounter,
    pub bytes_out: IntCounter,
    pub produce_requests: IntCounter,
    pub failed_produce_requests: IntCounter,
    pub fetch_requests: IntCounter,
    pub failed_fetch_requests: IntCounter,
    families: Arc<TopicFamilies>,
    topic: String,
}

impl Drop for TopicMetrics {
    fn drop(&mut self) {
        for family in self.families.all() {
            // It was made with these labels; another one of the same name may have taken them away already.
            let _ = family.remove_label_values(&[&self.topic]);
        }
    }
}

#[derive(Debug)]
struct TopicFamilies {
    messages_in: IntCounterVec,
    bytes_in: IntCounterVec,
    bytes_out: IntCounterVec,
    produce_requests: IntCounterVec,
    failed_produce_requests: IntCounterVec,
    fetch_requests: IntCounterVec,
    failed_fetch_requests: IntCounterVec,
}

impl TopicFamilies {
    fn all(&self) -> [&IntCounterVec; 7] {
        [
            &self.messages_in,
            &self.bytes_in,
            &self.bytes_out,
            &self.produce_requests,
            &self.failed_produce_requests,
            &self.fetch_requests,
            &self.failed_fetch_requests,
        ]
    }
}

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Arc<TopicFamilies>,
    topics: Mutex<BTreeMap<String, Weak<TopicMetrics>>>,
    /// `kafka_network_requestmetrics_requests_total`, by request.
    pub requests: IntCounterVec,
    partition_count: IntGauge,
    leader_count: IntGauge,
    under_replicated: IntGauge,
    log_start_offset: IntGaugeVec,
    log_end_offset: IntGaugeVec,
    log_size: IntGaugeVec,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label]).expect("names are written here");
            registry.register(Box::new(family.clone())).expect("each name is registered once");
            family
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("names are written here");
            registry.register(Box::new(gauge.clone())).expect("each name is registered once");
            gauge
        };
        let gauges = |name: &str, help: &str| {
            let labels = ["topic", "partition"];
            let family = IntGaugeVec::new(Opts::new(name, help), &labels).expect("names are written here");
            registry.register(Box::new(family.clone())).expect("each name is registered once");
            family
        };
        let of_topic = |what: &str, help: &str| {
            counters(&format!("kafka_server_brokertopicmetrics_{what}_total"), help, "topic")
        };
        let families = Arc::new(TopicFamilies {
            messages_in: of_topic("messagesin", "Records appended by producers."),
            bytes_in: of_topic("bytesin", "Bytes of record batches appended by producers."),
            bytes_out: of_topic("bytesout", "Bytes of record batches given to consumers."),
            produce_requests: of_topic("totalproducerequests", "Partitions in produce requests."),
            failed_produce_requests: of_topic(
                "failedproducerequests",
                "Partitions whose produce was refused.",
            ),
            fetch_requests: of_topic("totalfetchrequests", "Partitions in fetch requests."),
            failed_fetch_requests: of_topic("failedfetchrequests", "Partitions whose fetch was refused."),
        });
        Metrics {
            requests: counters(
                "kafka_network_requestmetrics_requests_total",
                "Requests answered.",
                "request",
            ),
            partition_count: gauge("kafka_server_replicamanager_partitioncount", "Replicas on this broker."),
            leader_count: gauge(
                "kafka_server_replicamanager_leadercount",
                "Partitions that this broker leads.",
            ),
            under_replicated: gauge(
                "kafka_server_replicamanager_underreplicatedpartitions",
                "Partitions led here whose ISR is smaller than their replicas.",
            ),
            log_start_offset: gauges("kafka_log_log_logstartoffset", "The first offset of a log."),
            log_end_offset: gauges("kafka_log_log_logendoffset", "The next offset of a log."),
            log_size: gauges("kafka_log_log_size", "Bytes of a log."),
            registry,
            families,
            topics: Mutex::default(),
        }
    }
}

impl Metrics {
    /// The counters of a topic: the same for all of its partitions.
    pub fn topic(&self, topic: &str) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock().expect("no code that holds this lock panics");
        if let Some(known) = topics.get(topic).and_then(Weak::upgrade) {
            return known;
        }
        topics.retain(|_, known| known.strong_count() > 0);
        let of = |family: &IntCounterVec| family.with_label_values(&[topic]);
        let families = &self.families;
        let metrics = Arc::new(TopicMetrics {
            messages_in: of(&families.messages_in),
            bytes_in: of(&families.bytes_in),
            bytes_out: of(&families.bytes_out),
            produce_requests: of(&families.produce_requests),
            failed_produce_requests: of(&families.failed_produce_requests),
            fetch_requests: of(&families.fetch_requests),
            failed_fetch_requests: of(&families.failed_fetch_requests),
            families: Arc::clone(families),
            topic: topic.to_owned(),
        });
        topics.insert(topic.to_owned(), Arc::downgrade(&metrics));
        metrics
    }

    /// The text that Prometheus reads; gauges of partitions are taken now.
    pub fn text(&self, partitions: &[Arc<Partition>]) -> String {
        let count = |of: &dyn Fn(&Partition) -> bool| partitions.iter().filter(|p| of(p)).count() as i64;
        self.partition_count.set(partitions.len() as i64);
        self.leader_count.set(count(&|p| p.role() == Role::Leader));
        self.under_replicated.set(count(&Partition::is_under_replicated));
        for family in [&self.log_start_offset, &self.log_end_offset, &self.log_size] {
            family.reset();
        }
        for partition in partitions {
            let index = partition.id.partition.to_string();
            let labels = [partition.topic.as_str(), index.as_str()];
            let offsets = partition.offsets();
            self.log_start_offset.with_label_values(&labels).set(offsets.log_start.0);
            self.log_end_offset.with_label_values(&labels).set(offsets.log_end.0);
            self.log_size.with_label_values(&labels).set(partition.size_bytes() as i64);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a Vec takes everything");
        String::from_utf8(text).expect("names and numbers are text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_topic_die_with_its_last_partition() {
        let metrics = Metrics::default();
        let (one, other) = (metrics.topic("orders"), metrics.topic("orders"));
        one.messages_in.inc_by(3);
        other.messages_in.inc_by(4);
        let line = "kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"} 7";
        assert!(metrics.text(&[]).contains(line), "{}", metrics.text(&[]));
        drop(one);
        assert!(metrics.text(&[]).contains(line));
        drop(other);
        assert!(!metrics.text(&[]).contains("orders"));
        metrics.topic("orders").messages_in.inc();
        let again = metrics.topic("orders");
        again.messages_in.inc();
        assert!(metrics.text(&[]).contains("{topic=\"orders\"} 1"));
    }
}
