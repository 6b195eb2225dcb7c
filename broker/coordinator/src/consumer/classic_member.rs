//! Members of the classic protocol in a consumer group: their requests in the words of the newer one (KIP-848).
//!
//! ```text
//!  JoinGroup  ─► subscription, target, the member's next step; answered at once: its epoch is the generation
//!  SyncGroup  ─► what it holds now, in the form of its own protocol
//!  Heartbeat  ─► REBALANCE_IN_PROGRESS while there is something to give back or to get: it joins again
//! ```
//! An eager member gives everything back before it joins again, a cooperative one says what it owns as it joins; to the
//! coordinator both are members that tell what they have.

use metadata::Topics;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::messages::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use protocol::record_frame::decode_versioned;
use protocol::{ErrorCode, Str};

use super::heartbeat::check_room;
use super::member::{MemberState, partitions_of};
use super::migration::{Downgrade, write_assignment};
use super::{ConsumerGroup, Member};
use crate::classic::{CONSUMER, Deadline, Protocol, Turn, rebalance_timeout_ms};
use crate::config::MigrationPolicy;
use crate::operation::Join;

impl Member {
    /// The protocol that a member of the classic kind is told to be agreed on: the one that it likes best.
    pub(super) fn classic_protocol(&self) -> Option<&ClassicProtocol> {
        self.classic.as_ref()?.supported_protocols.first()
    }

    /// What it is told whose epoch is another one.
    pub(super) fn stale(&self) -> ErrorCode {
        if self.classic.is_some() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
    }
}

