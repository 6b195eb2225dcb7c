//! What a voter knows of its quorum at one moment, for metrics.

use crate::Image;

/// See the module.
#[derive(Clone, Debug)]
pub struct QuorumStatus {
    /// This node is the active controller.
    pub is_active: bool,
    /// The active controller, as far as this node knows.
    pub leader: Option<i32>,
    pub epoch: i32,
    /// Kafka's word: `leader`, `follower`, `candidate` or `observer`.
    pub state: &'static str,
    /// For whom this node has voted in the epoch.
    pub vote: Option<i32>,
    pub voters: usize,
    pub observers: usize,
    /// The committed metadata.
    pub image: Image,
    /// Epoch of its last record.
    pub last_epoch: i32,
    /// Brokers that this node has fenced because they were silent.
    pub timed_out_heartbeats: u64,
}
