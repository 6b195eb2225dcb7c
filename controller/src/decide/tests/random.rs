//! Random operations on a small cluster: whatever is decided, the invariants hold.
#![allow(clippy::unwrap_used)]

use super::*;
use metadata::record;
use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::messages::{AlterPartitionReassignmentsRequest, DeleteTopicsRequest, ElectLeadersRequest};
use std::collections::BTreeMap;

const BROKERS: usize = 5;

type Epochs = BTreeMap<(Uuid, i32), Partition>;

#[test]
fn invariants_hold_under_random_operations() {
    for seed in 0..300 {
        run(seed, World::new());
        run(seed, World::without_elr());
        let mut old = World::without_elr();
        old.set_level(METADATA_VERSION, 7 + (seed % 24) as i16);
        run(seed, old);
    }
}

fn run(seed: u64, mut world: World) {
    world.dice = Dice(seed);
    let mut before = Epochs::new();
    for step in 0..120 {
        let at = format!("seed {seed} step {step} level {}", world.image.features.metadata_version().name());
        let records = operation(&mut world);
        let level = world.image.features.metadata_version();
        let records: Vec<Record> = records
            .iter()
            .map(|r| {
                record::decode(record::encode(r, level).unwrap_or_else(|e| panic!("{at}: {e}: {r:?}")))
                    .unwrap()
            })
            .collect();
        world.apply(&records);
        before = check(&world.image, &before, &at);
    }
    let snapshot: Vec<Record> = world.image.records().collect();
    assert_eq!(Image::from_snapshot(&snapshot, world.image.end_offset), world.image, "seed {seed}");
}

