//! Given what a Kafka 4.3.1 controller knew, we decide what it decided.
#![allow(clippy::unwrap_used)]

use super::*;
use metadata::{Delta, record};

/// The recorded log of a Kafka node: offset and record.
fn recorded() -> Vec<(i64, Record)> {
    let lines = include_str!("../../../metadata/testdata/kafka-4.3.1.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let (offset, hex) = line.split_once(' ').unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        (offset.parse().unwrap(), record::decode(bytes.collect()).unwrap())
    };
    lines.map(parse).collect()
}

/// The cluster before the record at `offset`, and Kafka's records from there up to `end`.
fn at(offset: i64, end: i64) -> (World, Vec<Record>) {
    let mut delta = Delta::new(&Image::default());
    let mut next = Vec::new();
    for (at, record) in recorded() {
        if at < offset {
            delta.skip_offsets(at - delta.image().end_offset);
            delta.apply(&record);
        } else if at < end {
            next.push(record);
        }
    }
    delta.skip_offsets(offset - delta.image().end_offset);
    let settings = Settings { node_id: 1, cluster_id: Str::from("c"), ..Settings::default() };
    (World { image: delta.finish(), settings, dice: Dice(1) }, next)
}

#[test]
fn a_silent_broker_is_fenced_with_the_same_records() {
    let (world, kafkas) = at(3842, 3847);
    assert_eq!(fence_broker(&world.context(), 1).records, kafkas);
}

#[test]
fn an_unclean_restart_is_registered_with_the_same_records() {
    let (world, mut kafkas) = at(3850, 3855);
    let Some(Record::RegisterBroker(theirs)) = kafkas.pop() else { panic!("the registration comes last") };
    let request = world.registration(1, 9, -1);
    let mut ours = register_broker(&world.context(), &request, false).unwrap().records;
    let Some(Record::RegisterBroker(mine)) = ours.pop() else { panic!("the registration comes last") };
    assert_eq!(ours, kafkas);
    assert_eq!(
        (theirs.broker_epoch, mine.broker_epoch),
        (3850, 3854),
        "ours is the offset of the record itself"
    );
    assert_eq!((theirs.fenced, mine.fenced), (true, true));
}

#[test]
fn a_broker_that_is_back_leads_again_with_the_same_records() {
    let (world, kafkas) = at(3856, 3861);
    let decision = heartbeat(&world.context(), &world.heartbeat_of(1), IDLE).unwrap();
    assert_eq!((decision.records, decision.answer.1), (kafkas, BrokerState::Active));
}

#[test]
fn cordoned_directories_are_told_with_the_same_record() {
    let (world, kafkas) = at(3861, 3862);
    let request = BrokerHeartbeatRequest { cordoned_log_dirs: Some(vec![]), ..world.heartbeat_of(1) };
    assert_eq!(heartbeat(&world.context(), &request, IDLE).unwrap().records, kafkas);
}

#[test]
fn a_config_that_elr_depends_on_is_changed_with_the_same_records() {
    let (world, kafkas) = at(3873, 3875);
    let request = configs::set(2, "orders.eu", "min.insync.replicas", Some("2"));
    assert_eq!(incremental_alter_configs(&world.context(), &request).records, kafkas);
}

#[test]
fn a_controlled_shutdown_begins_and_ends_with_the_same_records() {
    let (mut world, kafkas) = at(3875, 3881);
    let request = BrokerHeartbeatRequest { want_shut_down: true, ..world.heartbeat_of(1) };
    let begun = heartbeat(&world.context(), &request, IDLE).unwrap();
    assert_eq!(begun.records, kafkas[..5]);
    world.apply(&begun.records);
    let facts = HeartbeatFacts { controlled_shutdown_offset: Some(3879), lowest_active_offset: None };
    assert_eq!(heartbeat(&world.context(), &request, facts).unwrap().records, kafkas[5..]);
}

#[test]
fn the_first_producer_ids_are_given_with_the_same_record() {
    let (world, kafkas) = at(3821, 3822);
    let request = protocol::messages::AllocateProducerIdsRequest { broker_id: 1, broker_epoch: 11 };
    assert_eq!(allocate_producer_ids(&world.context(), &request).unwrap().records, kafkas);
}

#[test]
fn a_new_cluster_begins_as_kafkas_but_for_our_own_level() {
    let (world, mut kafkas) = at(0, 10);
    // Kafka wraps them in a metadata transaction.
    kafkas.pop();
    kafkas.remove(0);
    let own = |record: &Record| matches!(record, Record::FeatureLevel(r) if r.name == *WEIR_VERSION);
    let ours: Vec<Record> = bootstrap_records(&world.context()).into_iter().filter(|r| !own(r)).collect();
    assert_eq!(ours, kafkas);
}

#[test]
fn a_new_topic_is_answered_with_the_same_configs() {
    let (world, _) = at(3881, 3881);
    let own = metadata::configs::Values::from([(Str::from("cleanup.policy"), Str::from("compact"))]);
    // Our own configs are answered too.
    let is_kafkas = |name: &str| !name.starts_with("weir.");
    let ours: Vec<String> = catalog::effective_topic_configs(&world.context(), &own)
        .into_iter()
        .filter(|c| is_kafkas(&c.name))
        .map(|c| format!("{} {} {}", c.name, c.value.unwrap_or_default(), c.config_source))
        .collect();
    let lines = include_str!("../../../metadata/testdata/topic-configs-4.3.1.txt").lines();
    let kafkas: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    assert_eq!(ours, kafkas);
}