impl ConsumerGroup {
    /// A member that joins by the classic protocol, and what becomes of the group if that replaces its last member of the
    /// newer one.
    ///
    /// # Errors
    /// `INCONSISTENT_GROUP_PROTOCOL`, `GROUP_MAX_SIZE_REACHED`, `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`
    pub(crate) fn join(
        &mut self,
        turn: &mut Turn<'_>,
        join: &Join,
    ) -> Result<(JoinGroupResponse, Option<Downgrade>), ErrorCode> {
        let request = &join.request;
        if turn.config.migration_policy == MigrationPolicy::Disabled {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        check_room(self.members.len(), self.members.contains_key(&request.member_id), turn.config)
            .map_err(|refusal| refusal.code)?;
        let protocols = Protocol::list(&request.protocols);
        let first = protocols.first().ok_or(ErrorCode::InconsistentGroupProtocol)?;
        if !self.supports_classic(&request.protocol_type, &protocols) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let is_unknown = request.member_id.is_empty();
        let id = if is_unknown { join.unique.to_string().into() } else { request.member_id.detached() };
        if join.version >= 4 && is_unknown && request.group_instance_id.is_none() {
            let error_code = ErrorCode::MemberIdRequired.code();
            let told =
                JoinGroupResponse { member_id: id, error_code, protocol_name: None, ..Default::default() };
            return Ok((told, None));
        }
        let subscription: ConsumerProtocolSubscription =
            decode_versioned(first.metadata.clone()).map_err(|_| ErrorCode::UnknownServerError)?;
        let downgrade = self.take_instance(turn, join, &id)?;
        let before = self.members.get(&id).cloned();
        let member = described_by(join, &id, before.as_ref(), &subscription, &protocols);
        self.subscribe(turn, before.as_ref(), member);
        self.advance_classic(turn, &id, &subscription, downgrade.is_some())?;
        self.wait_for_sync(turn, join, &id, downgrade.is_some());
        let answer = JoinGroupResponse {
            member_id: id.clone(),
            generation_id: self.members[&id].epoch,
            protocol_type: Some(Str::from_static(CONSUMER)),
            protocol_name: Some(first.name.clone()),
            ..Default::default()
        };
        let is_settled = self.epoch <= self.target_epoch;
        Ok((answer, downgrade.map(|downgrade| Downgrade { begins_round: !is_settled, ..downgrade })))
    }

    /// Whether somebody with these protocols can be served beside the members of the classic protocol.
    fn supports_classic(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        let is_known_to_all = |protocol: &Protocol| {
            let known = self.members.values().filter_map(|member| member.classic.as_ref());
            known.into_iter().all(|own| own.supported_protocols.iter().any(|p| p.name == protocol.name))
        };
        protocol_type == CONSUMER && protocols.iter().any(is_known_to_all)
    }

    /// An instance that joins takes the place of its former process. Tells whether that was the last member of the newer
    /// protocol.
    fn take_instance(
        &mut self,
        turn: &mut Turn<'_>,
        join: &Join,
        id: &Str,
    ) -> Result<Option<Downgrade>, ErrorCode> {
        let Some(instance) = &join.request.group_instance_id else { return Ok(None) };
        let Some(former) = self.instances.get(instance).cloned() else {
            let is_unknown = join.request.member_id.is_empty();
            return if is_unknown { Ok(None) } else { Err(ErrorCode::UnknownMemberId) };
        };
        let is_last = self.members[&former].classic.is_none()
            && self.may_downgrade(std::slice::from_ref(&former), self.members.len(), turn.config);
        let downgrade = is_last.then_some(Downgrade { generation: self.epoch, begins_round: true });
        if join.request.member_id.is_empty() {
            self.replace(turn, &former, id);
        } else if former != *id {
            return Err(ErrorCode::FencedInstanceId);
        }
        Ok(downgrade)
    }

    /// Works a new target out where one is due, and takes the member a step towards it. Who brings the group back to the
    /// classic protocol takes over what there is: the classic round does the rest.
    fn advance_classic(
        &mut self,
        turn: &mut Turn<'_>,
        id: &Str,
        subscription: &ConsumerProtocolSubscription,
        downgrades: bool,
    ) -> Result<(), ErrorCode> {
        if downgrades && self.epoch > self.target_epoch {
            return Ok(());
        }
        if !downgrades {
            let settings = turn.config.consumer_settings(turn.image, &self.id);
            self.assign(turn, settings);
        }
        let owned = owned_by(subscription, &turn.image.topics);
        self.reconcile(turn, id, Some(&owned)).map_err(|refusal| refusal.code)
    }

    fn wait_for_sync(&self, turn: &mut Turn<'_>, join: &Join, id: &Str, downgrades: bool) {
        turn.timers.cancel(&Deadline::Rejoin(self.id.clone(), id.clone()));
        turn.timers.cancel(&Deadline::Revocation(self.id.clone(), id.clone()));
        if !downgrades {
            self.restart_session(id, join.request.session_timeout_ms, turn);
            let deadline = turn.now.timer_ms + i64::from(rebalance_timeout_ms(join));
            turn.timers.set(Deadline::Resync(self.id.clone(), id.clone()), deadline);
        }
    }

    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, `INCONSISTENT_GROUP_PROTOCOL`,
    /// `REBALANCE_IN_PROGRESS`
    pub(crate) fn sync(
        &self,
        turn: &mut Turn<'_>,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let (member, session_timeout_ms) = self.classic_member(
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id,
        )?;
        let protocol = member.classic_protocol();
        let told_type = request.protocol_type.as_deref();
        let told_name = request.protocol_name.as_deref();
        let is_agreed = told_type.is_none_or(|told| told == CONSUMER)
            && told_name.is_none_or(|told| protocol.is_some_and(|own| own.name == *told));
        if !is_agreed {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // A member that is to give something back has joined for this target already: first it ends that.
        if self.target_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.wait_for_join(member, turn);
            return Err(ErrorCode::RebalanceInProgress);
        }
        turn.timers.cancel(&Deadline::Resync(self.id.clone(), member.id.clone()));
        self.restart_session(&member.id, session_timeout_ms, turn);
        let metadata = protocol.map(|own| own.metadata.clone()).unwrap_or_default();
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: write_assignment(&partitions_of(&member.assigned), &turn.image.topics, &metadata),
            ..Default::default()
        })
    }

    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, `REBALANCE_IN_PROGRESS`
    pub(crate) fn heartbeat_of_classic(
        &self,
        turn: &mut Turn<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let instance = request.group_instance_id.as_ref();
        let (member, session_timeout_ms) =
            self.classic_member(&request.member_id, instance, request.generation_id)?;
        self.restart_session(&member.id, session_timeout_ms, turn);
        let has_more_to_do = match member.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.awaits_others(member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        if member.epoch >= self.target_epoch && !has_more_to_do {
            return Ok(());
        }
        self.wait_for_join(member, turn);
        Err(ErrorCode::RebalanceInProgress)
    }

    /// The member that a request of the classic protocol names, and its session time-out.
    fn classic_member(
        &self,
        id: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(&Member, i32), ErrorCode> {
        if let Some(instance) = instance {
            let current = self.instances.get(instance).ok_or(ErrorCode::UnknownMemberId)?;
            if current != id {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch != generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok((member, classic.session_timeout_ms))
    }

    /// Somebody else still holds a partition that is to become this member's.
    fn awaits_others(&self, member: &Member) -> bool {
        let is_held =
            |topic, partition| self.owners.get(&(topic, partition)).is_some_and(|owner| *owner != member.id);
        let target = self.target.get(&member.id).into_iter().flatten();
        target.into_iter().any(|(topic, partitions)| partitions.iter().any(|p| is_held(*topic, *p)))
    }

    fn wait_for_join(&self, member: &Member, turn: &mut Turn<'_>) {
        let deadline = turn.now.timer_ms + i64::from(member.rebalance_timeout_ms);
        turn.timers.set_if_absent(Deadline::Rejoin(self.id.clone(), member.id.clone()), deadline);
    }

    /// A member of the classic protocol is none any more.
    pub(super) fn end_classic_waits(&self, id: &Str, turn: &mut Turn<'_>) {
        turn.timers.cancel(&Deadline::Rejoin(self.id.clone(), id.clone()));
        turn.timers.cancel(&Deadline::Resync(self.id.clone(), id.clone()));
    }
}

/// A member after what its JoinGroup says of it.
fn described_by(
    join: &Join,
    id: &Str,
    before: Option<&Member>,
    subscription: &ConsumerProtocolSubscription,
    protocols: &[Protocol],
) -> Member {
    let mut member = before.cloned().unwrap_or_else(|| Member::new(id.clone()));
    if let Some(instance) = &join.request.group_instance_id {
        member.instance_id = Some(instance.detached());
    }
    if let Some(rack) = subscription.rack_id.as_ref().filter(|rack| !rack.is_empty()) {
        member.rack_id = Some(rack.detached());
    }
    member.rebalance_timeout_ms = rebalance_timeout_ms(join);
    member.subscribed_topic_names = subscription.topics.iter().map(Str::detached).collect();
    member.subscribed_topic_regex = Some(Str::default());
    member.client_id = join.client_id.detached();
    member.client_host = join.client_host.detached();
    member.classic = Some(classic_metadata(join.request.session_timeout_ms, protocols));
    member
}

pub(super) fn classic_metadata(session_timeout_ms: i32, protocols: &[Protocol]) -> ClassicMemberMetadata {
    let one = |protocol: &Protocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
        ..Default::default()
    };
    let supported_protocols = protocols.iter().map(one).collect();
    ClassicMemberMetadata { session_timeout_ms, supported_protocols, ..Default::default() }
}

/// What a member says that it owns, of the topics that exist.
fn owned_by(subscription: &ConsumerProtocolSubscription, topics: &Topics) -> Vec<TopicPartitions> {
    let of_topic = |topic_id, partitions: &[i32]| TopicPartitions {
        topic_id,
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let owned = subscription.owned_partitions.iter();
    owned.filter_map(|owned| Some(of_topic(topics.id(&owned.topic)?, &owned.partitions))).collect()
}
