//! Dynamic configs and features.
#![allow(clippy::unwrap_used)]

use super::*;
use protocol::ErrorCode::*;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::{
    AlterConfigsRequest, IncrementalAlterConfigsRequest, UpdateFeaturesRequest, alter_configs_request,
};

/// A request that sets one config, or takes it back.
pub(super) fn set(
    kind: i8,
    resource: &str,
    name: &str,
    value: Option<&str>,
) -> IncrementalAlterConfigsRequest {
    change(kind, resource, &[(name, if value.is_some() { 0 } else { 1 }, value)])
}

fn change(kind: i8, resource: &str, changes: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let config = |(name, operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: Str::from(*name),
        config_operation: *operation,
        value: value.map(Str::from),
    };
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: Str::from(resource),
        configs: changes.iter().map(config).collect(),
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

fn alter(world: &mut World, request: &IncrementalAlterConfigsRequest) -> (ErrorCode, String) {
    let decision = incremental_alter_configs(&world.context(), request);
    world.apply(&decision.records);
    let response = &decision.answer.responses[0];
    (
        ErrorCode::from_code(response.error_code),
        response.error_message.as_deref().unwrap_or_default().to_owned(),
    )
}

fn ok() -> (ErrorCode, String) {
    (ErrorCode::None, String::new())
}

fn value(world: &World, topic: &str, name: &str) -> Option<String> {
    let resource = metadata::ConfigResource::topic(topic);
    world.image.configs.value(&resource, name).map(|v| v.to_string())
}

#[test]
fn topic_configs_are_set_and_taken_back() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    assert_eq!(alter(&mut world, &set(2, "t", "retention.ms", Some("5"))), ok());
    assert_eq!(value(&world, "t", "retention.ms").unwrap(), "5");
    let before = world.image.end_offset;
    assert_eq!(alter(&mut world, &set(2, "t", "retention.ms", Some("5"))), ok());
    assert_eq!(world.image.end_offset, before, "the same value again writes nothing");
    assert_eq!(alter(&mut world, &set(2, "t", "retention.ms", Option::None)), ok());
    assert_eq!(value(&world, "t", "retention.ms"), Option::None);
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    let cases = [
        (set(2, "u", "retention.ms", Some("1")), UnknownTopicOrPartition, "The topic 'u' does not exist."),
        (set(4, "9", "log.retention.ms", Some("1")), InvalidRequest, "No node with id 9 found."),
        (
            change(2, "t", &[("retention.ms", 0, Option::None)]),
            InvalidRequest,
            "Null value not supported for : retention.ms",
        ),
        (change(2, "t", &[("retention.ms", 9, Some("1"))]), UnknownServerError, ""),
        (set(99, "t", "retention.ms", Some("1")), InvalidRequest, "Unknown resource type 99"),
        (
            change(2, "t", &[("retention.ms", 0, Some("1")), ("retention.ms", 1, Option::None)]),
            InvalidRequest,
            "Error due to duplicate config keys",
        ),
        (
            change(2, "t", &[("retention.ms", 2, Some("1"))]),
            InvalidConfig,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            set(4, "1", "min.insync.replicas", Some("1")),
            InvalidConfig,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        ),
        (
            set(4, "", "min.insync.replicas", Option::None),
            InvalidConfig,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
    ];
    for (request, code, message) in cases {
        assert_eq!(alter(&mut world, &request), (code, message.to_owned()));
    }
    let long = "x".repeat(32_768);
    let message =
        "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.";
    let request = set(2, "t", "leader.replication.throttled.replicas", Some(&long));
    assert_eq!(alter(&mut world, &request), (InvalidConfig, message.to_owned()));
}

/// Kafka looks at the value before it looks for the topic.
#[test]
fn an_empty_entry_added_to_a_list_is_refused_for_its_value() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    for topic in ["t", "u"] {
        for entry in ["", ",compact"] {
            let (code, _) = alter(&mut world, &change(2, topic, &[("cleanup.policy", 2, Some(entry))]));
            assert_eq!(code, InvalidConfig, "{entry:?} added to that of {topic}");
        }
    }
    assert_eq!(alter(&mut world, &change(2, "t", &[("cleanup.policy", 2, Some(","))])), ok());
    assert_eq!(alter(&mut world, &change(2, "t", &[("cleanup.policy", 2, Some("compact,"))])), ok());
    assert_eq!(alter(&mut world, &change(2, "t", &[("cleanup.policy", 3, Some(""))])), ok());
    assert_eq!(value(&world, "t", "cleanup.policy").unwrap(), "delete,compact");
}

