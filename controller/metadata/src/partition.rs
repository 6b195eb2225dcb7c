//! One partition's registration: who has it, who leads it, and how often that has changed.
//!
//! Invariant (kept by `decide`, checked in its tests): the leader, if there is one, is in the ISR; ISR and ELR are disjoint
//! subsets of the replicas; `directories` is as long as `replicas`; both epochs only grow, and the partition epoch with
//! every change.

use protocol::Uuid;
use protocol::messages::{PartitionChangeRecord, PartitionRecord};

use crate::MetadataVersion;

/// The leader of a partition that nobody can lead.
pub const NO_LEADER: i32 = -1;
/// In a PartitionChangeRecord: the leader, and with it the leader epoch, stays.
pub const NO_LEADER_CHANGE: i32 = -2;
/// In a PartitionChangeRecord: the leader recovery state stays.
pub const NO_RECOVERY_CHANGE: i8 = -1;

/// Whether the leader was elected from outside the ISR and has not yet told that it recovered (KIP-704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    #[default]
    Recovered,
    Recovering,
}

impl LeaderRecoveryState {
    pub fn value(self) -> i8 {
        match self {
            LeaderRecoveryState::Recovered => 0,
            LeaderRecoveryState::Recovering => 1,
        }
    }

    pub fn from_value(value: i8) -> Option<LeaderRecoveryState> {
        match value {
            0 => Some(LeaderRecoveryState::Recovered),
            1 => Some(LeaderRecoveryState::Recovering),
            _ => None,
        }
    }
}

/// The state of a partition as Kafka's `PartitionRegistration` has it. Broker ids are plain numbers, as in the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// In order of preference: the first is the preferred leader. While reassigning: the target, then the removed ones.
    pub replicas: Vec<i32>,
    /// For each replica its log directory's id, or one of the reserved `Uuid::DIRECTORY_*`.
    pub directories: Vec<Uuid>,
    pub isr: Vec<i32>,
    /// KIP-966: not in sync, but with every record that was ever committed.
    pub elr: Vec<i32>,
    /// KIP-966: the last leader while there is none (at most one), or former ELR members.
    pub last_known_elr: Vec<i32>,
    pub removing: Vec<i32>,
    pub adding: Vec<i32>,
    /// `NO_LEADER` if nobody can lead.
    pub leader: i32,
    pub leader_recovery_state: LeaderRecoveryState,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
}

impl Partition {
    /// The state after a PartitionRecord, which replaces all.
    ///
    /// # Panics
    /// If the record contradicts itself. Decoding cannot see that; no release ever wrote one.
    pub fn from_record(record: &PartitionRecord) -> Partition {
        let recovery = LeaderRecoveryState::from_value(record.leader_recovery_state);
        Partition {
            directories: directories_of(&record.directories, record.replicas.len()),
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            removing: record.removing_replicas.clone(),
            adding: record.adding_replicas.clone(),
            leader: record.leader,
            leader_recovery_state: recovery.expect("a leader recovery state is 0 or 1"),
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }

    /// The state after a PartitionChangeRecord (Kafka's `PartitionRegistration.merge`): an absent field stays; naming a
    /// leader, even the same one, starts a new leader epoch; every change starts a new partition epoch.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Partition {
        let or = |field: &Option<Vec<i32>>, current: &Vec<i32>| field.as_ref().unwrap_or(current).clone();
        let replicas = or(&change.replicas, &self.replicas);
        let new_leader = change.leader != NO_LEADER_CHANGE;
        Partition {
            directories: directories_of(
                change.directories.as_ref().unwrap_or(&self.directories),
                replicas.len(),
            ),
            isr: or(&change.isr, &self.isr),
            elr: or(&change.eligible_leader_replicas, &self.elr),
            last_known_elr: or(&change.last_known_elr, &self.last_known_elr),
            removing: or(&change.removing_replicas, &self.removing),
            adding: or(&change.adding_replicas, &self.adding),
            leader: if new_leader { change.leader } else { self.leader },
            leader_recovery_state: match change.leader_recovery_state {
                NO_RECOVERY_CHANGE => self.leader_recovery_state,
                value => LeaderRecoveryState::from_value(value).expect("a leader recovery state is 0 or 1"),
            },
            leader_epoch: self.leader_epoch + i32::from(new_leader),
            partition_epoch: self.partition_epoch + 1,
            replicas,
        }
    }

