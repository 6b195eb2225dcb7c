//! From a partition's state and what is wanted of it to the record that changes it (Kafka's `PartitionChangeBuilder`).
//!
//! Every change of leader, ISR, ELR, replicas or directories goes through `Change::record`, so that the rules hold
//! everywhere: a reassignment that can end does, the ELR is kept when the ISR falls below `min.insync.replicas`
//! (KIP-966), a leader is elected when the present one cannot go on, and epochs grow when they must.

use std::collections::BTreeSet;

use metadata::{LeaderRecoveryState, NO_LEADER, NO_LEADER_CHANGE, Partition};
use protocol::Uuid;
use protocol::messages::PartitionChangeRecord;

use super::Context;

/// How far an election may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The preferred replica, if it is in sync; else whoever keeps the partition online.
    Preferred,
    /// Only if the leader cannot go on: a replica in sync (or eligible, if none is in sync).
    Online,
    /// As `Online`, but at last any live replica, at the price of records.
    Unclean,
}

/// A wanted change of one partition. Starts as no change; the caller sets targets.
pub(super) struct Change<'a> {
    context: &'a Context<'a>,
    partition: &'a Partition,
    topic_id: Uuid,
    index: i32,
    min_isr: usize,
    /// Whether a broker may lead: registered, not fenced, not leaving, as the caller sees it.
    is_live: &'a dyn Fn(i32) -> bool,
    pub(super) election: Election,
    pub(super) isr: Vec<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) removing: Vec<i32>,
    pub(super) adding: Vec<i32>,
    pub(super) recovery: LeaderRecoveryState,
    /// A broker that may have lost acknowledged records: it does not enter the ELR.
    pub(super) unclean_replica: Option<i32>,
    /// Directories that replicas have told.
    pub(super) directories: Vec<(i32, Uuid)>,
    elr: Vec<i32>,
    last_known_elr: Vec<i32>,
}

struct Elected {
    leader: i32,
    unclean: bool,
}

impl<'a> Change<'a> {
    /// `min_isr`: the topic's `min.insync.replicas`, at most its replication factor.
    pub(super) fn new(
        context: &'a Context<'a>,
        (topic_id, index, partition): (Uuid, i32, &'a Partition),
        min_isr: usize,
        is_live: &'a dyn Fn(i32) -> bool,
    ) -> Change<'a> {
        Change {
            context,
            partition,
            topic_id,
            index,
            min_isr,
            is_live,
            election: Election::Online,
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            removing: partition.removing.clone(),
            adding: partition.adding.clone(),
            recovery: partition.leader_recovery_state,
            unclean_replica: None,
            directories: Vec::new(),
            elr: partition.elr.clone(),
            last_known_elr: partition.last_known_elr.clone(),
        }
    }

    /// The record of the change; None if nothing would change.
    pub(super) fn record(mut self) -> Option<PartitionChangeRecord> {
        let nothing =
            PartitionChangeRecord { topic_id: self.topic_id, partition_id: self.index, ..Default::default() };
        let mut record = nothing.clone();
        self.complete_reassignment();
        self.populate_elr();
        self.elect(&mut record);
        if record.leader == NO_LEADER_CHANGE && lacks_any(&self.replicas, &self.partition.replicas) {
            // Whoever is no replica any more must not be taken for one: its fetches have an old epoch now.
            record.leader = self.partition.leader;
        }
        self.set_elr(&mut record);
        let keeps_empty_isr = self.isr.is_empty() && !self.has_elr();
        if record.isr.is_none() && !keeps_empty_isr && self.isr != self.partition.isr {
            record.isr = Some(self.isr.clone());
        }
        self.bump_epoch_on_isr_shrink(&mut record);
        self.set_last_known_leader(&mut record);
        self.set_assignment(&mut record);
        if self.recovery != self.partition.leader_recovery_state {
            record.leader_recovery_state = self.recovery.value();
        }
        (record != nothing).then_some(record)
    }

    fn has_elr(&self) -> bool {
        self.context.image.features.eligible_leader_replicas()
    }

