//! What must hold in a simulated cluster, whatever happens to it; one file each. What clients sent and were given is checked by
//! `history`, which the tests on real processes share.
//!
//! | file | when | holds under |
//! |---|---|---|
//! | `high_watermark` | all the time, and in what readers are told | everything |
//! | `equal_logs` | at the end | everything |
//! | `one_leader_per_epoch` | all the time, and in what clients are told | everything |
//! | `in_sync` | all the time | everything |
//! | `committed_metadata` | at the end | everything |
//! | `one_controller_per_term` | all the time | everything |

pub mod committed_metadata;
pub mod equal_logs;
pub mod high_watermark;
pub mod in_sync;
pub mod one_controller_per_term;
pub mod one_leader_per_epoch;

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Broker;
use broker::partition::{Partition, Role};

use super::Cluster;

/// The partitions that brokers lead, each with the broker's id.
fn led(brokers: &BTreeMap<i32, Arc<Broker>>) -> impl Iterator<Item = (i32, Arc<Partition>)> {
    let of = |(id, broker): (&i32, &Arc<Broker>)| {
        let id = *id;
        broker.replicas.all().into_iter().map(move |partition| (id, partition))
    };
    brokers.iter().flat_map(of).filter(|(_, partition)| partition.role() == Role::Leader)
}

/// Looks at a cluster between its events, and remembers what must not change.
#[derive(Default)]
pub struct Witness {
    leaders: one_leader_per_epoch::Leaders,
    high_watermarks: high_watermark::HighWatermarks,
    /// A sentence for each promise that was seen broken.
    pub broken: Vec<String>,
}

impl Witness {
    pub fn look(&mut self, cluster: &Cluster) {
        let brokers = cluster.live_brokers();
        let mut found = self.leaders.look(&brokers);
        found.extend(self.high_watermarks.look(&brokers));
        if let Some(committed) = cluster.committed() {
            found.extend(in_sync::look(&brokers, &committed.image));
        }
        // The first ones tell the story.
        self.broken.extend(found.into_iter().take(10usize.saturating_sub(self.broken.len())));
    }
}
