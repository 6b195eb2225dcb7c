//! The server-side assignors: pure functions from subscriptions to partitions.
//!
//! ```text
//!  range    each topic by itself, in runs: partitions with the same number of several topics go to one member
//!  uniform  as even as can be over all topics; who has something keeps it if that is even
//! ```

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Str, Uuid};

use super::member::Partitions;

/// What an assignor knows of a member.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) instance: Option<Str>,
    pub(crate) topics: BTreeSet<Uuid>,
    /// Its part of the former target.
    pub(crate) has: Partitions,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

pub(crate) type Assignment = BTreeMap<Str, Partitions>;

impl Assignor {
    pub fn named(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// `count` tells the number of partitions of a topic. Every partition of a subscribed topic goes to one member.
    pub(crate) fn assign(
        self,
        subscribers: &BTreeMap<Str, Subscriber>,
        count: &dyn Fn(Uuid) -> i32,
    ) -> Assignment {
        match self {
            Assignor::Range => range(subscribers, count),
            Assignor::Uniform => uniform(subscribers, count),
        }
    }
}

/// Static members first, by their instance, so that a restart changes nothing.
fn range(subscribers: &BTreeMap<Str, Subscriber>, count: &dyn Fn(Uuid) -> i32) -> Assignment {
    let mut order: Vec<(&Str, &Subscriber)> = subscribers.iter().collect();
    order.sort_by_key(|(id, s)| (s.instance.is_none(), s.instance.clone().unwrap_or((*id).clone())));
    let mut of_topic: BTreeMap<Uuid, i32> = BTreeMap::new();
    for (_, subscriber) in &order {
        subscriber.topics.iter().for_each(|topic| *of_topic.entry(*topic).or_default() += 1);
    }
    let mut next: BTreeMap<Uuid, (i32, i32)> = BTreeMap::new();
    let mut assignment = Assignment::new();
    for (id, subscriber) in order {
        let mut own = Partitions::new();
        for topic in &subscriber.topics {
            let (partitions, members) = (count(*topic), of_topic[topic]);
            let (start, turn) = next.entry(*topic).or_default();
            let run = partitions / members + i32::from(*turn < partitions % members);
            if run > 0 {
                own.insert(*topic, (*start..*start + run).collect());
            }
            *start += run;
            *turn += 1;
        }
        assignment.insert(id.clone(), own);
    }
    assignment
}

fn uniform(subscribers: &BTreeMap<Str, Subscriber>, count: &dyn Fn(Uuid) -> i32) -> Assignment {
    let mut former: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
    let mut readers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (index, subscriber) in subscribers.values().enumerate() {
        subscriber.topics.iter().for_each(|topic| readers.entry(*topic).or_default().push(index));
        for (topic, partitions) in
            subscriber.has.iter().filter(|(topic, _)| subscriber.topics.contains(topic))
        {
            former.extend(partitions.iter().map(|partition| ((*topic, *partition), index)));
        }
    }
    let mut board =
        Board { own: vec![Partitions::new(); subscribers.len()], loads: vec![0; subscribers.len()] };
    let mut free = Vec::new();
    for topic in readers.keys() {
        for partition in 0..count(*topic) {
            match former.get(&(*topic, partition)) {
                Some(owner) => board.give(*owner, *topic, partition),
                None => free.push((*topic, partition)),
            }
        }
    }
    // Topics that few can read come first: the others even it out.
    free.sort_by_key(|(topic, partition)| (readers[topic].len(), *topic, *partition));
    for (topic, partition) in free {
        board.give(board.least(&readers[&topic]), topic, partition);
    }
    board.balance(&readers);
    subscribers.keys().cloned().zip(board.own).collect()
}

/// Who has what while it is worked out; members go by their number.
struct Board {
    own: Vec<Partitions>,
    loads: Vec<usize>,
}

impl Board {
    fn least(&self, readers: &[usize]) -> usize {
        readers.iter().min_by_key(|member| self.loads[**member]).copied().expect("a topic here has readers")
    }

    fn give(&mut self, member: usize, topic: Uuid, partition: i32) {
        self.own[member].entry(topic).or_default().insert(partition);
        self.loads[member] += 1;
    }

    /// Takes the last partition of a topic from a member that has one.
    fn take(&mut self, member: usize, topic: Uuid) -> i32 {
        let partitions = self.own[member].get_mut(&topic).expect("it has one");
        let partition = partitions.pop_last().expect("empty sets are taken out");
        if partitions.is_empty() {
            self.own[member].remove(&topic);
        }
        self.loads[member] -= 1;
        partition
    }

