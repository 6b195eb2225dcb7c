//! Topics and partitions as a client of one listener sees them: who can be reached, who is offline.

use metadata::{Image, Partition};
use protocol::Uuid;

/// What Kafka calls internal: its coordinators' topics.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

pub fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.contains(&topic)
}

/// See the module.
pub struct PartitionView<'a> {
    image: &'a Image,
    listener: &'a str,
    partition: &'a Partition,
}

impl<'a> PartitionView<'a> {
    pub fn new(image: &'a Image, listener: &'a str, partition: &'a Partition) -> PartitionView<'a> {
        PartitionView { image, listener, partition }
    }

    /// Whether a broker is there and has this listener.
    pub fn is_reachable(&self, id: i32) -> bool {
        self.image.cluster.broker(id).is_some_and(|b| b.listener(self.listener).is_some())
    }

    /// Whether a broker takes part and has this listener.
    pub fn is_alive(&self, id: i32) -> bool {
        self.is_reachable(id) && self.image.cluster.broker(id).is_some_and(|broker| !broker.fenced)
    }

    pub fn has_reachable_leader(&self) -> bool {
        self.is_reachable(self.partition.leader)
    }

    /// Replicas on brokers that are fenced, unreachable, or whose log dir has failed.
    pub fn offline_replicas(&self) -> Vec<i32> {
        self.partition.replicas.iter().copied().filter(|id| !self.is_online(*id)).collect()
    }

    fn is_online(&self, id: i32) -> bool {
        let directory = self.partition.directory(id).unwrap_or(Uuid::DIRECTORY_UNASSIGNED);
        let has_directory =
            self.image.cluster.broker(id).is_some_and(|b| !b.fenced && b.has_online_directory(directory));
        has_directory && self.is_reachable(id)
    }
}
