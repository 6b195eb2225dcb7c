//! Replicated state machines on internal topics: classic and consumer groups and offsets now; share and streams groups and
//! transactions stand on the same seam.
//!
//! ```text
//!  handlers ─► runtime (in the broker) ─► Machine::perform ─► entries ─► __consumer_offsets ─► committed ─► answers
//! ```
//! **Invariant:** knows no sockets and no clocks: time comes in as an argument, records go out to whoever appends them.

mod check;
mod classic;
mod config;
mod consumer;
mod group;
mod machine;
mod offsets;
mod operation;
mod records;
mod shard;
mod timers;

pub use check::check;
pub use classic::{ClassicGroup, Deadline, State};
pub use config::{ConsumerRanges, GroupConfig, MigrationPolicy};
pub use consumer::assignor::Assignor;
pub use consumer::{ConsumerGroup, ConsumerSettings, ConsumerState, Refusal};
pub use machine::{Effects, Entry, Machine, Moment, Ticket};
pub use offsets::{Committed, Offsets, TopicPartition};
pub use operation::{Answer, Beat, Commit, Fetch, Fetched, Join, Operation};
pub use shard::{GroupMeasure, GroupShard, MeasuredPage};
pub use timers::Timers;

/// The partition of `__consumer_offsets` that holds a group: Java's `String.hashCode`, as every Kafka broker computes it.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // As Kafka's `Utils.abs`: the smallest number becomes 0.
    hash.checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn a_group_hashes_as_in_java() {
        // `"grp1".hashCode()` is 3181598; a Kafka 4.3.1 kept this group in partition 48.
        assert_eq!(partition_of("grp1", 50), 48);
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("polygenelubricants", 50), 0, "its hash is the smallest integer");
    }
}
