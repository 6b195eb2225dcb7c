//! Where replicas go when they shall be on given brokers: few are copied, and the outcome is even.
//!
//! ```text
//!  t-0 [1 2]                          1. stays what may stay          t-0 [1 2]  t-1 [1 -]  t-2 [1 2]
//!  t-1 [1 4]   to brokers 1 2 3       2. gaps go to who has least     t-1 [1 3]
//!  t-2 [1 2]                          3. who has most gives to who has least
//!                                     4. leaders: order within the partitions, nothing is copied
//! ```
//! **Invariant:** a plan names different brokers, all of them given ones, and no rack twice while there are enough racks.
//! The same input gives the same plan. Kafka's own tool deals all replicas anew, and copies nearly all of them.

use std::collections::{BTreeMap, BTreeSet};

/// A broker that may have replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub id: i32,
    pub rack: Option<String>,
}

/// New replicas for each partition, given its present ones. `replication_factor`: None keeps each partition's own.
pub(super) fn plan(
    current: &[Vec<i32>],
    candidates: &[Candidate],
    replication_factor: Option<usize>,
) -> Result<Vec<Vec<i32>>, String> {
    let wanted = |replicas: &Vec<i32>| replication_factor.unwrap_or(replicas.len()).max(1);
    let most = current.iter().map(wanted).max().unwrap_or(0);
    if most > candidates.len() {
        return Err(format!(
            "{most} replicas need as many brokers, and there are {}; name more with --brokers, or fewer replicas with \
             --replication-factor",
            candidates.len()
        ));
    }
    let mut planning = Planning::new(current, candidates, wanted);
    for (at, before) in current.iter().enumerate() {
        planning.fill(at, wanted(before));
    }
    while planning.level_replicas() {}
    while planning.level_leaders() {}
    Ok(planning.replicas)
}

struct Planning<'a> {
    /// The present replicas.
    before: &'a [Vec<i32>],
    /// None: whoever has none shares a rack with nobody.
    racks: BTreeMap<i32, Option<String>>,
    rack_count: usize,
    replicas: Vec<Vec<i32>>,
    /// Replicas on each broker.
    load: BTreeMap<i32, usize>,
}

