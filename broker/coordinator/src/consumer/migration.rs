//! A group that goes from one protocol to the other while it has members (KIP-848, online migration).
//!
//! ```text
//!  classic  ── somebody joins by the newer protocol ─────────────► consumer   generation = epoch, assignment = target = held
//!  classic  ◄── the last member of the newer protocol has gone ──  consumer   epoch = generation, target = assignment
//! ```
//! Both ways the log tells it at once: tombstones of the one kind, records of the other.

use std::collections::BTreeSet;

use bytes::Bytes;
use metadata::Topics;
use protocol::messages::consumer_protocol_assignment::TopicPartition;
use protocol::messages::{
    ConsumerGroupMetadataValue, ConsumerGroupTargetAssignmentMetadataValue, ConsumerProtocolAssignment,
    ConsumerProtocolSubscription, GroupValue,
};
use protocol::record_frame::{decode_versioned, encode_versioned};
use protocol::{ErrorCode, Message as _, Str, Uuid};

use super::classic_member::classic_metadata;
use super::member::{Held, MemberState, Partitions};
use super::target::{epoch_key, target_epoch_key, target_key, target_value};
use super::{ConsumerGroup, Member, Refusal};
use crate::classic::{self, Awaits, CONSUMER, ClassicGroup, Deadline, Protocol, State, Turn};
use crate::config::GroupConfig;

/// How a consumer group becomes a classic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Downgrade {
    pub(crate) generation: i32,
    /// The assignment is not that of its members any more: they are to join again.
    pub(crate) begins_round: bool,
}

/// Whether a classic group may be led on as a consumer group.
///
/// # Errors
/// `GROUP_ID_NOT_FOUND`, in Kafka's words.
pub(crate) fn check_upgrade(group: &ClassicGroup, config: &GroupConfig) -> Result<(), Refusal> {
    if !config.migration_policy.allows_upgrade() {
        return Err(no_upgrade(group, "online upgrade is disabled"));
    }
    if !group.has_consumers() {
        return Err(no_upgrade(group, "the group does not use the consumer embedded protocol"));
    }
    if group.members.len() > config.consumer_size_max {
        return Err(no_upgrade(group, "the group size exceeds the consumer group maximum size"));
    }
    Ok(())
}

fn no_upgrade(group: &ClassicGroup, why: &str) -> Refusal {
    let message = format!("Cannot upgrade classic group {} to consumer group because {why}.", group.id);
    Refusal::new(ErrorCode::GroupIdNotFound, message)
}

/// What a member of a classic group said of itself, and what it was assigned last.
struct Said<'a> {
    member: &'a classic::Member,
    subscription: ConsumerProtocolSubscription,
    assigned: Partitions,
}

fn read<'a>(group: &ClassicGroup, member: &'a classic::Member, topics: &Topics) -> Result<Said<'a>, Refusal> {
    let malformed = |_| no_upgrade(group, "the embedded consumer protocol is malformed");
    let protocol = group.protocol.clone().or_else(|| group.select_protocol()).unwrap_or_default();
    let subscription: ConsumerProtocolSubscription =
        decode_versioned(member.metadata(&protocol)).map_err(malformed)?;
    let mut assignment = ConsumerProtocolAssignment::default();
    if !member.assignment.is_empty() {
        assignment = decode_versioned(member.assignment.clone()).map_err(malformed)?;
    }
    if assignment.user_data.is_some_and(|data| !data.is_empty()) {
        let why = "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                   default assignor before re-attempting the upgrade";
        return Err(no_upgrade(group, why));
    }
    let mut assigned = Partitions::new();
    for of_topic in &assignment.assigned_partitions {
        if let Some(id) = topics.id(&of_topic.topic) {
            assigned.entry(id).or_default().extend(&of_topic.partitions);
        }
    }
    Ok(Said { member, subscription, assigned })
}

/// A member of a classic group as a consumer group knows it. It holds what it was assigned, and what it owned when it
/// joined unless that was assigned to somebody else: a cooperative member gives that back only after this generation.
fn upgraded(said: &Said<'_>, epoch: i32, topics: &Topics, taken: &BTreeSet<(Uuid, i32)>) -> Member {
    let Said { member, subscription, assigned } = said;
    let mut held: Held = Held::new();
    for (topic, partitions) in assigned {
        held.entry(*topic).or_default().extend(partitions.iter().map(|partition| (*partition, epoch)));
    }
    for owned in &subscription.owned_partitions {
        let Some(id) = topics.id(&owned.topic) else { continue };
        let free = owned.partitions.iter().filter(|partition| !taken.contains(&(id, **partition)));
        let free: Vec<(i32, i32)> = free.map(|partition| (*partition, epoch)).collect();
        if !free.is_empty() {
            held.entry(id).or_default().extend(free);
        }
    }
    Member {
        epoch,
        previous_epoch: epoch,
        state: MemberState::Stable,
        assigned: held,
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id.as_ref().filter(|rack| !rack.is_empty()).map(Str::detached),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: subscription.topics.iter().map(Str::detached).collect(),
        classic: Some(classic_metadata(member.session_timeout_ms, &member.protocols)),
        ..Member::new(member.id.clone())
    }
}

