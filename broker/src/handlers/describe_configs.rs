//! DescribeConfigs (key 32): the values that hold for topics, brokers, groups and metrics subscriptions, and where they
//! come from. Kafka's `ConfigHelper` is the source. Texts of documentation are not told: they would be Kafka's own.

use std::sync::Arc;

use metadata::configs::{ConfigResource, ResourceType as Kind, Values};
use metadata::{Image, topic_name};
use protocol::config::{self, Definition, Definitions, Mode, Value};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::config_layers::{ConfigLayers, Layer, Source};
use crate::topic_settings;

/// The type that Kafka tells of a config that it does not know.
const UNKNOWN_TYPE: i8 = 0;

type Refusal = (ErrorCode, Option<String>);

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DescribeConfigsRequest,
) -> Reply<DescribeConfigsResponse> {
    let image = broker.metadata.current();
    let answer = Answer {
        broker: &broker,
        image: &image,
        layers: ConfigLayers::new(&image, &broker.config.server, broker.config.node_id),
        with_synonyms: request.include_synonyms,
    };
    // One resource of no known type spoils the request, as it does Kafka's.
    let stranger = request.resources.iter().find(|resource| right_to(resource).is_none());
    let spoilt =
        stranger.map(|r| format!("Unexpected resource type UNKNOWN for resource {}", r.resource_name));
    let results = request.resources.iter().map(|resource| {
        let described = match (&spoilt, right_to(resource)) {
            (Some(message), _) => Err((ErrorCode::InvalidRequest, Some(message.clone()))),
            (None, Some((right, _))) if cx.allowed(Operation::DescribeConfigs, right) => {
                answer.describe(resource)
            }
            (None, Some((_, denied))) => Err((denied, None)),
            (None, None) => Err((ErrorCode::InvalidRequest, None)),
        };
        result(resource, described)
    });
    Reply::Now(DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

fn result(
    resource: &DescribeConfigsResource,
    described: Result<Vec<DescribeConfigsResourceResult>, Refusal>,
) -> DescribeConfigsResult {
    let mut result = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    match described {
        Ok(mut configs) => {
            if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
                configs.retain(|config| keys.contains(&config.name));
            }
            result.configs = configs;
        }
        Err((error, message)) => {
            result.error_code = error.code();
            result.error_message = message.map(Str::from);
        }
    }
    result
}

/// What must be allowed to see a resource, and the error if it is not; None for a type that does not exist.
fn right_to(resource: &DescribeConfigsResource) -> Option<(Resource<'_>, ErrorCode)> {
    match Kind(resource.resource_type) {
        Kind::TOPIC => Some((Resource::topic(&resource.resource_name), ErrorCode::TopicAuthorizationFailed)),
        Kind::GROUP => Some((Resource::group(&resource.resource_name), ErrorCode::GroupAuthorizationFailed)),
        Kind::BROKER | Kind::BROKER_LOGGER | Kind::CLIENT_METRICS => {
            Some((Resource::CLUSTER, ErrorCode::ClusterAuthorizationFailed))
        }
        _ => None,
    }
}

struct Answer<'a> {
    broker: &'a Broker,
    image: &'a Image,
    layers: ConfigLayers<'a>,
    with_synonyms: bool,
}

