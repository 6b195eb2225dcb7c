//! What clients of one topic did, in the order in which each of them did it, and what must not show in it.
//!
//! ```text
//!   sent -+- acknowledged (at an offset, if it is told) - must be in the log, once, there
//!         +- failed  (refused: certainly not written)   - must never be read
//!         '- nothing (unknown)                          - may be in the log, once
//!   assigned - polled, polled, polled ... each the next one of the log - revoked
//! ```
//! A value is sent once in a history, so it names its record. Events of one client stand in its order; those of different
//! clients may stand a little off, which no rule here builds upon. The members that poll are of one group.
//!
//! The rules are those of Jepsen's tests of Kafka without transactions: the log at the end takes the place of the largest
//! read, and a poll may neither skip nor go back while a partition stays assigned.

use std::collections::{BTreeMap, BTreeSet};

mod cycles;
#[cfg(test)]
mod tests;

/// A partition's log at the end, as somebody read it from its start: offsets and values.
pub type Log = Vec<(i64, String)>;

/// Something that a client did or was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Handed over to be written.
    Sent {
        producer: String,
        partition: i32,
        value: String,
    },
    /// Told to be written. No offset: it had been before, and the answer to that was lost.
    Acknowledged {
        producer: String,
        partition: i32,
        value: String,
        offset: Option<i64>,
    },
    /// Told to be refused: it is not there, and will not be.
    Failed {
        producer: String,
        partition: i32,
        value: String,
    },
    Assigned {
        consumer: String,
        partitions: Vec<i32>,
    },
    Revoked {
        consumer: String,
        partitions: Vec<i32>,
    },
    Polled {
        consumer: String,
        partition: i32,
        offset: i64,
        value: String,
    },
    /// The group is told to go on there.
    Committed {
        partition: i32,
        offset: i64,
    },
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Acknowledged or read by somebody, and not in the log at the end.
    LostWrite { partition: i32, value: String, was: &'static str },
    /// One value at several offsets.
    Duplicate { partition: i32, value: String, offsets: Vec<i64> },
    /// Several values at one offset.
    InconsistentOffsets { partition: i32, offset: i64, values: Vec<String> },
    /// In the log although its producer was told that it is not.
    RefusedRead { partition: i32, value: String },
    /// In the log of a partition to which nobody sent it.
    ForeignRead { partition: i32, value: String },
    /// A member was given an offset again, or an earlier one, without losing the partition in between.
    NonmonotonicPoll { consumer: String, partition: i32, before: i64, after: i64 },
    /// A member was not given the record that follows.
    SkippedPoll { consumer: String, partition: i32, before: i64, after: i64 },
    /// The group went on before where it had committed.
    RewoundGroup { consumer: String, partition: i32, committed: i64, polled: i64 },
    /// In the log at the end, and no member was ever given it.
    Unseen { partition: i32, offset: i64, value: String },
    /// What one producer sent to one partition stands there in another order.
    ReorderedSend { producer: String, partition: i32, first: String, second: String },
    /// The orders of logs and of producers that waited for their acknowledgements contradict each other.
    WriteCycle { values: Vec<String> },
}

/// Everything that is wrong; nothing if all is well.
pub fn check(events: &[Event], logs: &BTreeMap<i32, Log>) -> Vec<Anomaly> {
    let versions = Versions::of(events, logs);
    let mut found = versions.anomalies();
    found.extend(lost(events, logs));
    found.extend(unwanted(events, &versions));
    found.extend(polls(events, &versions));
    found.extend(unseen(events, logs));
    found.extend(reordered_sends(events, &versions));
    found.extend(cycles::check(events, &versions));
    found
}

/// What was seen at each offset of each partition, by whomever.
#[derive(Default)]
struct Versions {
    values: BTreeMap<i32, BTreeMap<i64, BTreeSet<String>>>,
    offsets: BTreeMap<(i32, String), BTreeSet<i64>>,
}

impl Versions {
    fn of(events: &[Event], logs: &BTreeMap<i32, Log>) -> Versions {
        let mut versions = Versions::default();
        for event in events {
            match event {
                Event::Acknowledged { partition, value, offset: Some(offset), .. }
                | Event::Polled { partition, value, offset, .. } => versions.add(*partition, *offset, value),
                _ => {}
            }
        }
        for (partition, log) in logs {
            log.iter().for_each(|(offset, value)| versions.add(*partition, *offset, value));
        }
        versions
    }

    fn add(&mut self, partition: i32, offset: i64, value: &str) {
        let at = self.values.entry(partition).or_default().entry(offset).or_default();
        if !at.contains(value) {
            at.insert(value.to_owned());
        }
        self.offsets.entry((partition, value.to_owned())).or_default().insert(offset);
    }

    /// Where a value stands first; None: nobody saw it.
    fn offset(&self, partition: i32, value: &str) -> Option<i64> {
        self.offsets.get(&(partition, value.to_owned())).and_then(|at| at.first()).copied()
    }

    /// The next offset at which anything was seen.
    fn next(&self, partition: i32, offset: i64) -> Option<i64> {
        self.values.get(&partition)?.range(offset + 1..).next().map(|(next, _)| *next)
    }