impl ConsumerGroup {
    /// The consumer group that a classic one becomes, written in the order that Kafka writes it in.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` where what its members said cannot be read, or only their own assignor can read it.
    pub(crate) fn from_classic(
        turn: &mut Turn<'_>,
        classic: &ClassicGroup,
    ) -> Result<ConsumerGroup, Refusal> {
        let topics = &turn.image.topics;
        let said: Vec<Said<'_>> = classic
            .members
            .values()
            .map(|member| read(classic, member, topics))
            .collect::<Result<_, Refusal>>()?;
        let all = said.iter().flat_map(|said| &said.assigned);
        let taken = all.flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p))).collect();
        let epoch = classic.generation;
        let members: Vec<Member> = said.iter().map(|said| upgraded(said, epoch, topics, &taken)).collect();
        let mut group = ConsumerGroup::new(classic.id.clone());
        for member in &members {
            let (key, value) = member.to_metadata(&group.id);
            group.write(turn, key, Some(value));
        }
        let metadata_hash = group.hash_of_topics(topics);
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash, ..Default::default() };
        group.write(turn, epoch_key(&group.id), Some(GroupValue::ConsumerGroupMetadata(value)));
        for said in &said {
            let target = target_value(&said.assigned);
            group.write(turn, target_key(&group.id, &said.member.id), Some(target));
        }
        // Made at no time at all: the next target need not wait for the interval between two.
        let value =
            ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: epoch, ..Default::default() };
        let value = GroupValue::ConsumerGroupTargetAssignmentMetadata(value);
        group.write(turn, target_epoch_key(&group.id), Some(value));
        for member in &members {
            let (key, value) = member.to_current_assignment(&group.id);
            group.write(turn, key, Some(value));
        }
        Ok(group)
    }

    /// Whether the group goes back to the classic protocol without these members; `size` members will be left.
    pub(crate) fn may_downgrade(&self, without: &[Str], size: usize, config: &GroupConfig) -> bool {
        let mut others = self.members.values().filter(|member| !without.contains(&member.id));
        size > 0
            && size <= config.size_max
            && config.migration_policy.allows_downgrade()
            && others.all(|member| member.classic.is_some())
    }

    /// The classic group that this one becomes without some members. None where those who are left have no protocol in
    /// common, or what they say cannot be read.
    pub(crate) fn to_classic(
        &self,
        turn: &Turn<'_>,
        without: &[Str],
        generation: i32,
    ) -> Option<ClassicGroup> {
        let mut classic = ClassicGroup::new(self.id.clone());
        (classic.state, classic.previous) = (State::Stable, State::Stable);
        classic.state_since_ms = Some(turn.now.wall_ms);
        classic.generation = generation;
        classic.protocol_type = Some(Str::from_static(CONSUMER));
        for member in self.members.values().filter(|member| !without.contains(&member.id)) {
            if let Some(instance) = &member.instance_id {
                classic.instances.insert(instance.clone(), member.id.clone());
            }
            classic.insert(downgraded(member)?);
        }
        classic.leader = classic.members.keys().next().cloned();
        classic.protocol = Some(classic.select_protocol()?);
        classic.subscribed = Some(classic.read_subscriptions()?);
        let protocol = classic.protocol.clone().unwrap_or_default();
        let nothing = Partitions::new();
        for (id, member) in &mut classic.members {
            let target = self.target.get(id).unwrap_or(&nothing);
            member.assignment = write_assignment(target, &turn.image.topics, &member.metadata(&protocol));
        }
        Some(classic)
    }

    /// Nobody waits for these members any more.
    pub(crate) fn end_all_waits(&self, turn: &mut Turn<'_>) {
        for id in self.members.keys() {
            turn.timers.cancel(&Deadline::Member(self.id.clone(), id.clone()));
            turn.timers.cancel(&Deadline::Revocation(self.id.clone(), id.clone()));
            self.end_classic_waits(id, turn);
        }
    }
}

/// A member of a consumer group as a classic one knows it.
fn downgraded(member: &Member) -> Option<classic::Member> {
    let classic = member.classic.as_ref()?;
    let protocols = classic.supported_protocols.iter();
    let protocols = protocols.map(|p| Protocol { name: p.name.clone(), metadata: p.metadata.clone() });
    Some(classic::Member {
        id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: protocols.collect(),
        assignment: Bytes::new(),
        awaits: Awaits::Nothing,
        is_new: false,
    })
}

/// Partitions as a consumer of the classic protocol reads them, in the version of what it said itself (`metadata`).
pub(super) fn write_assignment(partitions: &Partitions, topics: &Topics, metadata: &Bytes) -> Bytes {
    let versions = ConsumerProtocolAssignment::VERSIONS;
    let said = metadata.first_chunk().map_or(0, |version| i16::from_be_bytes(*version));
    let of_topic = |(id, partitions): (&Uuid, &BTreeSet<i32>)| {
        let topic = topics.by_id(*id)?.name.clone();
        Some(TopicPartition { topic, partitions: partitions.iter().copied().collect(), ..Default::default() })
    };
    let assigned_partitions = partitions.iter().filter_map(of_topic).collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, ..Default::default() };
    encode_versioned(&assignment, said.clamp(*versions.start(), *versions.end()))
        .expect("names of topics fit an assignment")
}
