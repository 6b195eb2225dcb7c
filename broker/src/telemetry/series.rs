//! The series that clients have pushed, until they expire.
//!
//! A push replaces a client's gauges; what it tells as differences is added up, so that Prometheus finds counters. Names
//! become Prometheus' (`org.apache.kafka.producer.record.send` → `org_apache_kafka_producer_record_send_total`); a name that
//! could be taken for one of this node's gets `client_` in front.

use std::collections::BTreeMap;
use std::sync::Arc;

use metadata::client_metrics::{Attribute, Attributes};
use protocol::{Uuid, bounds};

use super::otlp::{self, Value};

/// What all series of a client have in common, and the series.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Label and value: `client_instance_id`, `client_id`, the software, and what the client tells of itself.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) families: BTreeMap<Family, BTreeMap<Labels, f64>>,
    expires_ms: i64,
    count: usize,
    bytes: usize,
}

/// A name, and whether its values only grow.
pub(crate) type Family = (String, bool);

/// Labels of a series beside those of its client.
type Labels = Vec<(String, String)>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Series {
    clients: BTreeMap<Uuid, Arc<Client>>,
    count: usize,
    bytes: usize,
}

impl Series {
    /// Takes a push over. Returns how many of its series found no room.
    pub(crate) fn take(
        &mut self,
        id: Uuid,
        labels: Vec<(String, String)>,
        pushed: &otlp::Pushed<'_>,
        expires_ms: i64,
    ) -> usize {
        let known = self.clients.remove(&id);
        if let Some(known) = &known {
            self.count -= known.count;
            self.bytes -= known.bytes;
        }
        let mut client = known.map_or_else(|| Client::new(labels), Arc::unwrap_or_clone);
        client.expires_ms = expires_ms;
        client.forget_gauges();
        client.describe(&pushed.resource);
        let mut dropped = 0;
        for point in &pushed.points {
            let count_max = bounds::TELEMETRY_SERIES_MAX - self.count;
            let bytes_max = bounds::TELEMETRY_SERIES_BYTES_MAX - self.bytes;
            let is_taken = client.take(point, count_max.min(bounds::TELEMETRY_CLIENT_SERIES_MAX), bytes_max);
            dropped += usize::from(!is_taken);
        }
        self.count += client.count;
        self.bytes += client.bytes;
        self.clients.insert(id, Arc::new(client));
        dropped
    }

    pub(crate) fn expire(&mut self, now_ms: i64) {
        let (count, bytes) = (&mut self.count, &mut self.bytes);
        self.clients.retain(|_, client| {
            let lives = client.expires_ms > now_ms;
            if !lives {
                *count -= client.count;
                *bytes -= client.bytes;
            }
            lives
        });
    }

    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.values().cloned().collect()
    }
}

impl Client {
    fn new(labels: Vec<(String, String)>) -> Client {
        Client { labels, families: BTreeMap::new(), expires_ms: 0, count: 0, bytes: 0 }
    }

    fn forget_gauges(&mut self) {
        self.families.retain(|(_, is_counter), _| *is_counter);
        self.count = self.families.values().map(BTreeMap::len).sum();
        let of_family = |(family, series): (&Family, &BTreeMap<Labels, f64>)| -> usize {
            series.keys().map(|labels| size_bytes(&family.0, labels)).sum()
        };
        self.bytes = self.families.iter().map(of_family).sum();
    }

    /// Adds what the client tells of itself to its labels.
    fn describe(&mut self, resource: &otlp::Attributes<'_>) {
        for (key, value) in resource.iter().take(bounds::TELEMETRY_LABELS_MAX) {
            let key = label_name(key);
            if self.labels.len() < bounds::TELEMETRY_LABELS_MAX
                && !self.labels.iter().any(|(known, _)| *known == key)
            {
                self.labels.push((key, shortened(value)));
            }
        }
    }

    /// False if there is no room for it.
    fn take(&mut self, point: &otlp::Point<'_>, count_max: usize, bytes_max: usize) -> bool {
        let is_counter = !matches!(point.value, Value::Gauge(_));
        let name = family_name(point.name, point.suffix, is_counter);
        let mut labels: Labels = Vec::new();
        for (key, value) in point.attributes.iter().take(bounds::TELEMETRY_LABELS_MAX) {
            let key = label_name(key);
            let is_known = |all: &[(String, String)]| all.iter().any(|(known, _)| *known == key);
            if !is_known(&self.labels) && !is_known(&labels) {
                labels.push((key, shortened(value)));
            }
        }
        labels.sort();
        let size = size_bytes(&name, &labels);
        let family = (name, is_counter);
        let is_new = !self.families.get(&family).is_some_and(|series| series.contains_key(&labels));
        if is_new && (self.count >= count_max || self.bytes + size > bytes_max) {
            return false;
        }
        if is_new {
            self.count += 1;
            self.bytes += size;
        }
        let value = self.families.entry(family).or_default().entry(labels).or_default();
        match point.value {
            Value::Gauge(now) | Value::Total(now) => *value = now,
            Value::Delta(more) => *value += more,
        }
        true
    }
}

/// What a series takes in memory, roughly.
fn size_bytes(name: &str, labels: &Labels) -> usize {
    const OVERHEAD_BYTES: usize = 128;
    let of_labels: usize = labels.iter().map(|(key, value)| 48 + key.len() + value.len()).sum();
    OVERHEAD_BYTES + name.len() + of_labels
}