    fn anomalies(&self) -> Vec<Anomaly> {
        let mut found = Vec::new();
        for ((partition, value), at) in self.offsets.iter().filter(|(_, at)| at.len() > 1) {
            let offsets = at.iter().copied().collect();
            found.push(Anomaly::Duplicate { partition: *partition, value: value.clone(), offsets });
        }
        for (partition, offsets) in &self.values {
            for (offset, values) in offsets.iter().filter(|(_, values)| values.len() > 1) {
                let values = values.iter().cloned().collect();
                found.push(Anomaly::InconsistentOffsets { partition: *partition, offset: *offset, values });
            }
        }
        found
    }
}

/// What was promised to be there, and is not.
fn lost(events: &[Event], logs: &BTreeMap<i32, Log>) -> Vec<Anomaly> {
    let there: BTreeSet<(i32, &str)> = logs
        .iter()
        .flat_map(|(partition, log)| log.iter().map(|(_, value)| (*partition, value.as_str())))
        .collect();
    let mut missing: BTreeMap<(i32, &str), &'static str> = BTreeMap::new();
    for event in events {
        let (partition, value, was) = match event {
            Event::Acknowledged { partition, value, .. } => (*partition, value.as_str(), "acknowledged"),
            Event::Polled { partition, value, .. } => (*partition, value.as_str(), "read"),
            _ => continue,
        };
        if !there.contains(&(partition, value)) {
            missing.entry((partition, value)).or_insert(was);
        }
    }
    let anomaly = |((partition, value), was): ((i32, &str), _)| Anomaly::LostWrite {
        partition,
        value: value.to_owned(),
        was,
    };
    missing.into_iter().map(anomaly).collect()
}

/// What should not be there, and is.
fn unwanted(events: &[Event], versions: &Versions) -> Vec<Anomaly> {
    let (mut sent, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        match event {
            Event::Sent { partition, value, .. } => drop(sent.insert((*partition, value.clone()))),
            Event::Failed { partition, value, .. } => drop(failed.insert((*partition, value.clone()))),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for seen in versions.offsets.keys() {
        let (partition, value) = seen.clone();
        if failed.contains(seen) {
            found.push(Anomaly::RefusedRead { partition, value });
        } else if !sent.contains(seen) {
            found.push(Anomaly::ForeignRead { partition, value });
        }
    }
    found
}

/// Each member is given the log as it is, and the group never goes back behind what it committed.
fn polls(events: &[Event], versions: &Versions) -> Vec<Anomaly> {
    let mut positions: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    let mut committed: BTreeMap<i32, i64> = BTreeMap::new();
    // Where a member may begin, since it was assigned the partition.
    let mut starts: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    let mut found = Vec::new();
    for event in events {
        match event {
            Event::Assigned { consumer, partitions } => {
                for partition in partitions {
                    positions.remove(&(consumer.as_str(), *partition));
                    let start = committed.get(partition).copied().unwrap_or(0);
                    starts.insert((consumer, *partition), start);
                }
            }
            Event::Revoked { consumer, partitions } => {
                positions.retain(|(of, partition), _| of != consumer || !partitions.contains(partition));
            }
            Event::Committed { partition, offset } => {
                let highest = committed.entry(*partition).or_insert(*offset);
                *highest = (*highest).max(*offset);
            }
            Event::Polled { consumer, partition, offset, .. } => {
                let (place, partition, after) = ((consumer.as_str(), *partition), *partition, *offset);
                let consumer = consumer.clone();
                match (positions.insert(place, after), starts.remove(&place)) {
                    (Some(before), _) if after <= before => {
                        found.push(Anomaly::NonmonotonicPoll { consumer, partition, before, after });
                    }
                    (Some(before), _) if versions.next(partition, before) != Some(after) => {
                        found.push(Anomaly::SkippedPoll { consumer, partition, before, after });
                    }
                    (None, Some(committed)) if after < committed => {
                        found.push(Anomaly::RewoundGroup { consumer, partition, committed, polled: after });
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found
}

/// Nothing that is there stays unread.
fn unseen(events: &[Event], logs: &BTreeMap<i32, Log>) -> Vec<Anomaly> {
    let polled: BTreeSet<(i32, i64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Polled { partition, offset, .. } => Some((*partition, *offset)),
            _ => None,
        })
        .collect();
    let mut found = Vec::new();
    for (partition, log) in logs {
        for (offset, value) in log.iter().filter(|(offset, _)| !polled.contains(&(*partition, *offset))) {
            found.push(Anomaly::Unseen { partition: *partition, offset: *offset, value: value.clone() });
        }
    }
    found
}

/// What a producer sends to a partition stands there in its order, whether it was acknowledged or not.
fn reordered_sends(events: &[Event], versions: &Versions) -> Vec<Anomaly> {
    let mut highest: BTreeMap<(&str, i32), (i64, &str)> = BTreeMap::new();
    let mut found = Vec::new();
    for event in events {
        let Event::Sent { producer, partition, value } = event else { continue };
        let Some(offset) = versions.offset(*partition, value) else { continue };
        let before = highest.entry((producer, *partition)).or_insert((offset, value));
        if offset < before.0 {
            found.push(Anomaly::ReorderedSend {
                producer: producer.clone(),
                partition: *partition,
                first: before.1.to_owned(),
                second: value.clone(),
            });
        } else {
            *before = (offset, value);
        }
    }
    found
}