impl Answer<'_> {
    fn describe(
        &self,
        asked: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let name = asked.resource_name.as_str();
        let own = self
            .image
            .configs
            .values(&ConfigResource { kind: Kind(asked.resource_type), name: asked.resource_name.clone() });
        let own = own.map(|values| &**values);
        match Kind(asked.resource_type) {
            Kind::TOPIC => self.topic(name, own),
            Kind::BROKER if name.is_empty() => Ok(self.brokers_default()),
            Kind::BROKER => self.check_own_id(name, " or empty string,").map(|()| self.this_broker()),
            Kind::BROKER_LOGGER if name.is_empty() => Err(invalid("Broker id must not be empty")),
            Kind::BROKER_LOGGER => self.check_own_id(name, "").map(|()| loggers()),
            Kind::CLIENT_METRICS if name.is_empty() => {
                Err(invalid("Client metrics subscription name must not be empty"))
            }
            Kind::CLIENT_METRICS => Ok(self.client_metrics(own)),
            Kind::GROUP if name.is_empty() => Err(invalid("Group name must not be empty")),
            Kind::GROUP => Ok(self.group(own)),
            _ => Err(invalid("Unsupported resource type")),
        }
    }

    fn check_own_id(&self, name: &str, or: &str) -> Result<(), Refusal> {
        let own = self.broker.config.node_id;
        match name.parse::<i32>() {
            Ok(id) if id == own => Ok(()),
            Ok(_) => Err(invalid(format!("Unexpected broker id, expected {own}{or} but received {name}"))),
            Err(_) => Err(invalid(format!("Broker id must be an integer, but it is: {name}"))),
        }
    }

    fn topic(
        &self,
        topic: &str,
        own: Option<&Values>,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        topic_name::check(topic).map_err(|why| (ErrorCode::InvalidTopicException, Some(why)))?;
        if self.image.topics.by_name(topic).is_none() {
            return Err((ErrorCode::UnknownTopicOrPartition, Some(String::new())));
        }
        let one = |definition: &Definition| {
            let server_name = config::topic_synonyms(definition.name).first();
            let below = server_name.map(|synonym| self.layers.of(synonym.name)).unwrap_or_default();
            let value = topic_settings::value(
                self.image,
                &self.broker.config.server,
                self.broker.config.node_id,
                topic,
                definition.name,
            );
            self.entry(definition, value, own, Source::Topic, below)
        };
        Ok(told(config::topic(), own).map(one).collect())
    }

    fn group(&self, own: Option<&Values>) -> Vec<DescribeConfigsResourceResult> {
        let one = |definition: &Definition| {
            let synonym = config::group_synonym(definition.name);
            let below = synonym.map_or_else(|| default_layer(definition), |name| self.layers.of(name));
            let value = parsed(own, definition)
                .or_else(|| Some(self.layers.value(synonym?)))
                .or_else(|| definition.default_value());
            self.entry(definition, value.unwrap_or(Value::Null), own, Source::Group, below)
        };
        told(config::group(), own).map(one).collect()
    }

    fn client_metrics(&self, own: Option<&Values>) -> Vec<DescribeConfigsResourceResult> {
        let one = |definition: &Definition| {
            let value = parsed(own, definition).or_else(|| definition.default_value());
            self.entry(definition, value.unwrap_or(Value::Null), own, Source::ClientMetrics, Vec::new())
        };
        told(config::client_metrics(), own).map(one).collect()
    }

    /// A config of a topic, group or subscription: what it sets itself, over the layers below.
    fn entry(
        &self,
        definition: &Definition,
        value: Value,
        own: Option<&Values>,
        source: Source,
        below: Vec<Layer>,
    ) -> DescribeConfigsResourceResult {
        let text = shown(definition, &value);
        let is_set = own.is_some_and(|values| values.contains_key(definition.name));
        let own = is_set.then(|| Layer { name: definition.name.to_owned(), value: text.clone(), source });
        let layers: Vec<Layer> = own.into_iter().chain(below).collect();
        DescribeConfigsResourceResult {
            name: Str::from_static(definition.name),
            value: text.map(Str::from),
            is_sensitive: definition.is_sensitive(),
            config_type: definition.kind as i8,
            ..self.sourced(layers)
        }
    }

    fn this_broker(&self) -> Vec<DescribeConfigsResourceResult> {
        let known =
            config::server().iter().filter(|d| !d.internal || self.broker.config.server.is_set(d.name));
        let known = known.map(|definition| {
            let layers = self.layers.of(definition.name);
            self.broker_entry(definition, shown(definition, &self.layers.value(definition.name)), layers)
        });
        // A name that nobody knows is kept for a plugin of which the broker knows nothing: it may be a secret.
        let unknown = self.broker.config.server.unknown().iter().map(|name| DescribeConfigsResourceResult {
            name: Str::from(name.as_str()),
            value: None,
            is_sensitive: true,
            read_only: true,
            config_type: UNKNOWN_TYPE,
            ..self.sourced(vec![Layer { name: name.clone(), value: None, source: Source::Static }])
        });
        let quotas = config::broker_quota().iter().filter_map(|definition| {
            let value = self.layers.own()?.get(definition.name)?.to_string();
            let layer = Layer {
                name: definition.name.to_owned(),
                value: Some(value.clone()),
                source: Source::Broker,
            };
            Some(self.broker_entry(definition, Some(value), vec![layer]))
        });
        known.chain(unknown).chain(quotas).collect()
    }

    /// What is set for all brokers, and nothing else.
    fn brokers_default(&self) -> Vec<DescribeConfigsResourceResult> {
        let set = self.layers.cluster_default().into_iter().flatten();
        let one = |(name, value): (&Str, &Str)| {
            let mut layers = self.layers.of(name);
            layers.retain(|layer| layer.source == Source::ClusterDefault);
            match config::server().get(name).or_else(|| config::broker_quota().get(name)) {
                Some(definition) => {
                    let text = (!definition.is_sensitive()).then(|| value.to_string());
                    self.broker_entry(definition, text, layers)
                }
                None => DescribeConfigsResourceResult {
                    name: name.clone(),
                    value: None,
                    is_sensitive: true,
                    read_only: true,
                    config_type: UNKNOWN_TYPE,
                    ..self.sourced(layers)
                },
            }
        };
        set.map(one).collect()
    }

    fn broker_entry(
        &self,
        definition: &Definition,
        value: Option<String>,
        layers: Vec<Layer>,
    ) -> DescribeConfigsResourceResult {
        let is_quota = config::broker_quota().get(definition.name).is_some();
        DescribeConfigsResourceResult {
            name: Str::from_static(definition.name),
            value: value.map(Str::from),
            is_sensitive: definition.is_sensitive(),
            read_only: definition.mode == Mode::ReadOnly && !is_quota,
            config_type: definition.kind as i8,
            ..self.sourced(layers)
        }
    }

    /// The source of a config and, if asked for, all its layers.
    fn sourced(&self, layers: Vec<Layer>) -> DescribeConfigsResourceResult {
        let source = layers.first().map_or(Source::Default, |layer| layer.source);
        let told = if self.with_synonyms { layers } else { Vec::new() };
        let synonym = |layer: Layer| DescribeConfigsSynonym {
            name: Str::from(layer.name),
            value: layer.value.map(Str::from),
            source: layer.source as i8,
        };
        DescribeConfigsResourceResult {
            config_source: source as i8,
            synonyms: told.into_iter().map(synonym).collect(),
            documentation: None,
            ..Default::default()
        }
    }
}

