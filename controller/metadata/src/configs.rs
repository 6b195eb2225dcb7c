//! Dynamic configs, and what holds for a topic or a broker after all overrides.
//!
//! ```text
//!  topic config    topic's own ─► broker's dynamic ─► cluster's dynamic default ─► server.properties ─► Kafka's default
//!  broker config                  broker's dynamic ─► cluster's dynamic default ─► server.properties ─► Kafka's default
//! ```
//!
//! Read at use and never captured, so a change acts at once. This module knows the dynamic layers; the static ones come
//! from the caller, since each node has its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::Str;
use protocol::messages::ConfigRecord;

use crate::Record;
use crate::chunked::ChunkedMap;

/// Kafka's `ConfigResource.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceType(pub i8);

impl ResourceType {
    pub const TOPIC: ResourceType = ResourceType(2);
    pub const BROKER: ResourceType = ResourceType(4);
    pub const BROKER_LOGGER: ResourceType = ResourceType(8);
    pub const CLIENT_METRICS: ResourceType = ResourceType(16);
    pub const GROUP: ResourceType = ResourceType(32);
}

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    pub kind: ResourceType,
    /// A topic's name, a broker's id in decimal, or empty: the default of all brokers.
    pub name: Str,
}

impl ConfigResource {
    pub fn topic(name: &str) -> ConfigResource {
        ConfigResource { kind: ResourceType::TOPIC, name: Str::from(name) }
    }

    pub fn broker(id: i32) -> ConfigResource {
        ConfigResource { kind: ResourceType::BROKER, name: Str::from(id.to_string()) }
    }

    pub fn group(id: &str) -> ConfigResource {
        ConfigResource { kind: ResourceType::GROUP, name: Str::from(id) }
    }

    /// The dynamic default of all brokers.
    pub fn cluster_default() -> ConfigResource {
        ConfigResource { kind: ResourceType::BROKER, name: Str::from_static("") }
    }
}

/// The values set for one resource, by config name.
pub type Values = BTreeMap<Str, Str>;

/// All dynamic configs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configs {
    resources: ChunkedMap<ConfigResource, Arc<Values>>,
}

/// The layer that a value was found in. `DescribeConfigs` tells it to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    Broker,
    ClusterDefault,
}

impl Configs {
    /// What is set for a resource; None if nothing is.
    pub fn values(&self, resource: &ConfigResource) -> Option<&Arc<Values>> {
        self.resources.get(resource)
    }

    pub fn value(&self, resource: &ConfigResource, name: &str) -> Option<&Str> {
        self.resources.get(resource)?.get(name)
    }

    /// Resources for which something is set, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &Arc<Values>)> {
        self.resources.iter()
    }

    /// The dynamic value of a broker config as `broker` sees it.
    pub fn of_broker(&self, broker: i32, name: &str) -> Option<(&Str, Source)> {
        let own = self.value(&ConfigResource::broker(broker), name).map(|v| (v, Source::Broker));
        own.or_else(|| Some((self.value(&ConfigResource::cluster_default(), name)?, Source::ClusterDefault)))
    }

    /// The dynamic value of the topic config `name` as `broker` sees it. `synonyms` are the broker configs that stand in
    /// for it, the most telling first (`retention.ms`: `log.retention.ms`, `log.retention.minutes`, ...).
    pub fn of_topic(
        &self,
        topic: &str,
        broker: i32,
        name: &str,
        synonyms: &[&str],
    ) -> Option<(&Str, Source)> {
        if let Some(value) = self.value(&ConfigResource::topic(topic), name) {
            return Some((value, Source::Topic));
        }
        let layers = [
            (ConfigResource::broker(broker), Source::Broker),
            (ConfigResource::cluster_default(), Source::ClusterDefault),
        ];
        layers.into_iter().find_map(|(resource, source)| {
            let values = self.values(&resource)?;
            synonyms.iter().find_map(|synonym| values.get(*synonym)).map(|value| (value, source))
        })
    }

    pub(crate) fn set(&mut self, resource: &ConfigResource, name: &Str, value: Option<&Str>) {
        let mut values = self.resources.get(resource).cloned().unwrap_or_default();
        match value {
            Some(value) => Arc::make_mut(&mut values).insert(name.detached(), value.detached()),
            None => Arc::make_mut(&mut values).remove(name.as_str()),
        };
        if values.is_empty() {
            self.resources.remove(resource);
        } else {
            self.resources.insert(resource.clone(), values);
        }
    }

    /// Forgets a resource, as the removal of a topic does with its configs.
    pub(crate) fn remove(&mut self, resource: &ConfigResource) -> bool {
        self.resources.remove(resource).is_some()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.resources.iter().flat_map(|(resource, values)| {
            values.iter().map(move |(name, value)| {
                Record::from(ConfigRecord {
                    resource_type: resource.kind.0,
                    resource_name: resource.name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..ConfigRecord::default()
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn configs(entries: &[(ConfigResource, &str, &str)]) -> Configs {
        let mut configs = Configs::default();
        for (resource, name, value) in entries {
            configs.set(resource, &Str::from(*name), Some(&Str::from(*value)));
        }
        configs
    }

    #[test]
    fn the_nearest_layer_wins() {
        let all = [
            (ConfigResource::topic("t"), "retention.ms", "1"),
            (ConfigResource::broker(5), "log.retention.ms", "2"),
            (ConfigResource::cluster_default(), "log.retention.ms", "3"),
        ];
        let synonyms = ["log.retention.ms", "log.retention.minutes"];
        let seen = |from: usize, broker| {
            let configs = configs(&all[from..]);
            configs.of_topic("t", broker, "retention.ms", &synonyms).map(|(v, s)| (v.to_string(), s))
        };
        assert_eq!(seen(0, 5), Some(("1".into(), Source::Topic)));
        assert_eq!(seen(1, 5), Some(("2".into(), Source::Broker)));
        assert_eq!(seen(1, 6), Some(("3".into(), Source::ClusterDefault)));
        assert_eq!(seen(3, 5), None);
    }

    #[test]
    fn the_last_value_taken_back_forgets_the_resource() {
        let topic = ConfigResource::topic("t");
        let mut configs = configs(&[(topic.clone(), "a", "1"), (topic.clone(), "b", "2")]);
        configs.set(&topic, &Str::from("a"), None);
        assert_eq!(configs.value(&topic, "b").unwrap(), "2");
        configs.set(&topic, &Str::from("b"), None);
        assert!(configs.values(&topic).is_none());
        assert_eq!(configs, Configs::default());
    }
}
