//! Brokers come, live, leave and vanish.
#![allow(clippy::unwrap_used)]

use super::*;
use protocol::ErrorCode::*;

fn state(world: &World, topic: &str) -> (i32, Vec<i32>, Vec<i32>, i32) {
    let p = world.partition(topic, 0);
    (p.leader, p.isr.clone(), p.elr.clone(), p.leader_epoch)
}

#[test]
fn a_brokers_epoch_is_the_offset_of_its_record_and_it_starts_fenced() {
    let mut world = World::new();
    let end = world.image.end_offset;
    world.register(1, true);
    assert_eq!((world.broker(1).epoch, world.broker(1).fenced), (end, true));
    let again = BrokerHeartbeatRequest { current_metadata_offset: end - 1, ..world.heartbeat_of(1) };
    assert_eq!(world.heartbeat(&again, IDLE), BrokerState::Fenced, "it has not read its own registration");
    let wants = BrokerHeartbeatRequest { want_fence: true, ..world.heartbeat_of(1) };
    assert_eq!(world.heartbeat(&wants, IDLE), BrokerState::Fenced);
    assert_eq!(world.heartbeat(&world.heartbeat_of(1), IDLE), BrokerState::Active);
    assert!(!world.broker(1).fenced);
}

#[test]
fn another_incarnation_is_refused_while_the_former_is_heard_of() {
    let mut world = World::new().with_brokers(1);
    let request = world.registration(1, 5, -1);
    let refused = register_broker(&world.context(), &request, true).map(|d| d.answer);
    assert_eq!(refusal(refused).0, DuplicateBrokerRegistration);
    let same =
        BrokerRegistrationRequest { incarnation_id: world.broker(1).incarnation_id, ..request.clone() };
    let epoch = world.broker(1).epoch;
    let amended = register_broker(&world.context(), &same, true).unwrap();
    assert_eq!(amended.answer.broker_epoch, epoch);
    world.apply(&amended.records);
    assert!(!world.broker(1).fenced, "an amended registration stays as it stands");
    assert!(register_broker(&world.context(), &request, false).is_ok());
}

#[test]
fn registrations_that_do_not_fit_are_refused() {
    let world = World::new().with_brokers(1);
    let good = world.registration(2, 5, -1);
    let try_one = |request: BrokerRegistrationRequest| {
        register_broker(&world.context(), &request, false).map(|d| d.answer)
    };
    assert!(try_one(good.clone()).is_ok());
    let cluster = BrokerRegistrationRequest { cluster_id: Str::from("other"), ..good.clone() };
    assert_eq!(
        refusal(try_one(cluster)),
        (InconsistentClusterId, "Expected cluster ID c, but got cluster ID other".to_owned())
    );
    let dirs = |log_dirs: Vec<Uuid>| refusal(try_one(BrokerRegistrationRequest { log_dirs, ..good.clone() }));
    let invalid = |message: &str| (InvalidRegistration, message.to_owned());
    assert_eq!(dirs(vec![]), invalid("No directories specified in request"));
    assert_eq!(dirs(vec![Uuid(1)]), invalid("Reserved directory ID in request"));
    assert_eq!(dirs(vec![Uuid(500), Uuid(500)]), invalid("Duplicate directory ID in request"));
    let message = format!("Broker 1 is already registered with directory {}", Uuid(5_001));
    assert_eq!(dirs(vec![Uuid(5_001)]), invalid(&message));
    let features =
        |features: Vec<Feature>| refusal(try_one(BrokerRegistrationRequest { features, ..good.clone() }));
    assert_eq!(features(vec![]), invalid("Request features do not contain 'metadata.version'"));
    let old = good.features.iter().cloned().map(|f| match f {
        f if f.name == *METADATA_VERSION => Feature { max_supported_version: 29, ..f },
        f => f,
    });
    let message = "Unable to register because the broker does not support finalized version 30 of metadata.version. The \
                   broker wants a version between 7 and 29, inclusive.";
    assert_eq!(features(old.collect()), (UnsupportedVersion, message.to_owned()));
    let without = good.features.iter().filter(|f| f.name != *WEIR_VERSION).cloned();
    assert_eq!(
        features(without.collect()).0,
        UnsupportedVersion,
        "a plain Kafka broker does not know weir.version"
    );
}

#[test]
fn fencing_moves_leaders_within_the_isr() {
    let mut world = World::new().with_brokers(3);
    world.create("t", &[&[1, 2, 3]]);
    world.fence(1);
    assert_eq!(state(&world, "t"), (2, vec![2, 3], vec![], 1));
    world.fence(3);
    assert_eq!(state(&world, "t"), (2, vec![2], vec![], 1), "a follower's loss needs no new leader epoch");
    world.fence(2);
    assert_eq!(state(&world, "t"), (-1, vec![], vec![2], 2), "the last one stays eligible");
    world.fence(2);
    assert_eq!(world.partition("t", 0).partition_epoch, 3, "fencing a fenced broker changes nothing");
    world.start(3);
    assert_eq!(state(&world, "t").0, -1, "who is not eligible does not lead");
    world.start(2);
    assert_eq!(state(&world, "t"), (2, vec![2], vec![], 3));
    assert_eq!(world.partition("t", 0).leader_recovery_state, metadata::LeaderRecoveryState::Recovered);
}

