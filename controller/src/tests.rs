//! Controllers in the simulated world: elections, crashes, pauses, partitions, by seed.
//!
//! Checked all the time, on every node: one active controller in an epoch, equal images at equal offsets, offsets that only
//! grow within a life. Checked at the end, when everything has healed: everything acknowledged is there, and work goes on.
#![allow(clippy::unwrap_used)]

mod brokers;
mod chaos;
mod cluster;
mod voters;

use std::time::Duration;

use chaos::Chaos;
use cluster::Cluster;
use host::sim::{CrashKind, World};

const LIMIT: Duration = Duration::from_secs(120);

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    match number("WEIR_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("WEIR_SIM_SEEDS").unwrap_or(default)).collect(),
    }
}

#[test]
fn sim_a_sole_voter_founds_its_quorum_and_keeps_what_it_acknowledged_through_power_cuts() {
    for seed in seeds(30) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 1);
        cluster.start_all(&world);
        for round in 0..4 {
            cluster.create_topics(&world, 5);
            let kind = if round % 2 == 0 { CrashKind::Power } else { CrashKind::Process };
            cluster.crash(0, kind);
            cluster.start(&world, 0);
        }
        cluster.create_topics(&world, 1);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_three_voters_elect_one_and_another_when_it_dies() {
    for seed in seeds(20) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        let first = cluster.wait_active(&world, LIMIT);
        cluster.crash(first, CrashKind::Process);
        let before = world.now();
        let second = cluster.wait_active(&world, LIMIT);
        let took = world.now() - before;
        assert_ne!(first, second);
        assert!(took < Duration::from_millis(2_500), "seed {seed}: no active controller for {took:?}");
        cluster.create_topics(&world, 3);
        cluster.start(&world, first);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_two_of_three_without_a_quorum_acknowledge_nothing() {
    for seed in seeds(10) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        cluster.start_all(&world);
        cluster.create_topics(&world, 2);
        let active = cluster.wait_active(&world, LIMIT);
        for node in (0..3).filter(|n| *n != active) {
            cluster.crash(node, CrashKind::Power);
        }
        assert!(!cluster.try_create_topic(&world, active), "seed {seed}");
        for node in (0..3).filter(|n| *n != active) {
            cluster.start(&world, node);
        }
        cluster.create_topics(&world, 1);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_a_voter_that_lost_its_disk_has_no_vote_and_founds_nothing() {
    for seed in seeds(5) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        let gone = (seed % 3) as usize;
        cluster.crash(gone, CrashKind::Process);
        cluster.wipe(&world, gone);
        cluster.start(&world, gone);
        cluster.create_topics(&world, 2);
        let active = cluster.wait_active(&world, LIMIT);
        assert_ne!(active, gone, "seed {seed}: an empty directory must not lead");
        // It observes, and the voters are those of before.
        cluster.check_all_acknowledged(&world);
        let voters = cluster.voters(gone);
        assert_eq!(voters.len(), 3);
        assert!(!voters.contains(&cluster.id(gone)), "seed {seed}: it waits to be added");
        // Without one of the two that have a vote, nobody leads: the new directory has none.
        let other = (0..3).find(|n| *n != gone && *n != active).unwrap();
        cluster.crash(other, CrashKind::Process);
        world.run_for(Duration::from_secs(5));
        assert!(!cluster.try_create_topic(&world, active), "seed {seed}: the new directory has voted");
        cluster.start(&world, other);
        cluster.create_topics(&world, 1);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_chaos_undoes_nothing_and_ends_in_order() {
    let seeds = seeds(200);
    let acknowledged: usize = seeds.iter().map(|seed| Chaos::run(*seed).1).sum();
    assert!(
        acknowledged > 4 * seeds.len(),
        "{acknowledged} topics in {} seeds: too little happens",
        seeds.len()
    );
}

#[test]
fn sim_chaos_while_voters_come_and_go_undoes_nothing_and_ends_in_order() {
    let seeds = seeds(100);
    let (mut acknowledged, mut changed) = (0, 0);
    for seed in &seeds {
        let (_, topics, changes) = Chaos::run_with_changes(*seed);
        (acknowledged, changed) = (acknowledged + topics, changed + changes);
    }
    let count = seeds.len();
    assert!(acknowledged > 4 * count, "{acknowledged} topics in {count} seeds: too little happens");
    assert!(changed > 2 * count, "{changed} changes of voters in {count} seeds: too little happens");
}

#[test]
fn sim_the_same_seed_gives_the_same_trace() {
    for seed in seeds(2) {
        assert_eq!(Chaos::run_with_changes(seed), Chaos::run_with_changes(seed), "seed {seed}");
    }
    for seed in seeds(3) {
        let (first, second) = (Chaos::run(seed), Chaos::run(seed));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.0, Chaos::run(seed + 1000).0, "different seeds differ");
    }
}
