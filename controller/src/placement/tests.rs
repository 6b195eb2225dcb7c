//! Where replicas go.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    }
}

fn placed(
    brokers: &[UsableBroker],
    partitions: usize,
    factor: i16,
    seed: u64,
) -> Result<Vec<Vec<i32>>, Error> {
    let mut next = random(seed);
    place(brokers, partitions, factor, &mut Random(&mut next))
}

fn broker(id: i32, rack: Option<&str>, fenced: bool) -> UsableBroker {
    UsableBroker { id, rack: rack.map(Str::from), fenced }
}

#[test]
fn leaders_and_followers_are_even_without_racks() {
    let brokers: Vec<_> = (0..5).map(|id| broker(id, None, false)).collect();
    for seed in 0..20 {
        let partitions = placed(&brokers, 50, 3, seed).unwrap();
        for id in 0..5 {
            let led = partitions.iter().filter(|replicas| replicas[0] == id).count();
            assert_eq!(led, 10, "seed {seed}");
            assert_eq!(partitions.iter().filter(|replicas| replicas.contains(&id)).count(), 30);
        }
    }
}

#[test]
fn replicas_stand_in_as_many_racks_as_there_are() {
    let racks = ["a", "a", "a", "b", "b", "c"];
    let brokers: Vec<_> = (0..).zip(racks).map(|(id, rack)| broker(id, Some(rack), false)).collect();
    for seed in 0..50 {
        for replicas in placed(&brokers, 30, 3, seed).unwrap() {
            let used: BTreeSet<&str> = replicas.iter().map(|id| racks[*id as usize]).collect();
            assert_eq!(used.len(), 3, "seed {seed}: {replicas:?}");
        }
    }
}

#[test]
fn any_cluster_gets_distinct_replicas_and_a_live_leader() {
    let mut dice = random(9);
    for round in 0..3_000 {
        let count = 1 + dice() % 8;
        let brokers: Vec<_> = (0..count as i32)
            .map(|id| {
                broker(id, [None, Some("a"), Some("b")][(dice() % 3) as usize], dice().is_multiple_of(3))
            })
            .collect();
        let factor = 1 + (dice() % count) as i16;
        let live: Vec<i32> = brokers.iter().filter(|b| !b.fenced).map(|b| b.id).collect();
        match placed(&brokers, 40, factor, round) {
            Err(error) => assert_eq!((error, live.is_empty()), (Error::NobodyLive, true)),
            Ok(partitions) => {
                for replicas in partitions {
                    assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor as usize);
                    assert!(live.contains(&replicas[0]), "round {round}");
                }
            }
        }
    }
}

#[test]
fn fenced_brokers_are_taken_only_when_needed() {
    let brokers: Vec<_> = (0..4).map(|id| broker(id, None, id == 3)).collect();
    assert!(placed(&brokers, 20, 3, 1).unwrap().iter().all(|replicas| !replicas.contains(&3)));
    assert!(
        placed(&brokers, 20, 4, 1).unwrap().iter().all(|replicas| replicas.contains(&3) && replicas[0] != 3)
    );
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let brokers = [broker(1, None, false), broker(2, None, true)];
    assert_eq!(placed(&brokers, 1, 0, 1), Err(Error::NotPositive(0)));
    assert_eq!(placed(&brokers, 1, -1, 1), Err(Error::NotPositive(-1)));
    assert_eq!(placed(&brokers, 1, 3, 1), Err(Error::TooFewBrokers { wanted: 3, present: 2 }));
    assert_eq!(placed(&brokers[1..], 1, 1, 1), Err(Error::NobodyLive));
    assert_eq!(placed(&[], 1, 1, 1), Err(Error::NobodyLive));
}

#[test]
fn the_same_randomness_places_the_same() {
    let brokers: Vec<_> = (0..7).map(|id| broker(id, Some(["a", "b"][id as usize % 2]), false)).collect();
    assert_eq!(placed(&brokers, 30, 3, 5), placed(&brokers, 30, 3, 5));
    let starts: BTreeSet<i32> = (0..40).map(|seed| placed(&brokers, 1, 1, seed).unwrap()[0][0]).collect();
    assert!(starts.len() > 3, "small topics do not all start at one broker: {starts:?}");
}
