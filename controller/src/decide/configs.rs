//! Dynamic configs: IncrementalAlterConfigs, AlterConfigs, and the values that other decisions need.

use std::collections::{BTreeMap, BTreeSet};

use metadata::configs::Values;
use metadata::{ConfigResource, Record, ResourceType};
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResponse;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::create_topics_response::CreatableTopicConfigs;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ClearElrRecord, ConfigRecord, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use protocol::{ErrorCode, Str, bounds, config};

use super::{Context, Decision, Refusal, catalog, code_and_message};

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_LEADER_ELECTION_ENABLE: &str = "unclean.leader.election.enable";

/// Kafka's `AlterConfigOp.OpType`.
const OPERATIONS: [i8; 4] = [SET, DELETE, APPEND, SUBTRACT];
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// A topic's `min.insync.replicas`.
pub(super) fn min_insync_replicas(context: &Context<'_>, topic: &str) -> usize {
    topic_value(context, topic, MIN_INSYNC_REPLICAS).parse().unwrap_or(1)
}

/// A topic's `unclean.leader.election.enable`.
pub(super) fn unclean_election_enabled(context: &Context<'_>, topic: &str) -> bool {
    topic_value(context, topic, UNCLEAN_LEADER_ELECTION_ENABLE).eq_ignore_ascii_case("true")
}

/// `num.partitions` of this controller (KIP-464).
pub(super) fn default_partitions(context: &Context<'_>) -> i32 {
    static_value(context, "num.partitions").parse().unwrap_or(1)
}

/// `default.replication.factor` of this controller (KIP-464).
pub(super) fn default_replication_factor(context: &Context<'_>) -> i16 {
    static_value(context, "default.replication.factor").parse().unwrap_or(1)
}

impl super::Settings {
    /// What server.properties says of a broker config, else its default.
    pub(crate) fn static_value(&self, name: &str) -> Str {
        let given = self.properties.get(name).cloned();
        given.or_else(|| catalog::broker_default(name)).unwrap_or_default()
    }
}

pub(super) fn static_value(context: &Context<'_>, name: &str) -> Str {
    context.settings.static_value(name)
}

/// The value of a topic config that holds now, as this controller sees it.
fn topic_value(context: &Context<'_>, topic: &str, name: &str) -> Str {
    let own = context.image.configs.value(&ConfigResource::topic(topic), name);
    let definition = config::topic().get(name).expect("a topic config of Kafka");
    catalog::topic_value(context, own, definition).0.unwrap_or_default()
}

/// The configs of a topic to create, by name; refused if one is unknown or out of range.
pub(super) fn check_creation_configs(
    context: &Context<'_>,
    topic: &CreatableTopic,
) -> Result<Values, Refusal> {
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    let values: Values =
        topic.configs.iter().filter_map(|c| Some((c.name.clone(), c.value.clone()?))).collect();
    check_lengths(values.values())?;
    catalog::check(context, &ConfigResource::topic(&topic.name), &values, &Values::new())?;
    Ok(values)
}

fn check_lengths<'a>(values: impl IntoIterator<Item = &'a Str>) -> Result<(), Refusal> {
    let too_long = |value: &&Str| value.encode_utf16().count() > bounds::CONFIG_VALUE_CHARS_MAX;
    if values.into_iter().any(|value| too_long(&value)) {
        let message = "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.";
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

/// The configs of a new topic with the values that hold, for the answer to its creation.
pub(super) fn creation_configs(context: &Context<'_>, own: &Values) -> Vec<CreatableTopicConfigs> {
    catalog::effective_topic_configs(context, own)
}

/// IncrementalAlterConfigs: each resource is changed, or refused with a reason of its own.
pub fn incremental_alter_configs(
    context: &Context<'_>,
    request: &IncrementalAlterConfigsRequest,
) -> Decision<IncrementalAlterConfigsResponse> {
    let resources = request.resources.iter().map(|r| (r.resource_type, &r.resource_name));
    let twice = named_twice(resources);
    let mut decision = Decision { records: Vec::new(), answer: IncrementalAlterConfigsResponse::default() };
    let check = |asked: &AlterConfigsResource| {
        let names = asked.configs.iter().map(|c| {
            let is_null = c.value.is_none() && c.config_operation != DELETE;
            (&c.name, is_null)
        });
        check_resource(&twice, asked.resource_type, &asked.resource_name, names)
    };
    let is_unknown = |c: &AlterableConfig| !OPERATIONS.contains(&c.config_operation);
    let checked: Vec<_> = request.resources.iter().map(|asked| (asked, check(asked))).collect();
    let mut well_formed = checked.iter().filter(|(_, result)| result.is_ok());
    // Kafka has no word for an operation that it does not know: it stumbles over the request, and all of it fails.
    let stumbles = well_formed.any(|(asked, _)| asked.configs.iter().any(is_unknown));
    for (asked, well_formed) in checked {
        let resource =
            ConfigResource { kind: ResourceType(asked.resource_type), name: asked.resource_name.clone() };
        let result = well_formed.and_then(|()| {
            if stumbles {
                return Err(Refusal::new(ErrorCode::UnknownServerError, ""));
            }
            let changes = incremental_changes(context, &resource, &asked.configs)?;
            alter(context, &resource, changes)
        });
        let (error_code, error_message) = code_and_message(&result);
        decision.records.extend(result.unwrap_or_default());
        decision.answer.responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
        });
    }
    if request.validate_only {
        decision.records.clear();
    }
    decision
}

