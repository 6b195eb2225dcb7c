//! Configs as their definitions see them: defaults, types, the broker configs that stand in for topic configs, and
//! whether a resource may have a set of values.

use metadata::client_metrics::{Subscription, SubscriptionError};
use metadata::configs::Values;
use metadata::{ConfigResource, ResourceType};
use protocol::config::{self, Definition, Definitions, Mode, Type, Value};
use protocol::messages::create_topics_response::CreatableTopicConfigs;
use protocol::{ErrorCode, Str};

use super::{Context, Refusal};

/// Kafka's `ConfigSource` in answers.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
const DYNAMIC_BROKER_CONFIG: i8 = 2;
const DYNAMIC_DEFAULT_BROKER_CONFIG: i8 = 3;
const STATIC_BROKER_CONFIG: i8 = 4;
const DEFAULT_CONFIG: i8 = 5;

fn default_text(definition: &Definition) -> Option<Str> {
    definition.default_value().filter(|value| *value != Value::Null).map(|value| Str::from(value.to_string()))
}

/// The default of a broker config; None if it has none, or null.
pub(super) fn broker_default(name: &str) -> Option<Str> {
    default_text(config::server().get(name)?)
}

/// The default of a config of this kind of resource; None if it has none, or null.
pub(super) fn default_of(kind: ResourceType, name: &str) -> Option<Str> {
    default_text(definitions(kind)?.get(name)?)
}

pub(super) fn is_list(kind: ResourceType, name: &str) -> bool {
    definitions(kind).and_then(|all| all.get(name)).is_some_and(|definition| definition.kind == Type::List)
}

fn definitions(kind: ResourceType) -> Option<&'static Definitions> {
    match kind {
        ResourceType::TOPIC => Some(config::topic()),
        ResourceType::BROKER => Some(config::server()),
        ResourceType::CLIENT_METRICS => Some(config::client_metrics()),
        ResourceType::GROUP => Some(config::group()),
        _ => None,
    }
}

/// The value of a topic config that holds, where `own` is what the topic sets, and its `ConfigSource`.
pub(super) fn topic_value(
    context: &Context<'_>,
    own: Option<&Str>,
    definition: &Definition,
) -> (Option<Str>, i8) {
    if let Some(value) = own {
        return (Some(value.clone()), DYNAMIC_TOPIC_CONFIG);
    }
    let dynamic = |resource: &ConfigResource| context.image.configs.values(resource).map(|values| &**values);
    let layers = [
        (dynamic(&ConfigResource::broker(context.settings.node_id)), DYNAMIC_BROKER_CONFIG),
        (dynamic(&ConfigResource::cluster_default()), DYNAMIC_DEFAULT_BROKER_CONFIG),
        (Some(&context.settings.properties), STATIC_BROKER_CONFIG),
    ];
    for (values, source) in layers {
        let found = config::topic_synonyms(definition.name)
            .iter()
            .find_map(|s| Some((values?.get(s.name)?, s.factor)));
        if let Some((value, factor)) = found {
            return (Some(in_topic_unit(value, factor)), source);
        }
    }
    (default_text(definition), DEFAULT_CONFIG)
}

/// The value of a broker config in the unit of the topic config that it stands in for: hours are told as milliseconds.
fn in_topic_unit(value: &Str, factor: i64) -> Str {
    match value.parse::<i64>() {
        // "Unlimited" is -1 whatever the unit.
        Ok(number) if factor != 1 => {
            Str::from(if number < 0 { -1 } else { number.saturating_mul(factor) }.to_string())
        }
        _ => value.clone(),
    }
}

/// All configs of a new topic that sets `own`, by name.
pub(super) fn effective_topic_configs(context: &Context<'_>, own: &Values) -> Vec<CreatableTopicConfigs> {
    let one = |definition: &Definition| {
        let (value, config_source) = topic_value(context, own.get(definition.name), definition);
        CreatableTopicConfigs {
            name: Str::from_static(definition.name),
            value: value.filter(|_| !definition.is_sensitive()),
            read_only: false,
            config_source,
            is_sensitive: definition.is_sensitive(),
        }
    };
    config::topic().iter().filter(|definition| !definition.internal).map(one).collect()
}

