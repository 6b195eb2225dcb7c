//! The ISR as its leader sees it: who may join, who must leave, and what the controller has said to that.
//!
//! ```text
//!   isr        [1 2]      asked for   [1 2 3]  3 has reached the high watermark and the leader's own records
//!   maximal    [1 2 3]    commits wait for it from the moment that it is asked for: it may have been granted already
//! ```
//! **Invariant:** at most one change of a partition is on its way. While it is, commits wait for everybody who is in the ISR
//! before it or after it (KIP-497), so that the high watermark is right whichever of the two the controller knows.

use std::sync::Arc;

use host::{DiskGone, Fs};
use protocol::ErrorCode;
use protocol::ids::Offset;
use protocol::messages::alter_partition_response::PartitionData;

use super::{FollowerFetch, Partition, Role, State};

/// A change of the ISR that the controller is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    pub leader_epoch: i32,
    /// The state that it is to change.
    pub partition_epoch: i32,
    /// With the epochs of the incarnations that the leader has heard of; -1: none in this leader epoch.
    pub isr: Vec<(i32, i64)>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsrOutcome {
    /// It is done, refused for good, or the metadata will say.
    Settled,
    /// It must be asked for again.
    Again,
}

impl State {
    /// Everybody whom commits wait for.
    pub(super) fn is_in_maximal_isr(&self, id: i32) -> bool {
        let asked = self.pending.as_ref().is_some_and(|p| p.isr.iter().any(|(member, _)| *member == id));
        asked || self.isr.contains(&id)
    }

    /// In the ISR, or so near that it is about to be (Kafka's `shouldWaitForReplicaToJoinIsr`): without waiting for it, it would
    /// have to reach a high watermark that runs ahead of it.
    pub(super) fn is_waited_for(&self, id: i32) -> bool {
        let joins = |follower: &super::followers::Follower| {
            follower.is_eligible && follower.is_caught_up(self.log_end, self.clock.now(), self.lag_max)
        };
        self.is_in_maximal_isr(id) || self.followers.get(id).is_some_and(joins)
    }

    /// Has all that is committed, and all that this leader began with.
    fn may_join(&self, id: i32) -> bool {
        let Some(follower) = self.followers.get(id) else { return false };
        let is_far_enough =
            follower.log_end.is_some_and(|end| end >= self.high_watermark && end >= self.epoch_start);
        follower.is_eligible && is_far_enough && !self.isr.contains(&id)
    }

    fn member(&self, id: i32) -> (i32, i64) {
        // This broker's own epoch is filled in when it is sent.
        (id, self.followers.get(id).map_or(-1, |follower| follower.broker_epoch))
    }

    fn ask(&mut self, isr: Vec<(i32, i64)>) -> IsrChange {
        let change =
            IsrChange { leader_epoch: self.leader_epoch, partition_epoch: self.partition_epoch, isr };
        self.pending = Some(change.clone());
        change
    }

    /// The change that takes in a follower, if it may join now.
    pub(super) fn expand(&mut self, id: i32) -> Option<IsrChange> {
        if self.role != Role::Leader || self.pending.is_some() || !self.may_join(id) {
            return None;
        }
        let members = self.isr.iter().copied().chain([id]);
        let isr = members.map(|id| self.member(id)).collect();
        Some(self.ask(isr))
    }

    fn shrink(&mut self) -> Option<IsrChange> {
        let is_alone = self.isr.len() < 2;
        if is_alone || self.role != Role::Leader || self.pending.is_some() {
            return None;
        }
        let (now, lag_max) = (self.clock.now(), self.lag_max);
        let stays = |id: &i32| {
            let follower = self.followers.get(*id);
            *id == self.node_id || follower.is_some_and(|f| f.is_caught_up(self.log_end, now, lag_max))
        };
        let isr: Vec<(i32, i64)> = self.isr.iter().copied().filter(stays).map(|id| self.member(id)).collect();
        (isr.len() < self.isr.len()).then(|| self.ask(isr))
    }