/// AlterConfigs, the old way: what is not named goes back to its default.
pub fn alter_configs(context: &Context<'_>, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
    let twice = named_twice(request.resources.iter().map(|r| (r.resource_type, &r.resource_name)));
    let mut decision = Decision { records: Vec::new(), answer: AlterConfigsResponse::default() };
    for asked in &request.resources {
        let resource =
            ConfigResource { kind: ResourceType(asked.resource_type), name: asked.resource_name.clone() };
        let named: Changes = asked.configs.iter().map(|c| (c.name.clone(), c.value.clone())).collect();
        let names = asked.configs.iter().map(|c| (&c.name, c.value.is_none()));
        let checked = check_resource(&twice, asked.resource_type, &asked.resource_name, names);
        let result = checked.and_then(|()| {
            let present = context.image.configs.values(&resource);
            let mut changes: Changes =
                present.into_iter().flat_map(|v| v.keys()).map(|name| (name.clone(), None)).collect();
            changes.extend(named.clone());
            alter(context, &resource, changes)
        });
        let (error_code, error_message) = code_and_message(&result);
        decision.records.extend(result.unwrap_or_default());
        decision.answer.responses.push(LegacyResponse {
            error_code,
            error_message,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
        });
    }
    if request.validate_only {
        decision.records.clear();
    }
    decision
}

/// What is wrong with a part of a request itself, in the order in which Kafka looks: its brokers do so before they ask the
/// controller. `names` are its configs, and whether they lack a value that they need.
fn check_resource<'a>(
    twice: &BTreeSet<(i8, &Str)>,
    kind: i8,
    name: &Str,
    names: impl Iterator<Item = (&'a Str, bool)>,
) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    if twice.contains(&(kind, name)) {
        return invalid("Each resource must appear at most once.".into());
    }
    let names: Vec<(&Str, bool)> = names.collect();
    let distinct: BTreeSet<&Str> = names.iter().map(|(name, _)| *name).collect();
    if distinct.len() < names.len() {
        return invalid("Error due to duplicate config keys".into());
    }
    let nulls: Vec<&str> = names.iter().filter(|(_, is_null)| *is_null).map(|(n, _)| n.as_str()).collect();
    if !nulls.is_empty() {
        return invalid(format!("Null value not supported for : {}", nulls.join(", ")));
    }
    match ResourceType(kind) {
        ResourceType::TOPIC | ResourceType::BROKER | ResourceType::GROUP | ResourceType::CLIENT_METRICS => {
            Ok(())
        }
        _ => invalid(format!("Unknown resource type {kind}")),
    }
}

/// New values by name; None goes back to the default.
type Changes = BTreeMap<Str, Option<Str>>;

fn named_twice<'a>(resources: impl Iterator<Item = (i8, &'a Str)>) -> BTreeSet<(i8, &'a Str)> {
    let mut seen = BTreeSet::new();
    resources.filter(|resource| !seen.insert(*resource)).collect()
}

/// The operations are known, and each config is named once.
fn incremental_changes(
    context: &Context<'_>,
    resource: &ConfigResource,
    asked: &[AlterableConfig],
) -> Result<Changes, Refusal> {
    let mut changes = Changes::new();
    for config in asked {
        let given = config.value.as_deref().unwrap_or_default();
        let new = match config.config_operation {
            SET => Some(Str::from(given)),
            DELETE => None,
            operation => Some(changed_list(context, resource, &config.name, operation, given)?),
        };
        changes.insert(config.name.clone(), new);
    }
    Ok(changes)
}

