//! A leader epoch of a partition has one leader, as the brokers themselves see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Broker;
use protocol::ids::PartitionId;

/// Who was seen to lead which epoch.
#[derive(Default)]
pub struct Leaders(BTreeMap<(PartitionId, i32), i32>);

impl Leaders {
    pub fn look(&mut self, brokers: &BTreeMap<i32, Arc<Broker>>) -> Vec<String> {
        let mut broken = Vec::new();
        for (id, partition) in super::led(brokers) {
            let epoch = partition.leader_epoch();
            let known = *self.0.entry((partition.id, epoch)).or_insert(id);
            if known != id {
                let (topic, index) = (&partition.topic, partition.id.partition);
                broken.push(format!("{topic}-{index} epoch {epoch} is led by {known} and by {id}"));
            }
        }
        broken
    }
}