fn operation(world: &mut World) -> Vec<Record> {
    let id = 1 + world.dice.below(BROKERS) as i32;
    let registered = world.image.cluster.broker(id).is_some();
    let names: Vec<Str> = world.image.topics.iter().map(|t| t.name.clone()).collect();
    let topic = (!names.is_empty()).then(|| names[world.dice.below(names.len())].clone());
    match world.dice.below(13) {
        0 => create(world),
        1 if names.len() > 3 => {
            let request =
                DeleteTopicsRequest { topic_names: topic.into_iter().collect(), ..Default::default() };
            let access = delete_topics::TopicAccess { may_describe: &|_| true, may_delete: &|_| true };
            delete_topics(&world.context(), &request, &access).unwrap().records
        }
        2 => {
            let clean = world.dice.below(2) == 0;
            let previous = world.image.cluster.broker(id).filter(|_| clean).map_or(-1, |b| b.epoch);
            let incarnation = u128::from(world.dice.next());
            let request = world.registration(id, incarnation, previous);
            register_broker(&world.context(), &request, false).unwrap().records
        }
        3..=6 if registered => beat(world, id),
        7 if registered => fence_broker(&world.context(), id).records,
        8 if registered && world.dice.below(4) == 0 => {
            unregister_broker(&world.context(), id).unwrap().records
        }
        9 | 10 => topic.map(|topic| report(world, &topic)).unwrap_or_default(),
        11 => match world.dice.below(4) {
            0 => balance_leaders(&world.context()).records,
            1 => elect_missing_leaders(&world.context()).records,
            kind => {
                let request = ElectLeadersRequest { election_type: kind as i8 - 2, ..Default::default() };
                elect_leaders(&world.context(), &request).unwrap().records
            }
        },
        12 => topic.map(|topic| reconfigure(world, &topic)).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn create(world: &mut World) -> Vec<Record> {
    let topic = CreatableTopic {
        name: Str::from(format!("t{}", world.dice.below(8))),
        num_partitions: 1 + world.dice.below(3) as i32,
        replication_factor: 1 + world.dice.below(3) as i16,
        ..Default::default()
    };
    let mut dice = Dice(world.dice.next());
    let mut next = || dice.next();
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    create_topics(&world.context(), &request, &|_| true, &mut Random(&mut next)).unwrap().records
}

fn beat(world: &mut World, id: i32) -> Vec<Record> {
    let (want_fence, want_shut_down) = (world.dice.below(8) == 0, world.dice.below(6) == 0);
    let offline =
        world.image.features.metadata_version().has_directory_assignment() && world.dice.below(12) == 0;
    let offline_log_dirs = if offline { vec![Uuid(5_000 + id as u128)] } else { vec![] };
    let request =
        BrokerHeartbeatRequest { want_fence, want_shut_down, offline_log_dirs, ..world.heartbeat_of(id) };
    let facts = HeartbeatFacts {
        controlled_shutdown_offset: Some(world.image.end_offset - world.dice.below(3) as i64),
        lowest_active_offset: Some(world.image.end_offset - 1),
    };
    heartbeat(&world.context(), &request, facts).unwrap().records
}

/// The leader of a partition reports a random ISR: itself and some others, live or not.
fn report(world: &mut World, topic: &str) -> Vec<Record> {
    let (leader, mut data) = partitions::report(world, topic, &[]);
    if leader < 0 {
        return Vec::new();
    }
    let replicas = world.partition(topic, 0).replicas.clone();
    let isr: Vec<i32> = replicas.into_iter().filter(|id| *id == leader || world.dice.below(3) > 0).collect();
    data.new_isr_with_epochs = partitions::report(world, topic, &isr).1.new_isr_with_epochs;
    let request = protocol::messages::AlterPartitionRequest {
        broker_id: leader,
        broker_epoch: world.broker(leader).epoch,
        topics: vec![protocol::messages::alter_partition_request::TopicData {
            topic_id: world.image.topics.id(topic).unwrap(),
            partitions: vec![data],
        }],
    };
    alter_partition(&world.context(), &request, 3).unwrap().records
}

fn reconfigure(world: &mut World, topic: &str) -> Vec<Record> {
    match world.dice.below(4) {
        0 => {
            let value = ["1", "2", "3"][world.dice.below(3)];
            incremental_alter_configs(
                &world.context(),
                &configs::set(2, topic, "min.insync.replicas", Some(value)),
            )
            .records
        }
        1 => {
            let value = ["true", "false"][world.dice.below(2)];
            let request = configs::set(2, topic, "unclean.leader.election.enable", Some(value));
            incremental_alter_configs(&world.context(), &request).records
        }
        kind => {
            let target: Vec<i32> = (1..=BROKERS as i32).filter(|_| world.dice.below(2) == 0).collect();
            let replicas = (kind == 2).then_some(target);
            let partition = ReassignablePartition { partition_index: 0, replicas };
            let request = AlterPartitionReassignmentsRequest {
                topics: vec![ReassignableTopic { name: Str::from(topic), partitions: vec![partition] }],
                ..Default::default()
            };
            alter_partition_reassignments(&world.context(), &request).records
        }
    }
}

fn check(image: &Image, before: &Epochs, at: &str) -> Epochs {
    let mut now = Epochs::new();
    for topic in image.topics.iter() {
        for (index, partition) in topic.partitions.iter() {
            check_partition(image, partition, at);
            if let Some(old) = before.get(&(topic.id, *index)) {
                assert!(partition.leader_epoch >= old.leader_epoch, "{at}");
                assert!(partition.partition_epoch > old.partition_epoch || **partition == *old, "{at}");
                let same_term = partition.leader_epoch == old.leader_epoch;
                assert!(
                    !same_term || partition.leader == old.leader,
                    "one leader per epoch: {at} {old:?} {partition:?}"
                );
            }
            now.insert((topic.id, *index), Partition::clone(partition));
        }
    }
    now
}

fn check_partition(image: &Image, p: &Partition, at: &str) {
    let elr_is_on = image.features.eligible_leader_replicas();
    let distinct = |ids: &[i32]| ids.iter().collect::<std::collections::BTreeSet<_>>().len() == ids.len();
    assert!(distinct(&p.replicas) && distinct(&p.isr) && distinct(&p.elr), "{at} {p:?}");
    assert!(!p.replicas.is_empty() && p.directories.len() == p.replicas.len(), "{at} {p:?}");
    assert!(p.isr.iter().chain(&p.elr).all(|id| p.replicas.contains(id)), "{at} {p:?}");
    assert!(p.isr.iter().all(|id| !p.elr.contains(id)), "{at} {p:?}");
    assert!(p.leader == -1 || (p.isr.contains(&p.leader) && image.cluster.is_active(p.leader)), "{at} {p:?}");
    assert!(p.adding.iter().chain(&p.removing).all(|id| p.replicas.contains(id)), "{at} {p:?}");
    assert!(elr_is_on || (!p.isr.is_empty() && p.elr.is_empty()), "{at} {p:?}");
    if elr_is_on {
        assert!(
            p.isr.iter().all(|id| image.cluster.is_active(*id)),
            "who is fenced is in no ISR: {at} {p:?}"
        );
        assert!(p.leader != -1 || p.isr.is_empty(), "somebody in sync leads: {at} {p:?}");
        assert!(p.elr.iter().all(|id| image.cluster.broker(*id).is_some()), "{at} {p:?}");
    }
}
