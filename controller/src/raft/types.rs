//! What openraft is told about us: ids, log entries, answers.
//!
//! **Invariant:** a voter is (node id, directory id), as in KIP-853. A node that lost its disk comes back with another
//! directory id, which no membership knows: it has no vote, and cannot forget what it once promised.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use protocol::Uuid;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::runtime::HostRuntime;

/// A voter: node id and the id of its metadata directory. Written `1:directory`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftId {
    pub node: i32,
    pub directory: Uuid,
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.directory)
    }
}

impl fmt::Debug for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not `node:directory`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not node-id:directory-id")]
pub struct ParseRaftIdError(String);

impl FromStr for RaftId {
    type Err = ParseRaftIdError;

    fn from_str(text: &str) -> Result<RaftId, ParseRaftIdError> {
        let parsed = text.split_once(':').and_then(|(node, directory)| {
            Some(RaftId { node: node.parse().ok()?, directory: directory.parse().ok()? })
        });
        parsed.ok_or_else(|| ParseRaftIdError(text.to_owned()))
    }
}

/// As text, since ids are keys of JSON objects in stored memberships.
impl Serialize for RaftId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RaftId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RaftId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// openraft's own test suite names nodes by numbers.
#[cfg(test)]
impl From<u64> for RaftId {
    fn from(number: u64) -> RaftId {
        RaftId { node: i32::try_from(number).expect("the suite counts nodes"), directory: Uuid::ZERO }
    }
}

/// Where a voter listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// `host:port` of its controller listener.
    pub address: String,
}

/// What the single writer proposes: one Kafka record batch, and the state that it was decided against.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The term in which it was decided. Another term in the entry means that leadership was lost in between.
    pub epoch: u64,
    /// Offset of its first record. Another end of the log means that something else came first.
    pub base_offset: i64,
    /// The batch, complete: offsets and leader epoch are in place.
    #[serde(with = "as_bytes")]
    pub batch: Bytes,
}

mod as_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(Bytes::from)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records from {} at epoch {}, {} bytes", self.base_offset, self.epoch, self.batch.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The state machine's answer to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// End of the metadata log, in records, after the entry.
    pub end_offset: i64,
    /// False if the entry was decided against another state, and therefore changed nothing.
    pub accepted: bool,
}

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = RaftId,
        Node = Voter,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, RaftId>,
        AsyncRuntime = HostRuntime,
);

pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Payload = openraft::type_config::alias::PayloadOf<TypeConfig>;
pub type Membership = openraft::Membership<RaftId, Voter>;
pub type Metrics = openraft::RaftMetrics<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, super::state_machine::Checkpoint>;
pub type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;
