//! Where the value of a config comes from, layer by layer, as DescribeConfigs tells it.
//!
//! ```text
//!  this broker's own ─► the default of all brokers ─► server.properties ─► Kafka's default
//! ```
//! Several server configs may stand for one thing (`log.retention.ms`, `.minutes`, `.hours`): every layer is looked through
//! in the order of their precedence. Kafka's `ConfigHelper` is the source, its way with the first synonym too.

use metadata::configs::{ConfigResource, Values};
use metadata::{Configs as DynamicConfigs, Image};
use protocol::config::{self, Configs, Value};

/// Kafka's `ConfigSource`, with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    Broker = 2,
    ClusterDefault = 3,
    Static = 4,
    Default = 5,
    BrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// One layer's value of a config, as text; None if it must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// The layers below a topic, a group or a broker, as one broker sees them.
pub struct ConfigLayers<'a> {
    dynamic: &'a DynamicConfigs,
    own: ConfigResource,
    server: &'a Configs,
}

impl<'a> ConfigLayers<'a> {
    pub fn new(image: &'a Image, server: &'a Configs, node_id: i32) -> ConfigLayers<'a> {
        ConfigLayers { dynamic: &image.configs, own: ConfigResource::broker(node_id), server }
    }

    /// Every layer that has a value of a server config, the nearest first. It begins with a layer that has the config under
    /// this very name, as Kafka's does: where only a synonym is set, the list is empty.
    pub fn of(&self, name: &str) -> Vec<Layer> {
        let names = names_of(name);
        let hides = config::server().get(name).is_none_or(|definition| definition.is_sensitive());
        let shown = |text: String| (!hides).then_some(text);
        let mut layers = Vec::new();
        for (resource, source) in
            [(&self.own, Source::Broker), (&ConfigResource::cluster_default(), Source::ClusterDefault)]
        {
            let values = self.dynamic.values(resource);
            let found = names.iter().filter_map(|name| Some((*name, values?.get(*name)?)));
            layers.extend(found.map(|(name, value)| Layer {
                name: name.to_owned(),
                value: shown(value.to_string()),
                source,
            }));
        }
        let set = names.iter().filter(|name| self.server.is_set(name));
        layers.extend(set.map(|name| Layer {
            name: (*name).to_owned(),
            value: shown(self.server.value(name).to_string()),
            source: Source::Static,
        }));
        let default = |name: &&str| config::server().get(name)?.default_value().filter(|v| *v != Value::Null);
        let defaults = names.iter().filter_map(|name| Some((*name, default(name)?)));
        layers.extend(defaults.map(|(name, value)| Layer {
            name: name.to_owned(),
            value: shown(value.to_string()),
            source: Source::Default,
        }));
        let first = layers.iter().position(|layer| layer.name == name).unwrap_or(layers.len());
        layers.split_off(first)
    }

    /// What is set for all brokers while they run.
    pub fn cluster_default(&self) -> Option<&Values> {
        self.dynamic.values(&ConfigResource::cluster_default()).map(|values| &**values)
    }

    /// What is set for this broker while it runs.
    pub fn own(&self) -> Option<&Values> {
        self.dynamic.values(&self.own).map(|values| &**values)
    }

    /// The value of a server config, or of a rate that is set while the broker runs, that holds now.
    pub fn value(&self, name: &str) -> Value {
        let rate = || config::broker_quota().get(name);
        let of_server = config::server().get(name);
        let definition = of_server.or_else(rate).expect("a config of the server, or a rate");
        let dynamic = [self.own(), self.cluster_default()].into_iter().flatten();
        // One that does not parse was written by a newer release: the next layer counts.
        let found = dynamic.filter_map(|values| definition.parse(values.get(name)?).ok()).next();
        let lowest = || if of_server.is_some() { self.server.find(name) } else { definition.default_value() };
        found.or_else(lowest).unwrap_or(Value::Null)
    }
}

/// The server configs that stand for the same thing as `name`, the most telling first.
fn names_of(name: &str) -> Vec<&str> {
    const FAMILIES: [&[&str]; 4] = [
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    ];
    // The scheduler's interval stands in for the flush interval, and not the other way round.
    let family =
        FAMILIES.iter().find(|family| family.contains(&name) && name != "log.flush.scheduler.interval.ms");
    family.map_or_else(|| vec![name], |family| family.to_vec())
}

#[cfg(test)]
mod tests {
    use metadata::Record;
    use protocol::Str;
    use protocol::messages::ConfigRecord;

    use super::*;

    fn told(image: &Image, server: &[(&str, &str)], name: &str) -> Vec<(String, Option<String>, Source)> {
        let server = Configs::parse(config::server(), server.iter().copied()).expect("valid");
        let layers = ConfigLayers::new(image, &server, 1).of(name);
        layers.into_iter().map(|l| (l.name, l.value, l.source)).collect()
    }

    fn text(name: &str, value: &str, source: Source) -> (String, Option<String>, Source) {
        (name.to_owned(), Some(value.to_owned()), source)
    }

    #[test]
    fn every_layer_is_told_the_nearest_first() {
        let record = |resource: &str, value: &str| {
            Record::from(ConfigRecord {
                resource_type: 4,
                resource_name: Str::from(resource),
                name: Str::from("message.max.bytes"),
                value: Some(Str::from(value)),
                ..Default::default()
            })
        };
        let image = Image::default().with(&[record("1", "3"), record("2", "9"), record("", "4")]);
        let name = "message.max.bytes";
        let expected = [
            text(name, "3", Source::Broker),
            text(name, "4", Source::ClusterDefault),
            text(name, "5", Source::Static),
            text(name, "1048588", Source::Default),
        ];
        assert_eq!(told(&image, &[(name, "5")], name), expected);
    }

    #[test]
    fn a_synonym_alone_is_not_told_under_another_name() {
        let image = Image::default();
        assert_eq!(told(&image, &[], "log.retention.ms"), [], "as a Kafka 4.3.1 answers");
        assert_eq!(
            told(&image, &[], "log.retention.hours"),
            [text("log.retention.hours", "168", Source::Default)]
        );
        let set = [("log.retention.ms", "7"), ("log.retention.hours", "1")];
        let expected = [
            text("log.retention.ms", "7", Source::Static),
            text("log.retention.hours", "1", Source::Static),
            text("log.retention.hours", "168", Source::Default),
        ];
        assert_eq!(told(&image, &set, "log.retention.ms"), expected);
    }

    #[test]
    fn passwords_are_told_without_their_text() {
        let told = told(&Image::default(), &[("ssl.key.password", "secret")], "ssl.key.password");
        assert_eq!(told, [("ssl.key.password".to_owned(), None, Source::Static)]);
    }
}