#[test]
fn the_old_request_takes_back_what_it_does_not_name() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    world.set_config(2, "t", "retention.ms", "5");
    world.set_config(2, "t", "segment.ms", "6");
    let configs = vec![alter_configs_request::AlterableConfig {
        name: Str::from("segment.ms"),
        value: Some(Str::from("7")),
    }];
    let resource_name = Str::from("t");
    let resource = alter_configs_request::AlterConfigsResource { resource_type: 2, resource_name, configs };
    let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let decision = alter_configs(&world.context(), &request);
    assert_eq!(decision.answer.responses[0].error_code, 0);
    world.apply(&decision.records);
    assert_eq!(
        (value(&world, "t", "retention.ms"), value(&world, "t", "segment.ms")),
        (Option::None, Some("7".to_owned()))
    );
}

#[test]
fn another_min_isr_makes_the_elr_void() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.set_config(2, "t", "min.insync.replicas", "2");
    world.fence(2);
    assert_eq!(world.partition("t", 0).elr, [2]);
    world.set_config(4, "", "min.insync.replicas", "2");
    assert!(world.partition("t", 0).elr.is_empty());
}

fn update(world: &World, name: &str, level: i16, upgrade_type: i8) -> Result<Vec<Record>, Refusal> {
    let feature = FeatureUpdateKey {
        feature: Str::from(name),
        max_version_level: level,
        upgrade_type,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest { feature_updates: vec![feature], ..Default::default() };
    update_features(&world.context(), &request, 2).map(|decision| decision.records)
}

#[test]
fn levels_are_raised_when_every_node_supports_them() {
    let mut world = World::without_elr().with_brokers(1);
    world.set_level(METADATA_VERSION, 22);
    world.set_level("transaction.version", 1);
    assert_eq!(update(&world, "transaction.version", 2, 1).unwrap().len(), 1);
    let refused = refusal(update(&world, "transaction.version", 3, 1));
    let message = "Invalid update version 3 for feature transaction.version. Local controller 100 only supports versions 0-2";
    assert_eq!(refused, (InvalidUpdateVersion, message.to_owned()));
    assert_eq!(refusal(update(&world, "nothing.version", 1, 1)).0, InvalidUpdateVersion);
    assert_eq!(
        refusal(update(&world, "transaction.version", 0, 1)).0,
        InvalidUpdateVersion,
        "not without saying downgrade"
    );
    assert!(update(&world, "transaction.version", 0, 2).is_ok());
    assert_eq!(
        refusal(update(&world, "transaction.version", 2, 2)).0,
        InvalidUpdateVersion,
        "that would be no downgrade"
    );
    let lonely = refusal(update(&world, ELIGIBLE_LEADER_REPLICAS_VERSION, 1, 1));
    assert!(lonely.1.contains("depends on metadata.version level 23"), "{lonely:?}");
}

#[test]
fn the_level_of_the_quorum_is_raised_without_a_metadata_record_and_never_lowered() {
    let mut world = World::new().with_brokers(1);
    assert_eq!(update(&world, "kraft.version", 1, 1), Ok(Vec::new()));
    assert_eq!(refusal(update(&world, "kraft.version", 2, 1)).0, InvalidUpdateVersion);
    world.image = world.image.with_kraft_version(1);
    let message =
        "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature.";
    assert_eq!(refusal(update(&world, "kraft.version", 0, 2)), (InvalidUpdateVersion, message.to_owned()));
}

#[test]
fn metadata_version_is_not_lowered_below_what_records_need() {
    let world = World::without_elr().with_brokers(1);
    let message = "Invalid metadata.version 29. Refusing to perform the requested downgrade because it might delete metadata \
                   information.";
    assert_eq!(refusal(update(&world, METADATA_VERSION, 29, 2)), (InvalidUpdateVersion, message.to_owned()));
    assert_eq!(refusal(update(&world, METADATA_VERSION, 31, 1)).0, InvalidUpdateVersion);
    let mut older = World::without_elr().with_brokers(1);
    older.set_level(METADATA_VERSION, 29);
    assert!(update(&older, METADATA_VERSION, 23, 2).is_ok(), "those levels have the same records");
    assert!(update(&older, METADATA_VERSION, 30, 1).is_ok());
}

#[test]
fn elr_is_switched_with_what_belongs_to_it() {
    let mut world = World::without_elr().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.set_config(4, "", "min.insync.replicas", "2");
    world.set_config(4, "1", "min.insync.replicas", "2");
    let records = update(&world, ELIGIBLE_LEADER_REPLICAS_VERSION, 1, 1).unwrap();
    world.apply(&records);
    assert!(world.image.configs.values(&metadata::ConfigResource::broker(1)).is_none());
    world.fence(2);
    assert_eq!(world.partition("t", 0).elr, [2]);
    let records = update(&world, ELIGIBLE_LEADER_REPLICAS_VERSION, 0, 2).unwrap();
    world.apply(&records);
    assert!(world.partition("t", 0).elr.is_empty());
}

#[test]
fn values_are_checked_by_their_definitions() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    let cases = [
        (
            set(2, "t", "no.such.config", Some("1")),
            InvalidConfig,
            "Unknown topic config name: no.such.config",
        ),
        (
            set(2, "t", "retention.ms", Some("soon")),
            InvalidConfig,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            change(
                2,
                "t",
                &[("min.compaction.lag.ms", 0, Some("5")), ("max.compaction.lag.ms", 0, Some("4"))],
            ),
            InvalidConfig,
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)",
        ),
        (
            set(2, "t", "remote.storage.enable", Some("true")),
            InvalidConfig,
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
        (
            set(4, "1", "log.dirs", Some("/x")),
            InvalidRequest,
            "Cannot update these configs dynamically: Set(log.dirs)",
        ),
        (set(64, "1", "x", Some("1")), InvalidRequest, "Unknown resource type 64"),
        (
            set(32, "", "consumer.session.timeout.ms", Some("1")),
            InvalidRequest,
            "Default group resources are not allowed.",
        ),
    ];
    for (request, code, message) in cases {
        assert_eq!(alter(&mut world, &request), (code, message.to_owned()));
    }
    assert_eq!(alter(&mut world, &set(4, "", "log.retention.ms", Some("9"))), ok());
    assert_eq!(alter(&mut world, &set(4, "1", "my.plugin.config", Some("9"))), ok());
}