#[test]
fn without_elr_the_last_one_stays_in_the_isr() {
    let mut world = World::without_elr().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.fence(2);
    world.fence(1);
    assert_eq!(state(&world, "t"), (-1, vec![1], vec![], 1));
    world.start(2);
    assert_eq!(state(&world, "t"), (-1, vec![1], vec![], 1));
    world.register(1, false);
    assert_eq!(state(&world, "t").0, -1);
    world.heartbeat(&world.heartbeat_of(1), IDLE);
    assert_eq!(state(&world, "t"), (1, vec![1], vec![], 2));
}

#[test]
fn below_min_isr_who_leaves_stays_eligible() {
    let mut world = World::new().with_brokers(3);
    world.create("t", &[&[1, 2, 3]]);
    assert_eq!(world.set_config(2, "t", "min.insync.replicas", "2"), 0);
    world.fence(3);
    assert_eq!(state(&world, "t").2, Vec::<i32>::new());
    world.fence(2);
    assert_eq!(state(&world, "t"), (1, vec![1], vec![2], 0));
    world.fence(1);
    assert_eq!(state(&world, "t"), (-1, vec![], vec![1, 2], 1));
    world.start(2);
    assert_eq!(
        state(&world, "t"),
        (2, vec![2], vec![1], 2),
        "an eligible replica has all that was acknowledged"
    );
    world.register(1, false);
    assert_eq!(state(&world, "t"), (2, vec![2], vec![], 2), "an unclean stop may have lost records");
}

#[test]
fn an_unclean_stop_leaves_every_isr_before_the_broker_is_back() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.register(1, false);
    assert_eq!(state(&world, "t"), (2, vec![2], vec![], 1));
    assert!(world.broker(1).fenced);
}

#[test]
fn a_clean_stop_keeps_a_lone_replica_eligible() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    world.register(1, true);
    assert_eq!(state(&world, "t"), (-1, vec![], vec![1], 1));
    world.heartbeat(&world.heartbeat_of(1), IDLE);
    assert_eq!(state(&world, "t"), (1, vec![1], vec![], 2));
    assert_eq!(world.partition("t", 0).leader_recovery_state, metadata::LeaderRecoveryState::Recovered);
}

#[test]
fn a_lone_replica_leads_again_after_an_unclean_stop_but_as_recovering() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    world.register(1, false);
    assert_eq!(
        (state(&world, "t"), world.partition("t", 0).last_known_elr.clone()),
        ((-1, vec![], vec![], 1), vec![1])
    );
    world.heartbeat(&world.heartbeat_of(1), IDLE);
    assert_eq!(state(&world, "t"), (1, vec![1], vec![], 2));
    assert_eq!(world.partition("t", 0).leader_recovery_state, metadata::LeaderRecoveryState::Recovering);
}

#[test]
fn a_controlled_shutdown_moves_leaders_first() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    let wants = |world: &World| BrokerHeartbeatRequest { want_shut_down: true, ..world.heartbeat_of(1) };
    let request = wants(&world);
    assert_eq!(world.heartbeat(&request, IDLE), BrokerState::ControlledShutdown);
    assert!(world.broker(1).in_controlled_shutdown && !world.broker(1).fenced);
    assert_eq!(state(&world, "t"), (2, vec![2], vec![], 1));
    let begun = world.image.end_offset - 1;
    let facts =
        |lowest| HeartbeatFacts { controlled_shutdown_offset: Some(begun), lowest_active_offset: lowest };
    assert_eq!(world.heartbeat(&request, facts(Some(begun - 1))), BrokerState::ControlledShutdown);
    assert_eq!(
        world.heartbeat(&request, IDLE),
        BrokerState::ControlledShutdown,
        "a new controller waits anew"
    );
    assert_eq!(world.heartbeat(&request, facts(Some(begun))), BrokerState::ShutdownNow);
    assert!(world.broker(1).fenced);
    let fenced = wants(&world);
    assert_eq!(world.heartbeat(&fenced, IDLE), BrokerState::ShutdownNow);
}

#[test]
fn a_broker_that_leads_nothing_may_go_at_once() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    let request = BrokerHeartbeatRequest { want_shut_down: true, ..world.heartbeat_of(2) };
    assert_eq!(world.heartbeat(&request, IDLE), BrokerState::ShutdownNow);
    assert_eq!(state(&world, "t"), (1, vec![1], vec![], 0));
}