impl<'a> Planning<'a> {
    /// Begins with what may stay where it is.
    fn new(
        before: &'a [Vec<i32>],
        candidates: &[Candidate],
        wanted: impl Fn(&Vec<i32>) -> usize,
    ) -> Planning<'a> {
        let racks: BTreeMap<i32, Option<String>> =
            candidates.iter().map(|c| (c.id, c.rack.clone())).collect();
        let distinct: BTreeSet<&String> = racks.values().flatten().collect();
        let rack_count = distinct.len() + racks.values().filter(|rack| rack.is_none()).count();
        let load = racks.keys().map(|id| (*id, 0)).collect();
        let replicas = Vec::with_capacity(before.len());
        let mut planning = Planning { before, racks, rack_count, replicas, load };
        for present in before {
            let mut stays = Vec::new();
            for id in present.iter().filter(|id| planning.racks.contains_key(id)) {
                if stays.len() < wanted(present) && planning.may_join(&stays, *id, wanted(present)) {
                    stays.push(*id);
                    *planning.load.entry(*id).or_default() += 1;
                }
            }
            planning.replicas.push(stays);
        }
        planning
    }

    /// Whether a broker may stand beside others of a partition that shall have `count` replicas.
    fn may_join(&self, others: &[i32], id: i32, count: usize) -> bool {
        let rack = self.racks.get(&id).and_then(Option::as_ref);
        let shares = |other: &i32| rack.is_some() && self.racks.get(other).and_then(Option::as_ref) == rack;
        // With fewer racks than replicas some rack has two, wherever they go.
        !others.contains(&id) && (self.rack_count < count || !others.iter().any(shares))
    }

    /// Gives a partition replicas on those who have fewest, until it has `count`.
    fn fill(&mut self, at: usize, count: usize) {
        while self.replicas[at].len() < count {
            let here = &self.replicas[at];
            let in_racks = |id: &i32| self.racks.get(id).cloned().flatten();
            let crowd = |id: &i32| {
                let rack = in_racks(id);
                here.iter().filter(|other| rack.is_some() && in_racks(other) == rack).count()
            };
            let free = self.load.iter().filter(|(id, _)| !here.contains(id));
            let best = free.min_by_key(|(id, load)| (crowd(id), **load, **id)).map(|(id, _)| *id);
            let best = best.expect("there are at least as many brokers as replicas");
            self.replicas[at].push(best);
            *self.load.entry(best).or_default() += 1;
        }
    }

    /// Moves one replica from a broker that has at least two more than another. The sum of the squares of the loads falls
    /// each time, so this comes to an end.
    fn level_replicas(&mut self) -> bool {
        let mut by_load: Vec<(usize, i32)> = self.load.iter().map(|(id, load)| (*load, *id)).collect();
        by_load.sort_unstable();
        for (most, from) in by_load.iter().rev() {
            for (_, to) in by_load.iter().take_while(|(least, _)| least + 1 < *most) {
                if let Some((at, place)) = self.movable(*from, *to) {
                    self.replicas[at][place] = *to;
                    self.load.insert(*from, self.load[from] - 1);
                    self.load.insert(*to, self.load[to] + 1);
                    return true;
                }
            }
        }
        false
    }

    /// A replica that may go from one broker to another, with the least to copy: partition and place.
    fn movable(&self, from: i32, to: i32) -> Option<(usize, usize)> {
        let may_go = |(at, replicas): (usize, &Vec<i32>)| {
            let place = replicas.iter().position(|id| *id == from)?;
            let others: Vec<i32> = replicas.iter().copied().filter(|id| *id != from).collect();
            self.may_join(&others, to, replicas.len()).then_some((at, place))
        };
        // A replica that is new here has to be copied anyway; where one was before, nothing has to be.
        let copies = |(at, _): &(usize, usize)| {
            i32::from(!self.before[*at].contains(&to)) - i32::from(!self.before[*at].contains(&from))
        };
        self.replicas.iter().enumerate().filter_map(may_go).min_by_key(copies)
    }

    /// Lets another replica of a partition lead, if its broker leads at least two partitions fewer.
    fn level_leaders(&mut self) -> bool {
        let mut leads: BTreeMap<i32, usize> = self.load.keys().map(|id| (*id, 0)).collect();
        for first in self.replicas.iter().filter_map(|replicas| replicas.first()) {
            *leads.entry(*first).or_default() += 1;
        }
        let mut changed = false;
        for replicas in &mut self.replicas {
            let Some(leader) = replicas.first().copied() else { continue };
            let least = (1..replicas.len()).min_by_key(|place| (leads[&replicas[*place]], replicas[*place]));
            let Some(place) = least.filter(|place| leads[&replicas[*place]] + 1 < leads[&leader]) else {
                continue;
            };
            leads.insert(leader, leads[&leader] - 1);
            leads.insert(replicas[place], leads[&replicas[place]] + 1);
            replicas.swap(0, place);
            changed = true;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[&str]) -> Vec<Candidate> {
        let rack = |rack: &str| (!rack.is_empty()).then(|| rack.to_owned());
        racks.iter().zip(1..).map(|(name, id)| Candidate { id, rack: rack(name) }).collect()
    }

    fn copied(before: &[Vec<i32>], after: &[Vec<i32>]) -> usize {
        let new =
            |(before, after): (&Vec<i32>, &Vec<i32>)| after.iter().filter(|id| !before.contains(id)).count();
        before.iter().zip(after).map(new).sum()
    }

    fn loads(plan: &[Vec<i32>]) -> Vec<usize> {
        let mut loads: BTreeMap<i32, usize> = BTreeMap::new();
        plan.iter().flatten().for_each(|id| *loads.entry(*id).or_default() += 1);
        loads.into_values().collect()
    }

    #[test]
    fn what_is_even_already_stays_as_it_is() {
        let before = vec![vec![1, 2], vec![2, 3], vec![3, 1]];
        assert_eq!(plan(&before, &brokers(&["", "", ""]), None), Ok(before));
    }

    #[test]
    fn a_broker_that_goes_costs_its_own_replicas_and_no_others() {
        let before = vec![vec![1, 4], vec![2, 4], vec![3, 1], vec![4, 2], vec![2, 3], vec![3, 1]];
        let after = plan(&before, &brokers(&["", "", ""]), None).expect("a plan");
        assert_eq!(copied(&before, &after), 3, "{after:?}");
        assert_eq!(loads(&after), [4, 4, 4], "{after:?}");
    }

    #[test]
    fn a_broker_that_comes_takes_its_share_and_no_more() {
        let before: Vec<Vec<i32>> = (0..12).map(|n| vec![1 + n % 3, 1 + (n + 1) % 3]).collect();
        let after = plan(&before, &brokers(&["", "", "", ""]), None).expect("a plan");
        assert_eq!(loads(&after), [6, 6, 6, 6], "{after:?}");
        assert_eq!(copied(&before, &after), 6, "{after:?}");
        let leaders: Vec<Vec<i32>> = after.iter().map(|replicas| vec![replicas[0]]).collect();
        assert_eq!(loads(&leaders), [3, 3, 3, 3], "{after:?}");
    }

    #[test]
    fn replicas_are_spread_over_racks_as_far_as_there_are_some() {
        let before: Vec<Vec<i32>> = (0..8).map(|_| vec![1, 2]).collect();
        let after = plan(&before, &brokers(&["a", "a", "b", "b"]), None).expect("a plan");
        assert!(after.iter().all(|ids| (ids[0] <= 2) != (ids[1] <= 2)), "{after:?}");
        assert_eq!(loads(&after), [4, 4, 4, 4], "{after:?}");
        let three = plan(&before[..1], &brokers(&["a", "a", "b"]), Some(3)).expect("a plan");
        assert_eq!(loads(&three), [1, 1, 1], "two racks take three replicas");
    }

    #[test]
    fn the_replication_factor_grows_and_shrinks_without_moving_the_rest() {
        let before = vec![vec![1], vec![2], vec![3]];
        let after = plan(&before, &brokers(&["", "", ""]), Some(2)).expect("a plan");
        assert_eq!((copied(&before, &after), loads(&after)), (3, vec![2, 2, 2]), "{after:?}");
        let back = plan(&after, &brokers(&["", "", ""]), Some(1)).expect("a plan");
        assert_eq!((copied(&after, &back), loads(&back)), (0, vec![1, 1, 1]), "{back:?}");
        let said = plan(&before, &brokers(&["", "", ""]), Some(4)).expect_err("too many");
        assert!(said.contains("4 replicas") && said.contains("--brokers"), "{said}");
    }

    /// Whatever the start: different brokers, as many as asked, loads and leaders even.
    #[test]
    fn any_start_becomes_even() {
        let mut dice = 7_u64;
        let mut below = |n: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % n
        };
        for _ in 0..200 {
            let (count, factor) = (3 + below(5) as i32, 1 + below(3) as usize);
            let before: Vec<Vec<i32>> = (0..1 + below(30))
                .map(|_| {
                    let first = below(9) as i32;
                    (0..factor as i32).map(|n| 1 + (first + n) % 9).collect()
                })
                .collect();
            let candidates: Vec<Candidate> = (1..=count).map(|id| Candidate { id, rack: None }).collect();
            let after = plan(&before, &candidates, None).expect("a plan");
            let mut load = vec![0_usize; count as usize];
            for replicas in &after {
                let distinct: BTreeSet<&i32> = replicas.iter().collect();
                assert_eq!((distinct.len(), replicas.len()), (factor, factor), "{before:?} {after:?}");
                replicas.iter().for_each(|id| load[*id as usize - 1] += 1);
            }
            let (least, most) = (load.iter().min(), load.iter().max());
            assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "{count} {before:?} {after:?}");
        }
    }
}