    /// A reassignment ends when all new replicas are in sync. Others that stay may be away, unless there are fewer replicas
    /// afterwards (`PartitionReassignmentReplicas.maybeCompleteReassignment`).
    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let stays = |id: &i32| !self.removing.contains(id);
        let isr: Vec<i32> = self.isr.iter().copied().filter(stays).collect();
        let replicas: Vec<i32> = self.replicas.iter().copied().filter(stays).collect();
        let awaited = if self.adding.len() < self.removing.len() { &replicas } else { &self.adding };
        if isr.is_empty() || replicas.is_empty() || lacks_any(&isr, awaited) {
            return;
        }
        self.isr = isr;
        self.replicas = replicas;
        self.removing.clear();
        self.adding.clear();
    }

    /// Who leaves an ISR that falls below `min.insync.replicas` stays eligible: nothing can be acknowledged without it.
    fn populate_elr(&mut self) {
        if !self.has_elr() {
            return;
        }
        if self.isr.len() >= self.min_isr {
            self.elr.clear();
            self.last_known_elr.clear();
            return;
        }
        let mut candidates: BTreeSet<i32> = self.elr.iter().chain(&self.partition.isr).copied().collect();
        let in_sync = |id: &i32| self.isr.contains(id);
        let still_replica = |id: &i32| self.replicas.contains(id);
        let elr = candidates
            .iter()
            .copied()
            .filter(|id| !in_sync(id) && still_replica(id) && Some(*id) != self.unclean_replica);
        let elr: Vec<i32> = elr.collect();
        candidates.extend(&self.last_known_elr);
        let rest = candidates.iter().copied().filter(|id| !in_sync(id) && !elr.contains(id));
        self.last_known_elr = rest.collect();
        self.elr = elr;
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord) {
        let elected = self.elected();
        if elected.leader == self.partition.leader {
            return;
        }
        if self.elr.contains(&elected.leader) {
            self.isr = vec![elected.leader];
            self.elr.retain(|id| *id != elected.leader);
        }
        record.leader = elected.leader;
        if elected.unclean {
            record.isr = Some(vec![elected.leader]);
            if self.partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                record.leader_recovery_state = LeaderRecoveryState::Recovering.value();
            }
        }
    }

    fn elected(&self) -> Elected {
        let clean = |leader| Elected { leader, unclean: false };
        let preferred = self.replicas.first().copied().filter(|_| self.election == Election::Preferred);
        let present = Some(self.partition.leader).filter(|id| *id != NO_LEADER);
        let order = preferred.into_iter().chain(present).chain(self.replicas.iter().copied());
        if let Some(leader) = order.into_iter().find(|id| self.may_lead(*id)) {
            return clean(leader);
        }
        if let Some(leader) = self.last_known_leader() {
            return Elected { leader, unclean: true };
        }
        let any = self.replicas.iter().copied().find(|id| self.is_acceptable(*id));
        match any.filter(|_| self.election == Election::Unclean) {
            Some(leader) => Elected { leader, unclean: true },
            None => clean(NO_LEADER),
        }
    }

    /// In sync, or eligible when nobody is; and able to lead.
    fn may_lead(&self, id: i32) -> bool {
        (self.isr.contains(&id) || (self.isr.is_empty() && self.elr.contains(&id))) && self.is_acceptable(id)
    }

    /// Live, and the partition's directory on it works.
    fn is_acceptable(&self, id: i32) -> bool {
        let directory = self.partition.directory(id);
        let broker = self.context.image.cluster.broker(id);
        (self.is_live)(id)
            && broker.zip(directory).is_some_and(|(b, directory)| b.has_online_directory(directory))
    }

    /// With nobody in sync and nobody eligible, the one that led last is the best guess (KIP-966's balanced recovery).
    fn last_known_leader(&self) -> Option<i32> {
        if !self.has_elr() || !self.elr.is_empty() || !self.isr.is_empty() {
            return None;
        }
        match self.partition.last_known_elr.as_slice() {
            [leader] if self.is_acceptable(*leader) => Some(*leader),
            _ => None,
        }
    }

    fn set_elr(&mut self, record: &mut PartitionChangeRecord) {
        let unclean = record.isr.is_some();
        if unclean || !self.has_elr() {
            self.elr.clear();
            self.last_known_elr.clear();
        }
        if self.elr != self.partition.elr {
            record.eligible_leader_replicas = Some(self.elr.clone());
        }
    }

    /// While there is no leader, the field holds the one that led last; with a leader it is empty.
    fn set_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.has_elr() {
            return;
        }
        let known = &self.partition.last_known_elr;
        let becomes_empty = record.isr.as_ref().is_some_and(Vec::is_empty);
        if becomes_empty && self.partition.has_leader() && *known != [self.partition.leader] {
            record.last_known_elr = Some(vec![self.partition.leader]);
        } else if !known.is_empty()
            && (record.leader >= 0 || (self.partition.has_leader() && record.leader != NO_LEADER))
        {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn bump_epoch_on_isr_shrink(&self, record: &mut PartitionChangeRecord) {
        let shrinks = record.isr.as_ref().is_some_and(|isr| lacks_any(isr, &self.partition.isr));
        if shrinks
            && record.leader == NO_LEADER_CHANGE
            && self.context.level().bumps_leader_epoch_on_isr_shrink()
        {
            record.leader = self.partition.leader;
        }
    }

    fn set_assignment(&self, record: &mut PartitionChangeRecord) {
        if self.context.level().has_directory_assignment() {
            let directories: Vec<Uuid> = self.replicas.iter().map(|id| self.directory(*id)).collect();
            if directories != self.partition.directories {
                record.directories = Some(directories);
            }
        }
        let changed = |target: &Vec<i32>, present: &Vec<i32>| (target != present).then(|| target.clone());
        record.replicas = changed(&self.replicas, &self.partition.replicas);
        record.removing_replicas = changed(&self.removing, &self.partition.removing);
        record.adding_replicas = changed(&self.adding, &self.partition.adding);
    }

    /// What the replica told, else where it is, else where its broker puts new replicas.
    fn directory(&self, replica: i32) -> Uuid {
        let told = self.directories.iter().find(|(id, _)| *id == replica).map(|(_, directory)| *directory);
        told.or_else(|| self.partition.directory(replica)).unwrap_or_else(|| {
            let broker = self.context.image.cluster.broker(replica);
            broker.map_or(Uuid::DIRECTORY_UNASSIGNED, |b| b.default_directory(self.context.level()))
        })
    }
}

/// Whether some id of `all` is not in `ids`.
fn lacks_any(ids: &[i32], all: &[i32]) -> bool {
    all.iter().any(|id| !ids.contains(id))
}
