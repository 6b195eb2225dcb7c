//! Config definitions against what Kafka's own say: `golden/configs.txt` is written by `import/Configs.java`.
#![allow(clippy::unwrap_used)]

use protocol::config::{
    Check, ConfigError, Configs, Definitions, Mode, Type, Value, broker_quota, client_metrics, group,
    group_default, ip, server, topic, topic_default, topic_synonyms, user,
};

const GOLDEN: &str = include_str!("golden/configs.txt");

fn kinds() -> [(&'static str, &'static Definitions); 7] {
    [
        ("server", server()),
        ("topic", topic()),
        ("group", group()),
        ("client-metrics", client_metrics()),
        ("user", user()),
        ("ip", ip()),
        ("broker-quota", broker_quota()),
    ]
}

#[test]
fn every_default_is_valid_by_its_own_definition() {
    for (kind, definitions) in kinds() {
        for definition in definitions.iter() {
            let Some(value) = definition.default_value() else { continue };
            // Empty lists of voters are Kafka's default; an empty class name means none.
            if value != Value::Null {
                assert_eq!(definition.parse(&value.to_string()), Ok(value), "{kind} {}", definition.name);
            }
        }
    }
}

#[test]
fn has_every_name_of_kafka_4_3() {
    let ours =
        |definitions: &Definitions| definitions.iter().filter(|d| !d.name.starts_with("weir.")).count();
    assert_eq!(kinds().map(|(_, definitions)| ours(definitions)), [360, 34, 17, 3, 6, 1, 3]);
}

#[test]
fn accepts_and_refuses_values_in_kafkas_words() {
    let mut seen = 0;
    for line in GOLDEN.lines() {
        let [kind, name, text, verdict, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let definition = kinds().into_iter().find(|(found, _)| *found == kind).unwrap().1.get(name).unwrap();
        match (definition.parse(text), verdict) {
            (Ok(value), "ok") => assert_eq!(value.to_string(), expected, "{line}"),
            (Err(error), "error") => {
                // Where Kafka explains a format at length, the sentence is ours.
                let own_words = matches!(
                    definition.check,
                    Check::ThrottledReplicas | Check::Voters | Check::BootstrapServers | Check::OffsetReset
                );
                if !own_words {
                    assert_eq!(error.to_string(), expected, "{line}");
                }
            }
            (found, _) => panic!("{line}: {found:?}"),
        }
        seen += 1;
    }
    assert!(seen > 900, "{seen}");
}

#[test]
fn a_password_is_not_shown_by_debug() {
    let password = server().get("ssl.key.password").unwrap();
    assert!(password.is_sensitive());
    assert_eq!(password.parse("secret"), Ok(Value::Password("secret".into())));
    let configs = Configs::parse(server(), [("ssl.key.password", "hunter2")]).unwrap();
    assert_eq!(format!("{configs:?}"), r#"{"ssl.key.password": [hidden]}"#);
}

#[test]
fn durations_of_offset_resets_are_iso_8601() {
    let reset = group().get("share.auto.offset.reset").unwrap();
    for good in ["P1D", "PT1H", "P2DT3H4M5.5S", "pt0s", "PT5M"] {
        assert!(reset.parse(&format!("by_duration:{good}")).is_ok(), "{good}");
    }
    for bad in ["", "P", "PT", "1H", "P1H", "PT1D", "PT-1H", "PT1H2", "PTH", "P1DT", "PT1S1M"] {
        assert!(reset.parse(&format!("by_duration:{bad}")).is_err(), "{bad}");
    }
}

#[test]
fn values_are_typed_and_fall_back_to_defaults() {
    let pairs =
        [("num.partitions", " 3 "), ("log.dirs", "/a, /b"), ("nonsense", "1"), ("num.partitions", "4")];
    let configs = Configs::parse(server(), pairs).unwrap();
    assert_eq!(configs.int("num.partitions"), 4);
    assert_eq!(configs.list("log.dirs"), ["/a", "/b"]);
    assert_eq!(configs.unknown(), ["nonsense"]);
    assert!(configs.is_set("log.dirs") && !configs.is_set("log.dir"));
    assert_eq!(configs.list("log.dir"), ["/tmp/kafka-logs"]);
    assert_eq!(configs.int("offsets.topic.replication.factor"), 3);
    assert_eq!(configs.long("log.flush.interval.messages"), i64::MAX);
    assert_eq!(configs.opt_long("log.retention.ms"), None);
    assert!(configs.bool("auto.create.topics.enable"));
    assert_eq!(configs.double("log.cleaner.min.cleanable.ratio"), 0.5);
    assert_eq!(configs.opt_string("broker.rack"), None);
    assert_eq!(configs.string("compression.type"), "producer");
}

#[test]
fn a_required_name_that_is_missing_is_told() {
    let mut configs = Configs::new(server());
    assert!(matches!(configs.check_required(), Err(ConfigError::Missing { .. })));
    for (name, value) in [("node.id", "1"), ("process.roles", "broker"), ("controller.listener.names", "C")] {
        configs.set(name, value).unwrap();
    }
    assert_eq!(configs.check_required(), Ok(()));
}

#[test]
fn a_value_that_is_refused_leaves_the_former_one() {
    let mut configs = Configs::parse(topic(), [("retention.ms", "5")]).unwrap();
    let error = configs.set("retention.ms", "-2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Invalid value -2 for configuration retention.ms: Value must be at least -1"
    );
    assert_eq!(configs.long("retention.ms"), 5);
}

#[test]
fn topics_follow_the_servers_configs_in_their_order_and_units() {
    let parse = |pairs: &[(&str, &str)]| Configs::parse(server(), pairs.iter().copied()).unwrap();
    let retention = |pairs: &[(&str, &str)]| topic_default(&parse(pairs), "retention.ms");
    assert_eq!(retention(&[]), Value::Long(7 * 24 * 3_600_000));
    assert_eq!(retention(&[("log.retention.hours", "2")]), Value::Long(7_200_000));
    assert_eq!(
        retention(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]),
        Value::Long(180_000)
    );
    assert_eq!(retention(&[("log.retention.minutes", "3"), ("log.retention.ms", "4")]), Value::Long(4));
    assert_eq!(retention(&[("log.retention.hours", "-1")]), Value::Long(-1));
    let flush = parse(&[("log.flush.scheduler.interval.ms", "9")]);
    assert_eq!(topic_default(&flush, "flush.ms"), Value::Long(9));
    assert_eq!(topic_default(&parse(&[]), "remote.storage.enable"), Value::Boolean(false));
}

#[test]
fn the_servers_defaults_give_every_topic_its_own_default() {
    let configs = Configs::new(server());
    for definition in topic().iter() {
        let value = topic_default(&configs, definition.name);
        assert_eq!(Some(&value), definition.default_value().as_ref(), "{}", definition.name);
        for synonym in topic_synonyms(definition.name) {
            assert!(server().get(synonym.name).is_some());
        }
    }
    for definition in group().iter() {
        assert_eq!(
            Some(group_default(&configs, definition.name)),
            definition.default_value(),
            "{}",
            definition.name
        );
    }
}

#[test]
fn dynamic_modes_are_kafkas() {
    let mode = |name: &str| server().get(name).unwrap().mode;
    assert_eq!(mode("node.id"), Mode::ReadOnly);
    assert_eq!(mode("listeners"), Mode::PerBroker);
    assert_eq!(mode("log.retention.ms"), Mode::ClusterWide);
    assert_eq!(Type::Boolean as i8, 1);
    assert_eq!(Type::Password as i8, 9);
}