/// The value of a list with entries added or taken away.
fn changed_list(
    context: &Context<'_>,
    resource: &ConfigResource,
    name: &Str,
    operation: i8,
    given: &str,
) -> Result<Str, Refusal> {
    if !catalog::is_list(resource.kind, name) {
        let word = if operation == APPEND { "APPEND" } else { "SUBTRACT" };
        let message = format!("Can't {word} to key {name} because its type is not LIST.");
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    let present = context.image.configs.value(resource, name).cloned();
    let present = present.or_else(|| catalog::default_of(resource.kind, name)).unwrap_or_default();
    let mut entries: Vec<&str> = present.split(',').filter(|entry| !entry.is_empty()).collect();
    for entry in entries_given(given) {
        match operation {
            APPEND if entries.contains(&entry) => {}
            APPEND => entries.push(entry),
            _ => {
                if let Some(at) = entries.iter().position(|e| *e == entry) {
                    entries.remove(at);
                }
            }
        }
    }
    Ok(Str::from(entries.join(",")))
}

/// The entries of a list in a request, as Kafka's controller takes it apart: nothing is trimmed, nothing is one empty entry, and
/// empty entries count unless they are the last. The value that results is refused for them.
fn entries_given(given: &str) -> impl Iterator<Item = &str> {
    let list = given.trim_end_matches(',');
    let is_commas_only = list.is_empty() && !given.is_empty();
    list.split(',').filter(move |_| !is_commas_only)
}

/// The records of a resource's changes, if all of them are allowed.
fn alter(context: &Context<'_>, resource: &ConfigResource, changes: Changes) -> Result<Vec<Record>, Refusal> {
    check_min_isr(context, resource, &changes)?;
    check_lengths(changes.values().flatten())?;
    let present = context.image.configs.values(resource).map(|v| Values::clone(v)).unwrap_or_default();
    let mut values = present.clone();
    for (name, value) in &changes {
        match value {
            Some(value) => values.insert(name.clone(), value.clone()),
            None => values.remove(name),
        };
    }
    catalog::check(context, resource, &values, &present)?;
    check_exists(context, resource)?;
    // A broker's configs are written even when they stay: it reloads what the value names (a key store, KAFKA-14136).
    let is_broker = resource.kind == ResourceType::BROKER;
    let changes: Changes =
        changes.into_iter().filter(|(name, new)| is_broker || present.get(name) != new.as_ref()).collect();
    let mut records: Vec<Record> =
        changes.iter().map(|(name, value)| record(resource, name, value.clone())).collect();
    if context.image.features.eligible_leader_replicas() && changes.contains_key(MIN_INSYNC_REPLICAS) {
        // Who was eligible under the former number may not be under the new one.
        let topic_name =
            if resource.kind == ResourceType::TOPIC { resource.name.clone() } else { Str::default() };
        records.push(Record::from(ClearElrRecord { topic_name, ..Default::default() }));
    }
    Ok(records)
}

fn record(resource: &ConfigResource, name: &Str, value: Option<Str>) -> Record {
    Record::from(ConfigRecord {
        resource_type: resource.kind.0,
        resource_name: resource.name.clone(),
        name: name.clone(),
        value,
        ..Default::default()
    })
}

/// With ELR, all must agree on `min.insync.replicas`: the cluster has one, and brokers none of their own.
fn check_min_isr(context: &Context<'_>, resource: &ConfigResource, changes: &Changes) -> Result<(), Refusal> {
    let Some(change) =
        changes.get(MIN_INSYNC_REPLICAS).filter(|_| context.image.features.eligible_leader_replicas())
    else {
        return Ok(());
    };
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidConfig, message));
    match resource {
        ConfigResource { kind: ResourceType::BROKER, name } if !name.is_empty() && change.is_some() => {
            invalid("Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
        }
        ConfigResource { kind: ResourceType::BROKER, name } if name.is_empty() && change.is_none() => {
            invalid("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
        }
        _ => Ok(()),
    }
}

fn check_exists(context: &Context<'_>, resource: &ConfigResource) -> Result<(), Refusal> {
    let name = &resource.name;
    match resource.kind {
        ResourceType::TOPIC if context.image.topics.id(name).is_none() => {
            let message = format!("The topic '{name}' does not exist.");
            Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message))
        }
        ResourceType::BROKER if !name.is_empty() => {
            let invalid = |_| Refusal::new(ErrorCode::InvalidRequest, format!("Invalid broker name {name}"));
            let id: i32 = name.parse().map_err(invalid)?;
            let cluster = &context.image.cluster;
            let known = cluster.broker(id).is_some()
                || cluster.controller(id).is_some()
                || id == context.settings.node_id;
            // A broker of Kafka takes no id but its own before its controller is asked; both are one here.
            let message = format!("No node with id {id} found.");
            if known { Ok(()) } else { Err(Refusal::new(ErrorCode::InvalidRequest, message)) }
        }
        _ => Ok(()),
    }
}

/// Takes `min.insync.replicas` back from every single broker, as ELR wants it.
pub(super) fn without_broker_min_isr(context: &Context<'_>) -> Vec<Record> {
    let brokers = context.image.configs.iter().filter(|(resource, values)| {
        resource.kind == ResourceType::BROKER
            && !resource.name.is_empty()
            && values.contains_key(MIN_INSYNC_REPLICAS)
    });
    brokers.map(|(resource, _)| record(resource, &Str::from_static(MIN_INSYNC_REPLICAS), None)).collect()
}