    /// The record that makes this state. Fields that the level does not know are left out, as Kafka does.
    pub fn to_record(&self, topic_id: Uuid, index: i32, level: MetadataVersion) -> PartitionRecord {
        let listed =
            |ids: &Vec<i32>| (level.has_eligible_leader_replicas() && !ids.is_empty()).then(|| ids.clone());
        PartitionRecord {
            partition_id: index,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing.clone(),
            adding_replicas: self.adding.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state.value(),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: if level.has_directory_assignment() { self.directories.clone() } else { Vec::new() },
            eligible_leader_replicas: listed(&self.elr),
            last_known_elr: listed(&self.last_known_elr),
            ..PartitionRecord::default()
        }
    }

    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    /// The first replica.
    pub fn preferred_leader(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    pub fn is_reassigning(&self) -> bool {
        !self.removing.is_empty() || !self.adding.is_empty()
    }

    /// The id of the log directory of `replica`; None if it is not a replica.
    pub fn directory(&self, replica: i32) -> Option<Uuid> {
        let at = self.replicas.iter().position(|id| *id == replica)?;
        self.directories.get(at).copied()
    }
}

/// A record of an older level names no directories: then nobody knows where the replicas live.
fn directories_of(directories: &[Uuid], replicas: usize) -> Vec<Uuid> {
    if directories.iter().all(|d| *d == Uuid::DIRECTORY_MIGRATING) {
        return vec![Uuid::DIRECTORY_MIGRATING; replicas];
    }
    assert_eq!(directories.len(), replicas, "a partition has one directory for each replica");
    directories.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        Partition {
            replicas: vec![1, 2, 3],
            directories: vec![Uuid(101), Uuid(102), Uuid(103)],
            isr: vec![1, 2],
            elr: vec![3],
            leader: 1,
            leader_epoch: 4,
            partition_epoch: 9,
            ..Partition::default()
        }
    }

    #[test]
    fn an_empty_change_starts_a_partition_epoch_only() {
        let merged = partition().merge(&PartitionChangeRecord::default());
        assert_eq!(merged, Partition { partition_epoch: 10, ..partition() });
    }

    #[test]
    fn naming_the_same_leader_starts_a_leader_epoch() {
        let change = PartitionChangeRecord { leader: 1, ..PartitionChangeRecord::default() };
        assert_eq!(
            partition().merge(&change),
            Partition { leader_epoch: 5, partition_epoch: 10, ..partition() }
        );
    }

    #[test]
    fn every_field_of_a_change_replaces_its_own() {
        let change = PartitionChangeRecord {
            isr: Some(vec![]),
            leader: NO_LEADER,
            replicas: Some(vec![3, 4]),
            removing_replicas: Some(vec![4]),
            adding_replicas: Some(vec![3]),
            leader_recovery_state: 1,
            directories: Some(vec![Uuid(103), Uuid(104)]),
            eligible_leader_replicas: Some(vec![4]),
            last_known_elr: Some(vec![1]),
            ..PartitionChangeRecord::default()
        };
        let merged = partition().merge(&change);
        let expected = Partition {
            replicas: vec![3, 4],
            directories: vec![Uuid(103), Uuid(104)],
            isr: vec![],
            elr: vec![4],
            last_known_elr: vec![1],
            removing: vec![4],
            adding: vec![3],
            leader: NO_LEADER,
            leader_recovery_state: LeaderRecoveryState::Recovering,
            leader_epoch: 5,
            partition_epoch: 10,
        };
        assert_eq!(merged, expected);
        assert!(!merged.has_leader() && merged.is_reassigning());
        assert_eq!((merged.directory(4), merged.directory(1)), (Some(Uuid(104)), None));
    }

    #[test]
    fn without_directories_replicas_are_migrating() {
        let record = PartitionRecord { replicas: vec![1, 2], ..PartitionRecord::default() };
        assert_eq!(Partition::from_record(&record).directories, vec![Uuid::DIRECTORY_MIGRATING; 2]);
    }
}
