//! What the metadata says of a replica, and how it takes that over.

use std::sync::Arc;

use metadata::Partition as Registered;

use super::{LeaderError, Partition, State};

/// What this replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing was said yet, or the partition is gone.
    None,
    Leader,
    Follower,
}

/// The state of a partition in the metadata, as one of its replicas takes it over.
#[derive(Clone, Debug)]
pub struct Registration {
    pub registered: Arc<Registered>,
    pub node_id: i32,
}

impl Partition {
    pub fn role(&self) -> Role {
        self.state().role
    }

    pub fn leader_epoch(&self) -> i32 {
        self.state().leader_epoch
    }

    /// Takes over what the metadata says. Runs inside a disk job, in order with the appends.
    pub fn apply(&self, registration: &Registration) {
        let registered = &registration.registered;
        let mut log = self.log();
        let mut state = self.state();
        if registered.partition_epoch < state.partition_epoch {
            return;
        }
        let is_leader = registered.leader == registration.node_id;
        let begins =
            is_leader && (state.role != Role::Leader || state.leader_epoch != registered.leader_epoch);
        state.node_id = registration.node_id;
        state.partition_epoch = registered.partition_epoch;
        state.leader_epoch = registered.leader_epoch;
        state.replicas.clone_from(&registered.replicas);
        state.isr.clone_from(&registered.isr);
        if begins {
            // What followers told a former leader, or this one in a former epoch, may be about records that are gone.
            state.follower_ends.clear();
        }
        state.role = if is_leader { Role::Leader } else { Role::Follower };
        if !is_leader {
            state.waiters.lose();
        }
        state.observe(&mut log);
    }

    /// The partition leaves this broker: nobody waits any more, nothing is appended or read.
    pub fn retire(&self) {
        let mut state = self.state();
        state.role = Role::None;
        state.waiters.lose();
    }
}

impl State {
    /// Whether this is the leader, of the epoch that somebody expects (-1: of any).
    pub(super) fn check_leader(&self, expected_epoch: i32) -> Result<(), LeaderError> {
        if expected_epoch >= 0 && self.role != Role::None {
            if expected_epoch < self.leader_epoch {
                return Err(LeaderError::Fenced { current: self.leader_epoch });
            }
            if expected_epoch > self.leader_epoch {
                return Err(LeaderError::UnknownEpoch { current: self.leader_epoch });
            }
        }
        if self.role == Role::Leader { Ok(()) } else { Err(LeaderError::NotLeader) }
    }
}