/// Labels of all series of a client.
pub(super) fn labels(id: Uuid, attributes: &Attributes) -> Vec<(String, String)> {
    let told = [
        ("client_id", Attribute::ClientId),
        ("client_software_name", Attribute::SoftwareName),
        ("client_software_version", Attribute::SoftwareVersion),
    ];
    let mut labels = vec![("client_instance_id".to_owned(), id.to_string())];
    labels.extend(told.iter().filter_map(|(name, attribute)| {
        let value = attributes[*attribute as usize].as_ref()?;
        Some(((*name).to_owned(), shortened(value)))
    }));
    labels
}

fn shortened(value: &str) -> String {
    value.chars().take(bounds::TELEMETRY_LABEL_CHARS_MAX).collect()
}

fn legal(text: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    text.chars().take(bounds::TELEMETRY_LABEL_CHARS_MAX).map(legal).collect()
}

fn label_name(key: &str) -> String {
    let name = legal(key);
    // A digit may not begin a label, two underscores are Prometheus' own, and these two have a meaning there.
    match name.as_str() {
        "" | "le" | "quantile" => format!("client_{name}"),
        _ if name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("__") => {
            format!("client_{name}")
        }
        _ => name,
    }
}

fn family_name(name: &str, suffix: &str, is_counter: bool) -> String {
    let name = legal(name);
    let own = if name.starts_with("org_apache_kafka_") { "" } else { "client_" };
    let is_total = is_counter && suffix.is_empty() && !name.ends_with("_total");
    format!("{own}{name}{suffix}{}", if is_total { "_total" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::tests::{delta, gauge, payload};

    fn push(series: &mut Series, id: u128, metrics: &[Vec<u8>]) -> usize {
        let payload = payload(metrics);
        let pushed = otlp::decode(&payload, 1_000_000).expect("it is whole");
        series.take(Uuid(id), labels(Uuid(id), &Default::default()), &pushed, 1000)
    }

    fn value(series: &Series, client: usize, name: &str, is_counter: bool) -> Option<f64> {
        let clients = series.clients();
        let family = clients.get(client)?.families.get(&(name.to_owned(), is_counter))?;
        family.values().next().copied()
    }

    #[test]
    fn differences_are_added_up_and_gauges_live_until_the_next_push() {
        let mut series = Series::default();
        push(&mut series, 7, &[delta("org.apache.kafka.sent", 3.0), gauge("g", ("a", "b"), 1.0)]);
        push(&mut series, 7, &[delta("org.apache.kafka.sent", 4.0), gauge("other", ("a", "b"), 1.0)]);
        assert_eq!(value(&series, 0, "org_apache_kafka_sent_total", true), Some(7.0));
        assert_eq!(value(&series, 0, "client_g", false), None);
        assert_eq!(value(&series, 0, "client_other", false), Some(1.0));
        let labels = series.clients()[0].labels.clone();
        assert_eq!(labels[1], ("client_rack".to_owned(), "r1".to_owned()));
    }

    #[test]
    fn series_expire_with_their_client_and_give_their_room_back() {
        let mut series = Series::default();
        push(&mut series, 7, &[delta("a", 1.0), delta("b", 1.0)]);
        push(&mut series, 8, &[delta("a", 1.0)]);
        assert_eq!((series.count, series.clients().len()), (3, 2));
        series.expire(999);
        assert_eq!(series.count, 3);
        series.expire(1000);
        assert_eq!((series.count, series.bytes, series.clients().len()), (0, 0, 0));
    }

    #[test]
    fn a_client_has_room_for_so_many_series_and_all_together_for_so_many() {
        let mut series = Series::default();
        let metrics: Vec<Vec<u8>> =
            (0..bounds::TELEMETRY_CLIENT_SERIES_MAX + 5).map(|n| delta(&format!("m{n}"), 1.0)).collect();
        assert_eq!(push(&mut series, 1, &metrics), 5);
        let clients = bounds::TELEMETRY_SERIES_MAX / bounds::TELEMETRY_CLIENT_SERIES_MAX;
        (2..=clients as u128).for_each(|id| assert_eq!(push(&mut series, id, &metrics), 5));
        assert_eq!(push(&mut series, 9999, &metrics[..3]), 3, "the others have all of it");
        assert!(series.count <= bounds::TELEMETRY_SERIES_MAX);
        assert!(series.bytes <= bounds::TELEMETRY_SERIES_BYTES_MAX);
    }

    #[test]
    fn names_are_legal_and_none_of_the_nodes_own() {
        assert_eq!(family_name("kafka_brokers", "", false), "client_kafka_brokers");
        assert_eq!(family_name("process.cpu \"}\n", "", true), "client_process_cpu_____total");
        assert_eq!(family_name("org.apache.kafka.x.total", "", true), "org_apache_kafka_x_total");
        assert_eq!(family_name("org.apache.kafka.h", "_sum", true), "org_apache_kafka_h_sum");
        assert_eq!(
            [label_name("9a"), label_name("__name__"), label_name("le"), label_name("a.b")],
            ["client_9a", "client___name__", "client_le", "a_b"]
        );
    }
}
