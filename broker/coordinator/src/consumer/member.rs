//! One member of a consumer group, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::consumer_group_current_member_assignment_value::{
    ConsumerGroupCurrentMemberAssignmentValue, TopicPartitions,
};
use protocol::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
};
use protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey, GroupKey, GroupValue,
};
use protocol::{Str, Uuid};

use crate::operation::detached;

/// Partitions by topic.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;
/// Partitions by topic, each with the epoch at which the member was given it.
pub(crate) type Held = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// The epoch of a static member that went away for a moment.
pub(crate) const EPOCH_AWAY: i32 = -2;
/// The epoch of a member that leaves for good.
pub(crate) const EPOCH_LEFT: i32 = -1;

/// How far a member is on its way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has what the target of its epoch says.
    Stable,
    /// It was asked to give partitions back and has not said yet that it did.
    UnrevokedPartitions,
    /// It waits for partitions that others still hold.
    UnreleasedPartitions,
    /// Written by a newer version.
    Unknown,
}

impl MemberState {
    pub(crate) fn value(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    pub(crate) fn from_value(value: i8) -> MemberState {
        match value {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// See the module. The upper half is in the member's metadata record, the lower half in its assignment record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) id: Str,
    pub(crate) instance_id: Option<Str>,
    pub(crate) rack_id: Option<Str>,
    pub(crate) client_id: Str,
    pub(crate) client_host: Str,
    pub(crate) subscribed_topic_names: BTreeSet<Str>,
    /// Empty is as good as none.
    pub(crate) subscribed_topic_regex: Option<Str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) server_assignor: Option<Str>,
    /// Set for a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicMemberMetadata>,

    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Held,
    pub(crate) pending_revocation: Held,
}

impl Member {
    pub(crate) fn new(id: Str) -> Member {
        Member {
            id,
            instance_id: None,
            rack_id: None,
            client_id: Str::default(),
            client_host: Str::default(),
            subscribed_topic_names: BTreeSet::new(),
            subscribed_topic_regex: Some(Str::default()),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Held::new(),
            pending_revocation: Held::new(),
        }
    }

    pub(crate) fn regex(&self) -> Option<&Str> {
        self.subscribed_topic_regex.as_ref().filter(|regex| !regex.is_empty())
    }

    pub(crate) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Goes to an epoch and remembers the one before: an answer that got lost leaves the client there.
    pub(super) fn go_to(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    pub(super) fn set_metadata(&mut self, value: &ConsumerGroupMemberMetadataValue) {
        let detached = |text: &Option<Str>| text.as_ref().map(Str::detached);
        self.instance_id = detached(&value.instance_id);
        self.rack_id = detached(&value.rack_id);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        self.subscribed_topic_names = value.subscribed_topic_names.iter().map(Str::detached).collect();
        self.subscribed_topic_regex = detached(&value.subscribed_topic_regex);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor = detached(&value.server_assignor);
        self.classic = value.classic_member_metadata.as_ref().map(copy_of_classic);
    }

    fn metadata(&self) -> ConsumerGroupMemberMetadataValue {
        ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.subscribed_topic_names.iter().cloned().collect(),
            subscribed_topic_regex: self.subscribed_topic_regex.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.server_assignor.clone(),
            classic_member_metadata: self.classic.clone(),
            ..Default::default()
        }
    }

    pub(super) fn set_current_assignment(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_value(value.state);
        self.assigned = read_held(&value.assigned_partitions, value.member_epoch);
        self.pending_revocation = read_held(&value.partitions_pending_revocation, value.member_epoch);
    }

    /// What is left when the assignment's tombstone was read: the metadata's tombstone follows.
    pub(super) fn clear_current_assignment(&mut self) {
        self.epoch = EPOCH_LEFT;
        self.previous_epoch = EPOCH_LEFT;
        self.assigned.clear();
        self.pending_revocation.clear();
    }

    /// Its metadata record.
    pub(super) fn to_metadata(&self, group: &Str) -> (GroupKey, GroupValue) {
        (metadata_key(group, &self.id), GroupValue::ConsumerGroupMemberMetadata(self.metadata()))
    }

    /// Its assignment record.
    pub(super) fn to_current_assignment(&self, group: &Str) -> (GroupKey, GroupValue) {
        let value = GroupValue::ConsumerGroupCurrentMemberAssignment(self.current_assignment());
        (current_key(group, &self.id), value)
    }

    fn current_assignment(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.value(),
            assigned_partitions: write_held(&self.assigned),
            partitions_pending_revocation: write_held(&self.pending_revocation),
            ..Default::default()
        }
    }
}

/// A copy of its own: what is kept must not keep a part of the log alive.
fn copy_of_classic(classic: &ClassicMemberMetadata) -> ClassicMemberMetadata {
    let copy = |protocol: &ClassicProtocol| ClassicProtocol {
        name: protocol.name.detached(),
        metadata: detached(&protocol.metadata),
        ..Default::default()
    };
    let supported_protocols = classic.supported_protocols.iter().map(copy).collect();
    ClassicMemberMetadata { supported_protocols, ..classic.clone() }
}

/// A record of a version before 4.3 has no epochs of partitions: they were given with the member's.
fn read_held(topics: &[TopicPartitions], member_epoch: i32) -> Held {
    let mut held = Held::new();
    for topic in topics {
        let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
        let of =
            |(at, partition): (usize, &i32)| (*partition, epochs.get(at).copied().unwrap_or(member_epoch));
        held.entry(topic.topic_id).or_default().extend(topic.partitions.iter().enumerate().map(of));
    }
    held
}

fn write_held(held: &Held) -> Vec<TopicPartitions> {
    let topic = |(topic_id, partitions): (&Uuid, &BTreeMap<i32, i32>)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
        ..Default::default()
    };
    held.iter().map(topic).collect()
}

pub(super) fn metadata_key(group: &Str, member: &Str) -> GroupKey {
    let key = ConsumerGroupMemberMetadataKey { group_id: group.clone(), member_id: member.clone() };
    GroupKey::ConsumerGroupMemberMetadata(key)
}

pub(super) fn current_key(group: &Str, member: &Str) -> GroupKey {
    let key = ConsumerGroupCurrentMemberAssignmentKey { group_id: group.clone(), member_id: member.clone() };
    GroupKey::ConsumerGroupCurrentMemberAssignment(key)
}

/// The same partitions without their epochs.
pub(super) fn partitions_of(held: &Held) -> Partitions {
    held.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}