/// The definitions to tell of: what users may see, and what is set all the same.
fn told<'a>(
    all: &'static Definitions,
    own: Option<&'a Values>,
) -> impl Iterator<Item = &'static Definition> + 'a {
    all.iter().filter(move |d| !d.internal || own.is_some_and(|values| values.contains_key(d.name)))
}

fn parsed(own: Option<&Values>, definition: &Definition) -> Option<Value> {
    definition.parse(own?.get(definition.name)?).ok()
}

fn shown(definition: &Definition, value: &Value) -> Option<String> {
    (!definition.is_sensitive() && *value != Value::Null).then(|| value.to_string())
}

fn default_layer(definition: &Definition) -> Vec<Layer> {
    let value = definition.default_value().filter(|value| *value != Value::Null);
    let layer = |value: Value| Layer {
        name: definition.name.to_owned(),
        value: shown(definition, &value),
        source: Source::Default,
    };
    value.map(layer).into_iter().collect()
}

/// The levels of this process's log. There is one logger; Kafka has one per class.
fn loggers() -> Vec<DescribeConfigsResourceResult> {
    let level = match tracing::level_filters::LevelFilter::current().into_level() {
        Some(level) => level.as_str(),
        None => "OFF",
    };
    vec![DescribeConfigsResourceResult {
        name: Str::from_static("root"),
        value: Some(Str::from_static(level)),
        config_source: Source::BrokerLogger as i8,
        ..Default::default()
    }]
}

fn invalid(message: impl Into<String>) -> Refusal {
    (ErrorCode::InvalidRequest, Some(message.into()))
}
