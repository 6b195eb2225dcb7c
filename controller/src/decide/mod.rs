//! What the active controller decides: pure functions of the metadata, an operation and what is known of the outside.
//!
//! ```text
//!  operation ──► decide(image + what is proposed) ──► records ──► quorum ──► apply on every node
//!                                                └──► answer  ──► leaves when the records are applied
//! ```
//!
//! **Invariant:** a decision does no I/O and changes nothing. It may refuse, whole or in parts of its answer; its records
//! cannot be refused afterwards, so each is one that `Delta::apply` takes and that the finalized levels know. After every
//! decision a partition's leader is in its ISR, its ISR and ELR are disjoint subsets of its replicas, and epochs have grown.

mod alter_partition;
mod bootstrap;
mod brokers;
mod catalog;
mod configs;
mod delete_topics;
mod directories;
mod elections;
mod partition_change;
mod partitions;
mod producer_ids;
mod reassignments;
mod topics;
mod update_features;
mod voters;

#[cfg(test)]
mod tests;

pub use alter_partition::alter_partition;
pub use bootstrap::{bootstrap_records, register_controller};
pub use brokers::{
    BrokerState, HeartbeatFacts, controlled_shutdown_reached, fence_broker, heartbeat, register_broker,
    unregister_broker,
};
pub use configs::{alter_configs, incremental_alter_configs};
pub use delete_topics::{TopicAccess, delete_topics};
pub use directories::assign_replicas_to_dirs;
pub use elections::{balance_leaders, elect_leaders, elect_missing_leaders};
pub use partitions::create_partitions;
pub use producer_ids::allocate_producer_ids;
pub use reassignments::{alter_partition_reassignments, list_partition_reassignments};
pub use topics::create_topics;
pub use update_features::{kraft_version_update, update_features};
pub use voters::{Seat, add_voter, remove_voter, update_voter};

use std::collections::BTreeMap;

use metadata::{Image, Record};
use protocol::{ErrorCode, Str};

/// What this controller's `server.properties` says and decisions need.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub node_id: i32,
    pub cluster_id: Str,
    /// Every property that is set, by its name, as it was given: the static layer of configs.
    pub properties: BTreeMap<Str, Str>,
    /// A quorum that is founded here begins at the level at which its voters can change.
    pub dynamic_quorum: bool,
    /// What a simulation breaks on purpose, to show that it would notice.
    pub broken: Broken,
}

/// Promises that this controller does not keep. Nothing but a simulation sets any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// A broker that comes back from an unclean stop stays where it was in sync.
    pub trusts_unclean: bool,
    /// A leader of another epoch may change the ISR.
    pub ignores_epochs: bool,
}

/// What a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Committed state plus everything proposed since. Its `end_offset` is the offset of the first record decided now.
    pub image: &'a Image,
    pub settings: &'a Settings,
}

/// What is to be written, and what is answered once it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<A> {
    pub records: Vec<Record>,
    pub answer: A,
}

/// An operation, or a part of one, that is refused with Kafka's code and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    /// The message as answers carry it.
    pub(crate) fn text(&self) -> Option<Str> {
        (!self.message.is_empty()).then(|| Str::from(self.message.as_str()))
    }
}

/// A request without time is refused before it is looked at: in Kafka's queue its time is up when its turn comes.
///
/// # Errors
/// `REQUEST_TIMED_OUT`, without a message.
pub fn in_time(timeout_ms: i32) -> Result<(), Refusal> {
    if timeout_ms > 0 { Ok(()) } else { Err(Refusal::new(ErrorCode::RequestTimedOut, "")) }
}

/// Whether something stands once among these: what stands twice is refused before the queue, and asks for no time.
pub fn has_single<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut times: std::collections::BTreeMap<T, usize> = std::collections::BTreeMap::new();
    items.for_each(|item| *times.entry(item).or_default() += 1);
    times.into_values().any(|times| times == 1)
}

/// Outcome of a part of an operation, for the code and message fields of an answer.
fn code_and_message<T>(result: &Result<T, Refusal>) -> (i16, Option<Str>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code.code(), refusal.text()),
    }
}

/// Numbers for those decisions that must not be guessed by clients. The caller seeds it, so simulations repeat.
pub struct Random<'a>(pub &'a mut dyn FnMut() -> u64);

impl Random<'_> {
    /// A number below `bound`, which is not 0. The bias is below 2^-32 for the few brokers that a cluster has.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.0)() % bound as u64).expect("it is below a usize")
    }

    pub fn uuid(&mut self) -> protocol::Uuid {
        protocol::Uuid::from_random(|| (u128::from((self.0)()) << 64) | u128::from((self.0)()))
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

impl Context<'_> {
    /// Refuses a broker that is not registered or tells another epoch than its registration's.
    fn check_broker_epoch(&self, id: i32, epoch: i64) -> Result<&metadata::Broker, Refusal> {
        let stale = |message| Refusal::new(ErrorCode::StaleBrokerEpoch, message);
        let broker = self.image.cluster.broker(id);
        let broker =
            broker.ok_or_else(|| stale(format!("No broker registration found for broker id {id}")))?;
        if broker.epoch != epoch {
            return Err(stale(format!(
                "Expected broker epoch {}, but got broker epoch {epoch}",
                broker.epoch
            )));
        }
        Ok(broker)
    }

    fn level(&self) -> metadata::MetadataVersion {
        self.image.features.metadata_version()
    }
}
