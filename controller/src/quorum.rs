//! Joining and founding the quorum.
//!
//! ```text
//!   log is there ------------------------> a follower, until somebody wins an election (alone: this node, at once)
//!   log is empty, this is the only voter -> found the quorum
//!   log is empty, lowest voter id --------> ask all others who they are; once *all* have answered, and none has a log: found it
//!   log is empty, any other voter --------> wait to be told
//!   not among the first voters -----------> an observer of somebody else's quorum (`voters`)
//! ```
//!
//! The first voters are those of `controller.quorum.voters`, or those that the directory was formatted for, which are then
//! named by their directory ids too.
//!
//! **Invariant:** a quorum is founded once. The founder has heard every voter say that it has no log, so no directory that
//! ever voted is left out; a voter that comes back with an empty directory meets others that have a log, and waits.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Host;
use protocol::Uuid;

use crate::raft::network::hello;
use crate::raft::types::{Raft, RaftId, Voter};

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// What this node knows of the quorum before there is one.
pub struct Quorum {
    pub host: Host,
    pub raft: Raft,
    pub id: RaftId,
    pub cluster_id: Uuid,
    pub founders: Founders,
}

/// The first voters by node id: where each listens, and its directory id if that is known beforehand. None at all for a
/// node that is to observe.
#[derive(Clone, Debug, Default)]
pub struct Founders(pub BTreeMap<i32, (String, Option<Uuid>)>);

impl Founders {
    /// The voters of `controller.quorum.voters`.
    pub fn given(voters: &BTreeMap<i32, String>) -> Founders {
        Founders(voters.iter().map(|(node, address)| (*node, (address.clone(), None))).collect())
    }

    /// The voters that a directory was formatted for.
    pub fn named(voters: &BTreeMap<RaftId, Voter>) -> Founders {
        let named = |(id, voter): (&RaftId, &Voter)| (id.node, (voter.address.clone(), Some(id.directory)));
        Founders(voters.iter().map(named).collect())
    }

    fn is(&self, id: &RaftId) -> bool {
        let directory = self.0.get(&id.node).map(|(_, directory)| *directory);
        directory.is_some_and(|directory| directory.is_none_or(|directory| directory == id.directory))
    }
}

impl Quorum {
    /// Runs until the quorum exists, as far as this node has a part in that.
    pub async fn join(self) {
        let initialized = match self.raft.is_initialized().await {
            Ok(initialized) => initialized,
            // Raft has stopped, and says so itself.
            Err(_) => return,
        };
        if initialized {
            if self.raft.voter_ids().eq([self.id]) {
                // There is nobody to wait for: do not wait for a tick either.
                self.log_failure(self.raft.trigger().elect(false).await.err());
            }
            return;
        }
        if self.founders.0.keys().next() != Some(&self.id.node) || !self.founders.is(&self.id) {
            return;
        }
        if let Some(members) = self.gather().await {
            let founded = self.raft.initialize(members).await;
            self.log_failure(founded.err());
        }
    }

    fn log_failure(&self, failure: Option<impl std::fmt::Display>) {
        if let Some(error) = failure {
            tracing::warn!(%error, "the quorum was not founded by this node");
        }
    }

    /// The ids of all voters, once each has said that it has no log; None if one has.
    async fn gather(&self) -> Option<BTreeMap<RaftId, Voter>> {
        let mut known = BTreeMap::from([(self.id.node, self.id)]);
        while known.len() < self.founders.0.len() {
            for (node, (address, _)) in &self.founders.0 {
                if known.contains_key(node) {
                    continue;
                }
                match hello(&self.host, address, self.cluster_id, self.id, ANSWER_LIMIT).await {
                    Ok((_, true)) => return None,
                    Ok((id, false)) if id.node == *node && self.founders.is(&id) => {
                        known.insert(*node, id);
                    }
                    Ok((id, false)) => tracing::warn!(%address, "voter {node} should be here, and {id} is"),
                    Err(error) => tracing::debug!(%address, %error, "a voter does not answer yet"),
                }
            }
            if known.len() < self.founders.0.len() {
                self.host.clock().sleep(ROUND).await;
            }
        }
        let voter = |(node, id)| (id, Voter { address: self.founders.0[&node].0.clone() });
        Some(known.into_iter().map(voter).collect())
    }
}
