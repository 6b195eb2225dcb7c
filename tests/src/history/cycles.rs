//! Cycles among writes: a log says that one record came before another, a producer that waited says the opposite.
//!
//! ```text
//!   partition 0:   b2 ---> a1        producer a: a1 acknowledged, then a2 sent
//!                  ^        |        producer b: b1 acknowledged, then b2 sent
//!   partition 1:   b1 <--- a2
//! ```
//! No single partition shows it: each log is in its producers' order. Time would have to run in a circle all the same.

use std::collections::BTreeMap;

use super::{Anomaly, Event, Versions};

/// A write: its partition and offset.
type Write = (i32, i64);

/// Of the writes that depend on each other in a circle, or follow from such, the first ones.
const SHOWN: usize = 8;

pub(super) fn check(events: &[Event], versions: &Versions) -> Option<Anomaly> {
    let mut after: BTreeMap<Write, Vec<Write>> = BTreeMap::new();
    let mut edges_into: BTreeMap<Write, usize> = BTreeMap::new();
    let mut add = |from: Write, to: Write| {
        after.entry(from).or_default().push(to);
        *edges_into.entry(to).or_default() += 1;
        edges_into.entry(from).or_default();
    };
    for (partition, offsets) in &versions.values {
        let all: Vec<i64> = offsets.keys().copied().collect();
        all.windows(2).for_each(|pair| add((*partition, pair[0]), (*partition, pair[1])));
    }
    for (from, to) in waited(events, versions) {
        add(from, to);
    }
    // Whatever depends on nothing is taken away, until nothing is left, or only what waits for itself.
    let mut free: Vec<Write> = edges_into.iter().filter(|(_, n)| **n == 0).map(|(write, _)| *write).collect();
    while let Some(write) = free.pop() {
        edges_into.remove(&write);
        for next in after.remove(&write).unwrap_or_default() {
            let left = edges_into.get_mut(&next).expect("it has an edge into it");
            *left -= 1;
            if *left == 0 {
                free.push(next);
            }
        }
    }
    let name = |(partition, offset): &Write| {
        let values = versions.values.get(partition).and_then(|offsets| offsets.get(offset));
        let value = values.and_then(|values| values.first()).map_or("", String::as_str);
        format!("{partition}@{offset} {value}")
    };
    let values: Vec<String> = edges_into.keys().take(SHOWN).map(name).collect();
    (!values.is_empty()).then_some(Anomaly::WriteCycle { values })
}

/// A producer sent the second when it knew the first to be written; one pair for each record that it sent.
fn waited(events: &[Event], versions: &Versions) -> Vec<(Write, Write)> {
    let mut known: BTreeMap<&str, BTreeMap<i32, Write>> = BTreeMap::new();
    let mut pairs = Vec::new();
    for event in events {
        match event {
            Event::Acknowledged { producer, partition, value, .. } => {
                let Some(offset) = versions.offset(*partition, value) else { continue };
                let of_producer = known.entry(producer).or_default();
                let last = of_producer.entry(*partition).or_insert((*partition, offset));
                *last = (*last).max((*partition, offset));
            }
            Event::Sent { producer, partition, value } => {
                let Some(offset) = versions.offset(*partition, value) else { continue };
                let before = known.get(producer.as_str()).into_iter().flat_map(BTreeMap::values);
                pairs.extend(before.map(|write| (*write, (*partition, offset))));
            }
            _ => {}
        }
    }
    pairs
}