    /// Moves partitions one by one from who has more to who has at least two less and can read the topic. Each move
    /// makes the sum of the squares of the loads smaller: it ends.
    fn balance(&mut self, readers: &BTreeMap<Uuid, Vec<usize>>) {
        let mut has_moved = true;
        while std::mem::take(&mut has_moved) {
            for (topic, readers) in readers {
                loop {
                    let least = self.least(readers);
                    let owners = readers.iter().filter(|member| self.own[**member].contains_key(topic));
                    let Some(most) = owners.max_by_key(|member| self.loads[**member]).copied() else { break };
                    if self.loads[most] < self.loads[least] + 2 {
                        break;
                    }
                    let partition = self.take(most, *topic);
                    self.give(least, *topic, partition);
                    has_moved = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subscriber(topics: &[u128]) -> Subscriber {
        let topics = topics.iter().map(|topic| Uuid(*topic)).collect();
        Subscriber { instance: None, topics, has: Partitions::new() }
    }

    fn all(assignment: &Assignment) -> Vec<(Uuid, i32)> {
        let of = |own: &Partitions| -> Vec<(Uuid, i32)> {
            own.iter().flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p))).collect()
        };
        let mut all: Vec<_> = assignment.values().flat_map(of).collect();
        all.sort_unstable();
        all
    }

    fn size(own: &Partitions) -> usize {
        own.values().map(BTreeSet::len).sum()
    }

    #[test]
    fn range_gives_runs_and_keeps_partitions_of_one_number_together() {
        let mut subscribers: BTreeMap<Str, Subscriber> =
            ["a", "b", "c"].into_iter().map(|id| (Str::from(id), subscriber(&[1, 2]))).collect();
        let given = Assignor::Range.assign(&subscribers, &|_| 7);
        let of_a: Partitions = [(Uuid(1), (0..3).collect()), (Uuid(2), (0..3).collect())].into();
        let of_c: Partitions = [(Uuid(1), (5..7).collect()), (Uuid(2), (5..7).collect())].into();
        assert_eq!((&given["a"], &given["c"]), (&of_a, &of_c));
        subscribers.get_mut("c").expect("c is there").instance = Some("static".into());
        let given = Assignor::Range.assign(&subscribers, &|_| 7);
        assert_eq!(given["c"], of_a, "static members come first");
    }

    #[test]
    fn uniform_moves_no_more_than_it_must() {
        let mut subscribers: BTreeMap<Str, Subscriber> =
            ["a", "b"].into_iter().map(|id| (Str::from(id), subscriber(&[1]))).collect();
        let before = Assignor::Uniform.assign(&subscribers, &|_| 12);
        for (id, own) in &before {
            subscribers.get_mut(id).expect("it was asked for").has = own.clone();
        }
        subscribers.insert("c".into(), subscriber(&[1]));
        let after = Assignor::Uniform.assign(&subscribers, &|_| 12);
        for id in ["a", "b"] {
            assert!(after[id][&Uuid(1)].is_subset(&before[id][&Uuid(1)]), "{id} got nothing new");
        }
        assert_eq!(after.values().map(size).collect::<Vec<_>>(), [4, 4, 4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_partition_goes_to_one_subscriber_and_nobody_could_take_from_somebody_richer(
            subscriptions in prop::collection::vec(prop::collection::btree_set(0..4u128, 0..4), 1..8),
            counts in prop::collection::vec(0..9i32, 4),
        ) {
            let subscribers: BTreeMap<Str, Subscriber> = subscriptions
                .iter()
                .enumerate()
                .map(|(n, topics)| (Str::from(format!("m{n}")), subscriber(&topics.iter().copied().collect::<Vec<_>>())))
                .collect();
            let count = |topic: Uuid| counts[topic.0 as usize];
            let read: BTreeSet<u128> = subscriptions.iter().flatten().copied().collect();
            let expected: Vec<_> =
                read.iter().flat_map(|t| (0..counts[*t as usize]).map(|p| (Uuid(*t), p))).collect();
            for assignor in [Assignor::Uniform, Assignor::Range] {
                let given = assignor.assign(&subscribers, &count);
                prop_assert_eq!(all(&given), expected.clone());
                for (id, own) in &given {
                    prop_assert!(own.keys().all(|topic| subscribers[id].topics.contains(topic)));
                }
            }
            let given = Assignor::Uniform.assign(&subscribers, &count);
            for (poor, reader) in &subscribers {
                for (rich, own) in &given {
                    let could = own.keys().any(|topic| reader.topics.contains(topic));
                    prop_assert!(!could || size(own) <= size(&given[poor]) + 1, "{poor} could take from {rich}");
                }
            }
        }
    }
}
