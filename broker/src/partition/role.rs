//! What the metadata says of a replica, and how it takes that over.

use std::sync::Arc;

use host::Fs;
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
    pub fn apply(&self, fs: &Fs, registration: &Registration) {
        let registered = &registration.registered;
        let mut log = self.log();
        let mut state = self.state();
        if registered.partition_epoch < state.partition_epoch {
            // The controller's answer to a change of the ISR was quicker.
            return;
        }
        if registered.partition_epoch > state.partition_epoch {
            state.pending = None;
        }
        let is_leader = registered.leader == registration.node_id;
        let begins =
            is_leader && (state.role != Role::Leader || state.leader_epoch != registered.leader_epoch);
        let isr_before = state.isr.len();
        let left: Vec<i32> =
            state.isr.iter().copied().filter(|member| !registered.isr.contains(member)).collect();
        state.node_id = registration.node_id;
        state.partition_epoch = registered.partition_epoch;
        state.leader_epoch = registered.leader_epoch;
        state.replicas.clone_from(&registered.replicas);
        state.isr.clone_from(&registered.isr);
        state.role = if is_leader { Role::Leader } else { Role::Follower };
        let others = registered.replicas.iter().copied().filter(|id| *id != registration.node_id);
        if begins {
            // Followers ask where epochs ended: the former one ends here. A log that has failed serves nobody anyway.
            let _ = log.begin_leader_epoch(fs, registered.leader_epoch);
            state.epoch_start = log.log_end_offset();
            if state.counts_flushed && log.recovery_point() < log.log_end_offset() {
                // What it begins with counts as well: nobody may append for long, and commits would wait for that flush.
                let _ = log.flush(fs);
            }
            // What followers told in a former epoch may be about records that are gone.
            let now = state.clock.now();
            state.followers.begin(others, &registered.isr, now);
            state.pending = None;
        } else if is_leader {
            self.metrics.isr_changed(isr_before, state.isr.len());
            state.followers.keep(others);
            for member in left {
                state.followers.is_gone(member);
            }
        } else {
            log.forget_empty_epochs();
            state.followers.clear();
            state.pending = None;
            state.unreadable_bytes = 0;
            state.waiters.lose();
            self.log_start_moved.notify_waiters();
        }
        state.observe(&mut log);
    }

    /// The partition leaves this broker: nobody waits any more, nothing is appended or read.
    pub fn retire(&self) {
        let mut state = self.state();
        state.role = Role::None;
        state.is_retired = true;
        state.pending = None;
        state.waiters.lose();
    }

    /// Whether it has left this broker: its directory may be gone.
    pub fn is_retired(&self) -> bool {
        self.state().is_retired
    }
}

impl State {
    /// Whether this is the leader, of the epoch that somebody expects (-1: of any).
    pub(super) fn check_leader(&self, expected_epoch: i32) -> Result<(), LeaderError> {
        if expected_epoch >= 0 && !self.broken.ignores_epochs && self.role != Role::None {
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
