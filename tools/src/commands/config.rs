//! `weir config`: describe, set, delete; of topics, brokers, groups and client metrics subscriptions.

use std::collections::BTreeSet;

use protocol::Str;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use serde_json::{Value, json};

use crate::cli::{ConfigCommand, EntityKind};
use crate::client::{Client, told};
use crate::output::Output;

/// Kafka's `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// The name under which all brokers are meant.
const ALL_BROKERS: &str = "default";

/// `ConfigSource.DEFAULT_CONFIG`
const DEFAULT_CONFIG: i8 = 5;

/// Runs the command and returns what it shows.
pub async fn run(client: Client, command: ConfigCommand) -> Result<Output, String> {
    match command {
        ConfigCommand::Describe { kind, name, all, configs } => {
            describe(&client, kind, name, all, &configs).await
        }
        ConfigCommand::Set { kind, name, configs, dry_run } => {
            let changes = configs.iter().map(|text| set(text)).collect::<Result<_, String>>()?;
            alter(&client, &Entity { kind, name }, changes, dry_run).await
        }
        ConfigCommand::Delete { kind, name, configs, dry_run } => {
            let change = |name: &String| alterable(name, DELETE, None);
            alter(&client, &Entity { kind, name }, configs.iter().map(change).collect(), dry_run).await
        }
    }
}

/// Something that has configs.
struct Entity {
    kind: EntityKind,
    name: String,
}

impl Entity {
    /// Kafka's `ConfigResource.Type`.
    fn resource_type(&self) -> i8 {
        type_of(self.kind)
    }

    fn resource_name(&self) -> Str {
        if self.is_all_brokers() { Str::default() } else { Str::from(self.name.as_str()) }
    }

    fn is_all_brokers(&self) -> bool {
        self.kind == EntityKind::Broker && self.name == ALL_BROKERS
    }

    /// Only a broker itself knows what its properties file says; None: any broker can be asked.
    fn broker(&self) -> Result<Option<i32>, String> {
        if self.kind != EntityKind::Broker || self.is_all_brokers() {
            return Ok(None);
        }
        let id = self.name.parse().map_err(|_| {
            format!(
                "{:?} is no broker; `weir cluster describe` shows their ids, `default` means all",
                self.name
            )
        });
        id.map(Some)
    }
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", word(self.kind), self.name)
    }
}

fn type_of(kind: EntityKind) -> i8 {
    match kind {
        EntityKind::Topic => 2,
        EntityKind::Broker => 4,
        EntityKind::ClientMetrics => 16,
        EntityKind::Group => 32,
    }
}

fn word(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Topic => "topic",
        EntityKind::Broker => "broker",
        EntityKind::ClientMetrics => "client-metrics",
        EntityKind::Group => "group",
    }
}

async fn describe(
    client: &Client,
    kind: EntityKind,
    name: Option<String>,
    all: bool,
    only: &[String],
) -> Result<Output, String> {
    let metadata = client.metadata(Some(&[])).await?; // Where the brokers are.
    let entities = match name {
        Some(name) => vec![Entity { kind, name }],
        None => {
            let brokers = metadata.brokers.iter().map(|b| b.node_id.to_string());
            every_entity(client, kind, brokers.collect()).await?
        }
    };
    let columns =
        ["entity", "name", "config", "value", "source", "type", "sensitive", "read_only", "synonyms"];
    let mut output = Output::new(&columns).only_in_json(4);
    for entity in &entities {
        let keys = (!only.is_empty()).then(|| only.iter().map(|name| Str::from(name.as_str())).collect());
        let resource = DescribeConfigsResource {
            resource_type: entity.resource_type(),
            resource_name: entity.resource_name(),
            configuration_keys: keys,
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            ..Default::default()
        };
        let answer = match entity.broker()? {
            Some(id) => client.call_broker(id, &request).await?,
            None => client.call(&request).await?,
        };
        for result in answer.results {
            if let Err(why) = told(&entity.to_string(), result.error_code, result.error_message.as_ref()) {
                output.failure(why);
                continue;
            }
            let mut configs = result.configs;
            configs.sort_by(|a, b| a.name.cmp(&b.name));
            let is_shown = |c: &&DescribeConfigsResourceResult| {
                all || !only.is_empty() || c.config_source != DEFAULT_CONFIG
            };
            for config in configs.iter().filter(is_shown) {
                output.row(row(entity, config));
            }
        }
    }
    Ok(output)
}

async fn every_entity(
    client: &Client,
    kind: EntityKind,
    mut brokers: Vec<String>,
) -> Result<Vec<Entity>, String> {
    let names: BTreeSet<String> = match kind {
        EntityKind::Topic => {
            let topics = client.metadata(None).await?.topics;
            topics.iter().filter_map(|t| t.name.as_ref().map(Str::to_string)).collect()
        }
        EntityKind::Broker => {
            brokers.push(ALL_BROKERS.to_owned());
            brokers.into_iter().collect()
        }
        EntityKind::Group | EntityKind::ClientMetrics => {
            let request =
                ListConfigResourcesRequest { resource_types: vec![type_of(kind)], ..Default::default() };
            let answer = client.call(&request).await?;
            told("the configs", answer.error_code, None)?;
            answer.config_resources.iter().map(|r| r.resource_name.to_string()).collect()
        }
    };
    Ok(names.into_iter().map(|name| Entity { kind, name }).collect())
}