    /// Takes over what the controller answered. True if the ISR is another one now.
    fn settle(&mut self, asked: &IsrChange, answer: Result<&PartitionData, ErrorCode>) -> (IsrOutcome, bool) {
        if self.role != Role::Leader || self.pending.as_ref() != Some(asked) {
            return (IsrOutcome::Settled, false);
        }
        match answer {
            Ok(data) => {
                if data.leader_epoch == self.leader_epoch && data.partition_epoch > self.partition_epoch {
                    self.partition_epoch = data.partition_epoch;
                    self.isr.clone_from(&data.isr);
                }
                // One that changes nothing leaves the epoch as it is.
                self.pending = None;
                (IsrOutcome::Settled, true)
            }
            Err(ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted) => {
                self.pending = None;
                (IsrOutcome::Settled, true)
            }
            // The metadata is about to say another state, and that ends the waiting for both sets.
            Err(
                ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected
                | ErrorCode::UnknownTopicId
                | ErrorCode::UnknownTopicOrPartition,
            ) => (IsrOutcome::Settled, false),
            Err(_) => (IsrOutcome::Again, false),
        }
    }
}

impl Partition {
    /// Takes over what a follower's fetch tells: it has the log up to `fetch.offset`, which the read under `leader_epoch` (-1:
    /// any) has checked. Returns the change of the ISR that is due now.
    pub async fn follower_fetched(
        self: &Arc<Self>,
        fetch: FollowerFetch,
        leader_epoch: i32,
    ) -> Result<Option<IsrChange>, DiskGone> {
        let (change, may_commit) = {
            let mut state = self.state();
            if state.check_leader(leader_epoch).is_err() {
                return Ok(None);
            }
            let (log_end, now) = (state.log_end, state.clock.now());
            let log_start = state.followers.get(fetch.id).map(|follower| follower.log_start);
            if !state.followers.fetched(&fetch, log_end, now) {
                return Ok(None);
            }
            if log_start != Some(fetch.log_start) {
                self.log_start_moved.notify_waiters();
            }
            let change = state.expand(fetch.id);
            (change, fetch.offset > state.high_watermark && state.is_waited_for(fetch.id))
        };
        if may_commit {
            self.commit().await?;
        }
        Ok(change)
    }

    /// Moves the high watermark, if it may move.
    pub(super) async fn commit(self: &Arc<Self>) -> Result<(), DiskGone> {
        let partition = Arc::clone(self);
        let commit = move |_: &Fs| {
            let mut log = partition.log();
            partition.state().observe(&mut log);
        };
        self.disk.run(commit).await
    }

    /// The change that puts out who has not been at the end of the log for `replica.lag.time.max.ms`.
    pub fn shrink_isr(&self) -> Option<IsrChange> {
        self.state().shrink()
    }

    /// Whether commits wait for a replica, or are about to.
    pub fn is_commit_waiting_for(&self, id: i32) -> bool {
        self.state().is_waited_for(id)
    }

    /// Whether a change is still wanted; one that is not need not be asked for again.
    pub fn wants(&self, change: &IsrChange) -> bool {
        self.state().pending.as_ref() == Some(change)
    }

    /// The controller answers to a change.
    pub async fn isr_answered(
        self: &Arc<Self>,
        asked: &IsrChange,
        answer: Result<&PartitionData, ErrorCode>,
    ) -> Result<IsrOutcome, DiskGone> {
        let (outcome, changed) = {
            let mut state = self.state();
            let before = state.isr.len();
            let settled = state.settle(asked, answer);
            self.metrics.isr_changed(before, state.isr.len());
            settled
        };
        if changed {
            self.commit().await?;
        }
        Ok(outcome)
    }

    /// A broker was fenced or leaves: commits do not wait for it to join any more.
    pub async fn broker_is_gone(self: &Arc<Self>, id: i32) -> Result<(), DiskGone> {
        let waited = {
            let mut state = self.state();
            state.role == Role::Leader && state.followers.is_gone(id) && !state.is_in_maximal_isr(id)
        };
        if waited { self.commit().await } else { Ok(()) }
    }

    /// Until a follower tells another log start; what comes after the call counts.
    pub fn log_start_moved(&self) -> impl Future<Output = ()> + '_ {
        self.log_start_moved.notified()
    }

    /// The smallest log start of the replicas that live: what DeleteRecords waits for.
    pub fn low_watermark(&self, is_alive: impl Fn(i32) -> bool) -> Offset {
        let state = self.state();
        let alive = state.followers.iter().filter(|(id, _)| is_alive(*id));
        alive.map(|(_, follower)| follower.log_start).fold(state.log_start, Offset::min)
    }
}
