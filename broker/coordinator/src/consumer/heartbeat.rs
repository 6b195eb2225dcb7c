//! ConsumerGroupHeartbeat: to join, to stay, and to tell what has changed; the answer says what to give back and to take.

use std::collections::BTreeSet;

use protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::{ErrorCode, Str};

use super::assignor::Assignor;
use super::member::{EPOCH_AWAY, EPOCH_LEFT, Member};
use super::subscription::compile;
use super::target::{target_key, target_value};
use super::{ConsumerGroup, Partitions, Refusal};
use crate::classic::Turn;
use crate::config::GroupConfig;
use crate::operation::Beat;

/// What is wrong with a request by itself.
///
/// # Errors
/// `INVALID_REQUEST`, `UNSUPPORTED_ASSIGNOR`, `INVALID_REGULAR_EXPRESSION`
pub(crate) fn check(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    assignors: &[Assignor],
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let is_empty = |text: &Option<Str>| text.as_ref().is_some_and(|text| text.is_empty());
    let epoch = request.member_epoch;
    let is_joining = epoch == 0;
    let has_names = request.subscribed_topic_names.as_ref().is_some_and(|names| !names.is_empty());
    let must_be_named = version >= 1 || epoch > 0 || epoch == EPOCH_LEFT || epoch == EPOCH_AWAY;
    match () {
        () if request.group_id.is_empty() => return invalid("GroupId can't be empty."),
        () if must_be_named && request.member_id.is_empty() => return invalid("MemberId can't be empty."),
        () if is_empty(&request.instance_id) => return invalid("InstanceId can't be empty."),
        () if is_empty(&request.rack_id) => return invalid("RackId can't be empty."),
        () if is_joining && request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        () if is_joining && request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        () if is_joining && !has_names && request.subscribed_topic_regex.is_none() => {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        () if epoch == EPOCH_AWAY && request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        () if epoch < EPOCH_AWAY => return invalid("MemberEpoch is invalid."),
        () => {}
    }
    let is_known = |name: &Str| assignors.iter().any(|assignor| assignor.name() == name.as_str());
    if let Some(name) = request.server_assignor.as_ref().filter(|name| !is_known(name)) {
        let supported: Vec<&str> = assignors.iter().map(|assignor| assignor.name()).collect();
        let supported = supported.join(", ");
        let message = format!("ServerAssignor {name} is not supported. Supported assignors: {supported}.");
        return Err(Refusal::new(ErrorCode::UnsupportedAssignor, message));
    }
    match request.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty()) {
        Some(regex) => compile(regex).map(drop),
        None => Ok(()),
    }
}

