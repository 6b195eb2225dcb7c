//! Groups under faults, by seed: a classic group, a consumer group (KIP-848), and one whose members change their protocol.
//!
//! `WEIR_SIM_SEED` replays one seed, `WEIR_SIM_SEEDS` says how many are tried (200).
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::time::Duration;

use host::Host;
use host::sim::CrashKind;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::{CreateTopicsRequest, FindCoordinatorRequest, MetadataRequest};
use protocol::{ErrorCode, Str, Uuid};
use tests::group_sim::invariants::every_group_settles;
use tests::group_sim::ledger::Ledger;
use tests::group_sim::member::{self, Protocol, Running};
use tests::group_sim::{BROKER, GROUP, GroupWorld, PARTITIONS, TOPIC};
use wire::client::{NodeOptions, Pool};

const SECOND: Duration = Duration::from_secs(1);
/// A run that takes longer in virtual time is stuck.
const LIMIT: Duration = Duration::from_secs(300);
const MEMBERS: usize = 3;

/// Creates the topic and the internal one; the topic's id.
async fn prepare(pool: Pool, host: Host) -> Uuid {
    loop {
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: PARTITIONS,
            replication_factor: 1,
            ..Default::default()
        };
        let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, ..Default::default() };
        drop(pool.node(BROKER).call(&create).await);
        let keys: Vec<Str> = vec![GROUP.into()];
        let find = FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() };
        let found = pool.node(BROKER).call(&find).await.is_ok_and(|answer| {
            answer.coordinators.first().is_some_and(|c| c.error_code == ErrorCode::None.code())
        });
        let wanted = protocol::messages::metadata_request::MetadataRequestTopic {
            name: Some(TOPIC.into()),
            ..Default::default()
        };
        let asked = MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let told = pool.node(BROKER).call(&asked).await.ok().and_then(|told| told.topics.into_iter().next());
        if let Some(topic) = told.filter(|topic| found && topic.error_code == 0) {
            return topic.topic_id;
        }
        host.clock().sleep(SECOND / 10).await;
    }
}

/// What happens to the broker, and to the members.
fn fault(world: &GroupWorld, kinds: &[u64], restart: &mut dyn FnMut(u64)) {
    let millis = |max: u64| Duration::from_millis(world.world.random() % max);
    world.world.run_for(millis(3000));
    match kinds[(world.world.random() % kinds.len() as u64) as usize] {
        kind @ (0 | 1) => {
            world.broker.crash(if kind == 0 { CrashKind::Process } else { CrashKind::Power });
            world.world.run_for(millis(3000));
            world.broker.restart();
            world.run_broker();
        }
        2 => {
            world.broker.pause();
            world.world.run_for(millis(8000));
            world.broker.resume();
        }
        3 => {
            world.world.set_latency(millis(50), Duration::from_millis(50) + millis(400));
            world.world.run_for(millis(6000));
            world.world.set_latency(Duration::from_micros(100), Duration::from_millis(1));
        }
        4 => {
            world.world.partition(world.world.driver(), &world.broker);
            world.world.run_for(millis(9000));
            world.world.heal_all();
        }
        _ => restart(world.world.random()),
    }
}

const PROCESS: u64 = 0;
const POWER: u64 = 1;
const ALL: [u64; 7] = [PROCESS, POWER, 2, 3, 4, 5, 5];

/// Runs a seed; what was broken.
fn run(seed: u64, is_durable: bool, kinds: &[u64]) -> Vec<String> {
    let world = GroupWorld::start(seed, is_durable);
    let host = world.world.host();
    let options =
        NodeOptions { request_timeout: 2 * SECOND, connect_timeout: SECOND, ..NodeOptions::default() };
    let pool = Pool::new(&host, options);
    let topic_id =
        world.world.block_on(LIMIT, prepare(pool.clone(), host.clone())).expect("a healthy broker answers");
    let ledger = Ledger::default();
    // The third kind of run is that of groups whose members change their protocol.
    let (first, is_mixed) = match seed % 3 {
        0 => (Protocol::Classic, false),
        1 => (Protocol::Newer, false),
        _ => (Protocol::Classic, true),
    };
    let mut names = 0;
    let mut start = |protocol| {
        names += 1;
        member::start(&format!("m{names}"), protocol, &host, &ledger, topic_id, !is_mixed)
    };
    let mut members: Vec<Running> = (0..MEMBERS).map(|_| start(first)).collect();
    for _ in 0..5 {
        fault(&world, kinds, &mut |random| {
            let place = (random % MEMBERS as u64) as usize;
            members[place].stop();
            let other = match members[place].protocol {
                Protocol::Classic => Protocol::Newer,
                Protocol::Newer => Protocol::Classic,
            };
            members[place] = start(if is_mixed { other } else { first });
        });
    }
    let (watched, clock) = (ledger.clone(), host.clone());
    let settled =
        world.world.block_on(LIMIT, async move { every_group_settles::wait(&watched, &clock).await });
    let mut broken: Vec<String> = settled.expect("waiting is bounded").into_iter().collect();
    for partition in 0..PARTITIONS {
        let (pool, host, ledger) = (pool.clone(), host.clone(), ledger.clone());
        let fetched = world.world.block_on(LIMIT, async move {
            while member::fetch_committed(&pool, &host, &ledger, topic_id, partition).await.is_none() {
                host.clock().sleep(SECOND / 10).await;
            }
        });
        fetched.expect("a broker that is left alone answers");
    }
    let notes = ledger.notes();
    assert!(notes.commits > 0 && notes.gifts > 0, "nothing happened");
    broken.extend(notes.broken.clone());
    broken
}

fn seeds() -> impl Iterator<Item = u64> {
    let one = std::env::var("WEIR_SIM_SEED").ok().and_then(|s| s.parse().ok());
    let count: u64 = std::env::var("WEIR_SIM_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(200);
    one.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn sim_groups_keep_their_promises() {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| run(seed, true, &ALL));
        let Ok(broken) = outcome else { panic!("seed {seed} fails: WEIR_SIM_SEED={seed} replays it") };
        assert!(
            broken.is_empty(),
            "seed {seed} breaks promises (WEIR_SIM_SEED={seed} replays it): {broken:#?}"
        );
    }
}

/// The checker is awake: where an answer leaves before its records are on the disk, a power loss is noticed.
#[test]
fn sim_groups_that_are_answered_before_their_records_are_durable_are_found() {
    let is_found = (0..60).any(|seed| {
        let outcome = std::panic::catch_unwind(|| run(seed, false, &[POWER]));
        outcome.is_ok_and(|broken| broken.iter().any(|told| told.contains("was acknowledged")))
    });
    assert!(is_found, "sixty power losses without a sync lost nothing that was acknowledged");
}
