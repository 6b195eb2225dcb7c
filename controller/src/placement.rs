//! Where the replicas of new partitions go: Kafka's striped placement (`StripedReplicaPlacer`).
//!
//! ```text
//!  racks  A {a0 a1}  B {b0 b1}  C {c0 c1}        partition 0: a0 b0 c0
//!                                                partition 1: b1 c1 a1     each partition starts one rack further,
//!                                                partition 2: c0 a0 b0     and one broker further within each rack
//! ```
//!
//! Invariant: the replicas of a partition are distinct brokers, the first one is not fenced, and as many racks are used
//! as there can be. Fenced brokers are taken last within their rack. Where the stripe begins is random, so that small topics do not all
//! start at the first broker.

use std::collections::BTreeMap;

use metadata::Image;
use protocol::Str;

use crate::decide::Random;

/// A broker that may be given replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableBroker {
    pub id: i32,
    pub rack: Option<Str>,
    pub fenced: bool,
}

/// Why replicas cannot be placed. Both are INVALID_REPLICATION_FACTOR to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Invalid replication factor {0}: the replication factor must be positive.")]
    NotPositive(i16),
    #[error("All brokers are currently fenced, or have all their log directories cordoned.")]
    NobodyLive,
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {present} broker(s) are registered or \
         some brokers have all their log directories cordoned."
    )]
    TooFewBrokers { wanted: i16, present: usize },
}

/// The brokers of an image that may be given replicas.
pub fn usable_brokers(image: &Image) -> Vec<UsableBroker> {
    let takes = image.cluster.brokers().filter(|b| b.takes_replicas());
    takes.map(|b| UsableBroker { id: b.id, rack: b.rack.clone(), fenced: b.fenced }).collect()
}

/// Replicas for `partitions` new partitions, the preferred leader first.
pub fn place(
    brokers: &[UsableBroker],
    partitions: usize,
    replication_factor: i16,
    random: &mut Random<'_>,
) -> Result<Vec<Vec<i32>>, Error> {
    let wanted = usize::try_from(replication_factor).ok().filter(|n| *n > 0);
    let wanted = wanted.ok_or(Error::NotPositive(replication_factor))?;
    if brokers.iter().all(|b| b.fenced) {
        return Err(Error::NobodyLive);
    }
    if wanted > brokers.len() {
        return Err(Error::TooFewBrokers { wanted: replication_factor, present: brokers.len() });
    }
    let mut racks = Racks::new(brokers, random);
    Ok((0..partitions).map(|_| racks.place(wanted, random)).collect())
}

/// Brokers of a rack, handed out in a circle: each round starts one further.
#[derive(Debug, Default)]
struct Ring {
    brokers: Vec<i32>,
    start: usize,
    taken: usize,
    round: usize,
}

impl Ring {
    /// The next one of a round; None when all were given out in it. Rounds only grow.
    fn next(&mut self, round: usize) -> Option<i32> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.taken = 0;
            self.start = (self.start + 1) % self.brokers.len();
        }
        if self.taken == self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.start + self.taken) % self.brokers.len()];
        self.taken += 1;
        Some(broker)
    }
}

#[derive(Debug, Default)]
struct Rack {
    live: Ring,
    fenced: Ring,
}

struct Racks {
    racks: Vec<Rack>,
    start: usize,
    round: usize,
    mixed_at_round: usize,
    live: usize,
}

impl Racks {
    fn new(brokers: &[UsableBroker], random: &mut Random<'_>) -> Racks {
        // Brokers without a rack share one, the first.
        let mut by_name: BTreeMap<&Option<Str>, Rack> = BTreeMap::new();
        let mut sorted: Vec<&UsableBroker> = brokers.iter().collect();
        sorted.sort_by_key(|b| b.id);
        for broker in sorted {
            let rack = by_name.entry(&broker.rack).or_default();
            let ring = if broker.fenced { &mut rack.fenced } else { &mut rack.live };
            ring.brokers.push(broker.id);
        }
        let mut racks: Vec<Rack> = by_name.into_values().collect();
        for ring in
            racks.iter_mut().flat_map(|r| [&mut r.fenced, &mut r.live]).filter(|r| !r.brokers.is_empty())
        {
            ring.start = random.below(ring.brokers.len());
        }
        let start = random.below(racks.len());
        let live = brokers.iter().filter(|b| !b.fenced).count();
        Racks { racks, start, round: 0, mixed_at_round: 0, live }
    }

    fn place(&mut self, replicas: usize, random: &mut Random<'_>) -> Vec<i32> {
        // After as many partitions as there are live brokers the stripes would repeat: mix them.
        if self.round - self.mixed_at_round == self.live && self.live > 1 {
            random.shuffle(&mut self.racks);
            for ring in self.racks.iter_mut().flat_map(|r| [&mut r.live, &mut r.fenced]) {
                random.shuffle(&mut ring.brokers);
            }
            self.mixed_at_round = self.round;
        }
        let round = self.round;
        let count = self.racks.len();
        let (leader_rack, leader) = (0..count)
            .map(|step| (self.start + step) % count)
            .find_map(|at| Some((at, self.racks[at].live.next(round)?)))
            .expect("each round starts anew with a live broker in some rack");
        let mut chosen = vec![leader];
        let mut passes_leader_rack = true;
        let mut at = self.start;
        while chosen.len() < replicas {
            if at == leader_rack && passes_leader_rack {
                passes_leader_rack = false;
            } else {
                let rack = &mut self.racks[at];
                chosen.extend(rack.live.next(round).or_else(|| rack.fenced.next(round)));
            }
            at = (at + 1) % count;
        }
        self.round += 1;
        self.start = (self.start + 1) % count;
        chosen
    }
}

#[cfg(test)]
mod tests;