/// Refuses values that `resource` cannot have; `present` is what it has now.
pub(super) fn check(
    context: &Context<'_>,
    resource: &ConfigResource,
    values: &Values,
    present: &Values,
) -> Result<(), Refusal> {
    let invalid_request = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    match resource.kind {
        ResourceType::TOPIC if resource.name.is_empty() => {
            invalid_request("Default topic resources are not allowed.")
        }
        ResourceType::TOPIC => check_topic(context, values),
        ResourceType::BROKER => check_broker(resource, values, present),
        ResourceType::GROUP if resource.name.is_empty() => {
            invalid_request("Default group resources are not allowed.")
        }
        ResourceType::GROUP => {
            check_values(config::group(), values, |name| format!("Unknown config name: {name}"))?;
            check_group(context, values)
        }
        ResourceType::CLIENT_METRICS => check_subscription(resource, values),
        ResourceType(other) => invalid_request(&format!("Unknown resource type {other}")),
    }
}

fn check_values(all: &Definitions, values: &Values, unknown: impl Fn(&str) -> String) -> Result<(), Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidConfig, message);
    for (name, value) in values {
        let definition = all.get(name).ok_or_else(|| invalid(unknown(name)))?;
        definition.parse(value).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(())
}

fn check_subscription(resource: &ConfigResource, values: &Values) -> Result<(), Refusal> {
    let refusal = |error: SubscriptionError| {
        let code = match error {
            SubscriptionError::Value(_) | SubscriptionError::Pattern(_) => ErrorCode::InvalidConfig,
            _ => ErrorCode::InvalidRequest,
        };
        Refusal::new(code, error.to_string())
    };
    Subscription::parse(&resource.name, values).map(drop).map_err(refusal)
}

fn check_topic(context: &Context<'_>, values: &Values) -> Result<(), Refusal> {
    check_values(config::topic(), values, |name| format!("Unknown topic config name: {name}"))?;
    let value = |name: &'static str| {
        let definition = config::topic().get(name).expect("a topic config of Kafka");
        topic_value(context, values.get(name), definition).0.unwrap_or_default()
    };
    let (min, max) = (value("min.compaction.lag.ms"), value("max.compaction.lag.ms"));
    if min.parse::<i64>().unwrap_or(0) > max.parse::<i64>().unwrap_or(i64::MAX) {
        let message = format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    let has_remote_storage =
        super::configs::static_value(context, "remote.log.storage.system.enable") == "true";
    if value("remote.storage.enable") == "true" && !has_remote_storage {
        let message = "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.";
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

/// A consumer group's own settings lie within what the server allows.
fn check_group(context: &Context<'_>, values: &Values) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidConfig, message));
    let bound = |name: &str| super::configs::static_value(context, name).parse::<i64>().ok();
    for what in ["heartbeat.interval.ms", "session.timeout.ms", "assignment.interval.ms"] {
        let name = format!("consumer.{what}");
        let Some(value) = values.get(name.as_str()).and_then(|text| text.parse::<i64>().ok()) else {
            continue;
        };
        let (min, max) = (format!("group.consumer.min.{what}"), format!("group.consumer.max.{what}"));
        if bound(&min).is_some_and(|min| value < min) {
            return invalid(format!("{name} must be greater than or equal to {min}"));
        }
        if bound(&max).is_some_and(|max| value > max) {
            return invalid(format!("{name} must be less than or equal to {max}"));
        }
    }
    Ok(())
}

/// Brokers take what can change while they run; what belongs to one of them has no default for all. Names that nobody
/// defines are kept, as Kafka does: a plugin may read them. So is what was there before.
fn check_broker(resource: &ConfigResource, values: &Values, present: &Values) -> Result<(), Refusal> {
    let invalid = |code, message: String| Err(Refusal::new(code, message));
    for (name, value) in values.iter().filter(|(name, value)| present.get(*name) != Some(*value)) {
        // listener.name.<listener>.<config> is the config of one listener.
        let base = name
            .strip_prefix("listener.name.")
            .and_then(|rest| rest.split_once('.'))
            .map_or(name.as_str(), |(_, base)| base);
        let Some(definition) = config::server().get(base).or_else(|| config::broker_quota().get(base)) else {
            continue;
        };
        let is_quota = config::broker_quota().get(base).is_some();
        if definition.mode == Mode::ReadOnly && !is_quota {
            return invalid(
                ErrorCode::InvalidRequest,
                format!("Cannot update these configs dynamically: Set({name})"),
            );
        }
        if definition.mode == Mode::PerBroker && resource.name.is_empty() {
            let message = "Cannot update these configs at default cluster level, broker id must be specified";
            return invalid(ErrorCode::InvalidRequest, format!("{message}: Set({name})"));
        }
        if let Err(error) = definition.parse(value) {
            return invalid(ErrorCode::InvalidConfig, error.to_string());
        }
    }
    Ok(())
}