fn row(entity: &Entity, config: &DescribeConfigsResourceResult) -> Vec<Value> {
    let synonym = |s: &protocol::messages::describe_configs_response::DescribeConfigsSynonym| json!({ "name": s.name.as_str(), "value": s.value.as_deref(), "source": source(s.source) });
    // Nobody is told the value of a secret, neither is the table.
    let value = if config.is_sensitive { Value::from("(secret)") } else { config.value.as_deref().into() };
    vec![
        word(entity.kind).into(),
        entity.name.as_str().into(),
        config.name.as_str().into(),
        value,
        source(config.config_source).into(),
        config_type(config.config_type).into(),
        config.is_sensitive.into(),
        config.read_only.into(),
        config.synonyms.iter().map(synonym).collect::<Vec<_>>().into(),
    ]
}

/// Kafka's `DescribeConfigsResponse.ConfigSource`.
fn source(code: i8) -> &'static str {
    match code {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        DEFAULT_CONFIG => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

/// Kafka's `DescribeConfigsResponse.ConfigType`.
fn config_type(code: i8) -> &'static str {
    match code {
        1 => "BOOLEAN",
        2 => "STRING",
        3 => "INT",
        4 => "SHORT",
        5 => "LONG",
        6 => "DOUBLE",
        7 => "LIST",
        8 => "CLASS",
        9 => "PASSWORD",
        _ => "UNKNOWN",
    }
}

/// `name=value`, `name+=item` or `name-=item`.
fn set(text: &str) -> Result<AlterableConfig, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not name=value; retention.ms=60000 would be"))?;
    let (name, operation) = match (name.strip_suffix('+'), name.strip_suffix('-')) {
        (Some(name), _) => (name, APPEND),
        (_, Some(name)) => (name, SUBTRACT),
        _ => (name, SET),
    };
    Ok(alterable(name.trim(), operation, Some(value.trim())))
}

fn alterable(name: &str, config_operation: i8, value: Option<&str>) -> AlterableConfig {
    AlterableConfig {
        name: Str::from(name),
        config_operation,
        value: value.map(Str::from),
        ..Default::default()
    }
}

async fn alter(
    client: &Client,
    entity: &Entity,
    configs: Vec<AlterableConfig>,
    dry_run: bool,
) -> Result<Output, String> {
    let mut output = Output::new(&["entity", "name", "config", "change", "value"]);
    for config in &configs {
        let change = match config.config_operation {
            SET => "set",
            DELETE => "delete",
            APPEND => "append",
            _ => "subtract",
        };
        output.row(vec![
            word(entity.kind).into(),
            entity.name.as_str().into(),
            config.name.as_str().into(),
            change.into(),
            config.value.as_deref().into(),
        ]);
    }
    let resource = AlterConfigsResource {
        resource_type: entity.resource_type(),
        resource_name: entity.resource_name(),
        configs,
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: dry_run,
        ..Default::default()
    };
    let answer = match entity.broker()? {
        Some(id) => {
            client.metadata(Some(&[])).await?;
            client.call_broker(id, &request).await?
        }
        None => client.call(&request).await?,
    };
    for result in &answer.responses {
        let what = format!("{entity} was not changed");
        told(&what, result.error_code, result.error_message.as_ref())?;
    }
    if dry_run {
        output.note("it would be accepted; nothing was changed");
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_from_its_sign() {
        let read = |text: &str| {
            set(text).map(|c| (c.name.to_string(), c.config_operation, c.value.map(|v| v.to_string())))
        };
        let some =
            |name: &str, operation, value: &str| Ok((name.to_owned(), operation, Some(value.to_owned())));
        assert_eq!(read("retention.ms=1"), some("retention.ms", SET, "1"));
        assert_eq!(read("cleanup.policy+=compact"), some("cleanup.policy", APPEND, "compact"));
        assert_eq!(read("cleanup.policy-=delete"), some("cleanup.policy", SUBTRACT, "delete"));
        assert_eq!(read("a=b=c"), some("a", SET, "b=c"), "the first sign counts");
        assert!(read("retention.ms").is_err());
    }

    #[test]
    fn all_brokers_have_no_name_on_the_wire_and_only_they() {
        let entity = |kind| Entity { kind, name: ALL_BROKERS.to_owned() };
        assert_eq!(entity(EntityKind::Broker).resource_name(), "");
        assert_eq!(entity(EntityKind::Topic).resource_name(), "default");
        assert!(Entity { kind: EntityKind::Broker, name: "one".to_owned() }.broker().is_err());
    }
}