#[test]
fn lists_grow_and_shrink_by_entries() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    let policy = |operation, entry| change(2, "t", &[("cleanup.policy", operation, Some(entry))]);
    assert_eq!(alter(&mut world, &policy(2, "compact")), ok());
    assert_eq!(value(&world, "t", "cleanup.policy").unwrap(), "delete,compact");
    assert_eq!(alter(&mut world, &policy(2, "compact")), ok());
    assert_eq!(alter(&mut world, &policy(3, "delete")), ok());
    assert_eq!(value(&world, "t", "cleanup.policy").unwrap(), "compact");
}

#[test]
fn a_new_topic_is_answered_with_what_holds_for_it_and_why() {
    let mut world = World::new().with_brokers(1);
    world.settings.properties.insert(Str::from("log.retention.hours"), Str::from("2"));
    world.settings.properties.insert(Str::from("log.segment.bytes"), Str::from("2000000"));
    world.set_config(4, "", "log.segment.bytes", "3000000");
    let config = protocol::messages::create_topics_request::CreatableTopicConfig {
        name: Str::from("cleanup.policy"),
        value: Some(Str::from("compact")),
    };
    let topic = CreatableTopic {
        name: Str::from("t"),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config],
        ..Default::default()
    };
    let answer = world.create_topics(&CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    let configs = answer.topics[0].configs.as_ref().unwrap();
    let found = |name: &str| {
        let config = configs.iter().find(|c| c.name == *name).unwrap();
        (config.value.as_deref().unwrap_or("null").to_owned(), config.config_source)
    };
    assert_eq!(found("cleanup.policy"), ("compact".into(), 1));
    assert_eq!(found("segment.bytes"), ("3000000".into(), 3));
    assert_eq!(found("retention.ms"), ("7200000".into(), 4));
    assert_eq!(found("min.insync.replicas"), ("1".into(), 3));
    assert_eq!(found("index.interval.bytes"), ("4096".into(), 5));
}