#[test]
fn the_last_replica_cannot_be_moved_and_becomes_leaderless_on_shutdown() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    let request = BrokerHeartbeatRequest { want_shut_down: true, ..world.heartbeat_of(1) };
    assert_eq!(world.heartbeat(&request, IDLE), BrokerState::ControlledShutdown);
    assert_eq!(state(&world, "t"), (-1, vec![], vec![1], 1));
    let facts = HeartbeatFacts {
        controlled_shutdown_offset: Some(world.image.end_offset - 1),
        lowest_active_offset: Option::None,
    };
    assert_eq!(world.heartbeat(&request, facts), BrokerState::ShutdownNow);
}

#[test]
fn a_ghost_is_told_that_its_epoch_is_stale() {
    let mut world = World::new().with_brokers(1);
    let ghost = world.heartbeat_of(1);
    world.register(1, true);
    let new = world.broker(1).epoch;
    let message = format!("Expected broker epoch {new}, but got broker epoch {}", ghost.broker_epoch);
    let refused = heartbeat(&world.context(), &ghost, IDLE).map(|d| d.answer);
    assert_eq!(refusal(refused), (StaleBrokerEpoch, message));
    let unknown = BrokerHeartbeatRequest { broker_id: 9, ..ghost };
    let refused = heartbeat(&world.context(), &unknown, IDLE).map(|d| d.answer);
    assert_eq!(
        refusal(refused),
        (StaleBrokerEpoch, "No broker registration found for broker id 9".to_owned())
    );
}

#[test]
fn an_unregistered_broker_is_in_no_isr_or_elr() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    let decision = unregister_broker(&world.context(), 1).unwrap();
    world.apply(&decision.records);
    assert_eq!(state(&world, "t"), (2, vec![2], vec![], 1));
    assert_eq!(world.partition("t", 0).replicas, [1, 2]);
    let refused = unregister_broker(&world.context(), 1).map(|d| d.answer);
    assert_eq!(
        refusal(refused),
        (BrokerIdNotRegistered, "Broker ID 1 is not currently registered".to_owned())
    );
}

#[test]
fn a_failed_log_directory_takes_its_replicas_out() {
    let mut world = World::new().with_brokers(2);
    let request = BrokerRegistrationRequest {
        log_dirs: vec![Uuid(5_001), Uuid(6_001)],
        ..world.registration(1, 3, -1)
    };
    let decision = register_broker(&world.context(), &request, false).unwrap();
    world.apply(&decision.records);
    world.heartbeat(&world.heartbeat_of(1), IDLE);
    world.create("t", &[&[1, 2]]);
    world.create("u", &[&[1, 2]]);
    assert_eq!(world.partition("t", 0).directories[0], Uuid::DIRECTORY_UNASSIGNED);
    partitions::assign(&mut world, 1, "t", Uuid(6_001));
    partitions::assign(&mut world, 1, "u", Uuid(5_001));
    let failed = BrokerHeartbeatRequest { offline_log_dirs: vec![Uuid(6_001)], ..world.heartbeat_of(1) };
    assert_eq!(world.heartbeat(&failed, IDLE), BrokerState::Active);
    assert_eq!(world.broker(1).log_dirs, [Uuid(5_001)]);
    assert_eq!(state(&world, "t").0, 2);
    assert_eq!(state(&world, "u").0, 1);
    let before = world.image.end_offset;
    world.heartbeat(&BrokerHeartbeatRequest { broker_epoch: world.broker(1).epoch, ..failed }, IDLE);
    assert_eq!(world.image.end_offset, before, "telling it again changes nothing");
}

#[test]
fn cordoned_directories_take_no_new_replicas() {
    let mut world = World::new().with_brokers(2);
    let cordoned =
        BrokerHeartbeatRequest { cordoned_log_dirs: Some(vec![Uuid(5_001)]), ..world.heartbeat_of(1) };
    world.heartbeat(&cordoned, IDLE);
    assert_eq!(world.broker(1).cordoned_log_dirs, Some(vec![Uuid(5_001)]));
    let topic = CreatableTopic {
        name: Str::from("t"),
        num_partitions: 9,
        replication_factor: 1,
        ..Default::default()
    };
    world.create_topics(&CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    assert!((0..9).all(|index| world.partition("t", index).replicas == [2]));
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut world = World::new().with_brokers(2);
    let mut next = 0;
    for id in [1, 2, 1] {
        let epoch = world.broker(id).epoch;
        let request = protocol::messages::AllocateProducerIdsRequest { broker_id: id, broker_epoch: epoch };
        let decision = allocate_producer_ids(&world.context(), &request).unwrap();
        assert_eq!((decision.answer.producer_id_start, decision.answer.producer_id_len), (next, 1000));
        world.apply(&decision.records);
        next += 1000;
    }
    let ghost = protocol::messages::AllocateProducerIdsRequest { broker_id: 1, broker_epoch: 0 };
    assert_eq!(
        refusal(allocate_producer_ids(&world.context(), &ghost).map(|d| d.answer)).0,
        StaleBrokerEpoch
    );
}