impl ConsumerGroup {
    pub(crate) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Beat,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let request = &beat.request;
        let settings = turn.config.consumer_settings(turn.image, &self.id);
        check_room(self.members.len(), self.members.contains_key(&request.member_id), turn.config)?;
        let id = self.enter(turn, beat)?;
        let before = self.members.get(&id).cloned();
        let member = described_by(beat, &id, before.as_ref());
        self.subscribe(turn, before.as_ref(), member);
        self.assign(turn, settings);
        self.reconcile(turn, &id, request.topic_partitions.as_deref())?;
        // It speaks the newer protocol now, whatever it spoke before.
        self.end_classic_waits(&id, turn);
        self.restart_session(&id, settings.session_timeout_ms, turn);
        Ok(self.told(beat, &id, before.as_ref(), settings.heartbeat_interval_ms))
    }

    /// Who this is: the id of a member that is there, or that may come in.
    fn enter(&mut self, turn: &mut Turn<'_>, beat: &Beat) -> Result<Str, Refusal> {
        let request = &beat.request;
        let is_joining = request.member_epoch == 0;
        let id = match request.member_id.is_empty() {
            // Version 0 left the name to the coordinator.
            true => beat.unique.to_string().into(),
            false => request.member_id.detached(),
        };
        let Some(instance) = &request.instance_id else {
            return match self.members.get(&id) {
                Some(member) => check_epoch(member, request).map(|()| id),
                None if is_joining => Ok(id),
                None => {
                    let message = format!("Member {id} is not a member of group {}.", self.id);
                    Err(Refusal::new(ErrorCode::UnknownMemberId, message))
                }
            };
        };
        let Some(former) = self.instances.get(instance).cloned() else {
            if is_joining {
                return Ok(id);
            }
            let message = format!("Instance id {instance} is unknown.");
            return Err(Refusal::new(ErrorCode::UnknownMemberId, message));
        };
        let member = &self.members[&former];
        if former == id {
            return check_epoch(member, request).map(|()| id);
        }
        if !is_joining {
            let message =
                format!("Static member {id} with instance id {instance} was fenced by member {former}.");
            return Err(Refusal::new(ErrorCode::FencedInstanceId, message));
        }
        // A member of the classic protocol leaves no word that it is away: its instance is taken over at once.
        if member.classic.is_none() && member.epoch != EPOCH_AWAY {
            let message = format!(
                "Static member {id} with instance id {instance} cannot join the group because the instance id is \
                 owned by {former} member."
            );
            return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
        }
        self.replace(turn, &former, &id);
        Ok(id)
    }

    /// An instance comes back under a new name: it takes over what the former one had.
    pub(super) fn replace(&mut self, turn: &mut Turn<'_>, former: &Str, id: &Str) {
        let target = self.target.get(former).cloned().unwrap_or_default();
        let member = self.members[former].clone();
        self.remove(turn, former);
        let member = Member { id: id.clone(), epoch: 0, previous_epoch: 0, ..member };
        let (key, value) = member.to_metadata(&self.id);
        self.write(turn, key, Some(value));
        self.write(turn, target_key(&self.id, id), Some(target_value(&target)));
        let (key, value) = member.to_current_assignment(&self.id);
        self.write(turn, key, Some(value));
    }

    /// Takes over what a member says of itself. The group's next epoch begins if that changes what it is subscribed to,
    /// or if its topics have changed.
    pub(super) fn subscribe(&mut self, turn: &mut Turn<'_>, before: Option<&Member>, member: Member) {
        let mut is_due = false;
        if before != Some(&member) {
            let (key, value) = member.to_metadata(&self.id);
            self.write(turn, key, Some(value));
            is_due =
                before.is_none_or(|before| before.subscribed_topic_names != member.subscribed_topic_names);
        }
        let topics = &turn.image.topics;
        let is_new = self.sees_new_topics(topics);
        is_due |= is_new && self.hash_of_topics(topics) != self.metadata_hash;
        let former_regex = before.and_then(|member| member.regex()).cloned();
        let left_behind = former_regex.filter(|former| member.regex() != Some(former));
        is_due |= self.follow_regex(turn, left_behind.as_ref(), &member, topics, is_new);
        if is_due {
            self.bump_epoch(turn, Some(topics));
        }
    }

    /// The answer. The assignment is told when it has changed, and to who says everything of itself.
    fn told(
        &self,
        beat: &Beat,
        id: &Str,
        before: Option<&Member>,
        heartbeat_interval_ms: i32,
    ) -> ConsumerGroupHeartbeatResponse {
        let request = &beat.request;
        let member = &self.members[id];
        let says_all = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let partitions = |member: &Member| -> Partitions { super::member::partitions_of(&member.assigned) };
        let had = before.map(&partitions).unwrap_or_default();
        let is_told = request.member_epoch == 0 || says_all || had != partitions(member);
        let topic = |(topic_id, partitions): (protocol::Uuid, BTreeSet<i32>)| TopicPartitions {
            topic_id,
            partitions: partitions.into_iter().collect(),
            ..Default::default()
        };
        let assignment = is_told.then(|| Assignment {
            topic_partitions: partitions(member).into_iter().map(topic).collect(),
            ..Default::default()
        });
        ConsumerGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: member.epoch,
            heartbeat_interval_ms,
            assignment,
            ..Default::default()
        }
    }
}

/// # Errors
/// `GROUP_MAX_SIZE_REACHED` for who would be one too many.
pub(crate) fn check_room(members: usize, is_member: bool, config: &GroupConfig) -> Result<(), Refusal> {
    let size_max = config.consumer_size_max;
    if members < size_max || is_member {
        return Ok(());
    }
    let message = format!("The consumer group has reached its maximum capacity of {size_max} members.");
    Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message))
}

/// A member after what a heartbeat says of it.
fn described_by(beat: &Beat, id: &Str, before: Option<&Member>) -> Member {
    let request = &beat.request;
    let mut member = before.cloned().unwrap_or_else(|| Member::new(id.clone()));
    let set = |place: &mut Option<Str>, given: &Option<Str>| {
        if let Some(given) = given {
            *place = Some(given.detached());
        }
    };
    set(&mut member.instance_id, &request.instance_id);
    set(&mut member.rack_id, &request.rack_id);
    set(&mut member.server_assignor, &request.server_assignor);
    set(&mut member.subscribed_topic_regex, &request.subscribed_topic_regex);
    if request.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(names) = &request.subscribed_topic_names {
        member.subscribed_topic_names = names.iter().map(Str::detached).collect();
    }
    member.client_id = beat.client_id.detached();
    member.client_host = beat.client_host.detached();
    member.classic = None;
    member
}

/// A member may be one step behind, where the answer to its last heartbeat got lost. With 0 it begins anew.
fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    let is_lost_answer =
        || epoch == member.previous_epoch && is_part(request.topic_partitions.as_deref(), member);
    if epoch == member.epoch || epoch == 0 || (epoch < member.epoch && is_lost_answer()) {
        return Ok(());
    }
    let side = if epoch > member.epoch { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {side} member epoch ({epoch}) than the one known by the group coordinator \
         ({}). The member must abandon all its partitions and rejoin.",
        member.epoch
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

fn is_part(owned: Option<&[Owned]>, member: &Member) -> bool {
    let is_assigned = |topic: &Owned| {
        let of_topic = member.assigned.get(&topic.topic_id);
        topic.partitions.iter().all(|partition| of_topic.is_some_and(|p| p.contains_key(partition)))
    };
    owned.is_some_and(|owned| owned.iter().all(is_assigned))
}
