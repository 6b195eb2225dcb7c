//! The high watermark of a leader never goes back within its epoch, and no record below it is another one later.
//!
//! What readers are told is held against the same rule by the client (`Promises::told`).

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Broker;
use protocol::ids::{Offset, PartitionId};

/// The highest that was seen, of each leader epoch.
#[derive(Default)]
pub struct HighWatermarks(BTreeMap<(PartitionId, i32), Offset>);

impl HighWatermarks {
    pub fn look(&mut self, brokers: &BTreeMap<i32, Arc<Broker>>) -> Vec<String> {
        let mut broken = Vec::new();
        for (id, partition) in super::led(brokers) {
            let (epoch, now) = (partition.leader_epoch(), partition.offsets().high_watermark);
            let highest = self.0.entry((partition.id, epoch)).or_insert(now);
            if now < *highest {
                let (topic, index) = (&partition.topic, partition.id.partition);
                broken.push(format!(
                    "{topic}-{index}: leader {id} of epoch {epoch} went back from {} to {}",
                    highest.0, now.0
                ));
            }
            *highest = now.max(*highest);
        }
        broken
    }
}
