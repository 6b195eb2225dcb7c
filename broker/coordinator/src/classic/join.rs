//! JoinGroup: who comes in, who comes back, and what that does to the round.

use protocol::messages::JoinGroupResponse;
use protocol::messages::join_group_response::JoinGroupResponseMember;
use protocol::{ErrorCode, Str, Uuid};

use super::{Awaits, ClassicGroup, Deadline, Member, Protocol, State, Turn};
use crate::machine::Ticket;
use crate::operation::{Answer, Join};

/// A new member waits so long for its first generation at most (Kafka's `CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// As Java writes a UUID.
fn hyphenated(id: Uuid) -> String {
    let hex = format!("{:032x}", id.0);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A refused join.
pub(crate) fn refused(member_id: &Str, error: ErrorCode) -> Answer {
    Answer::Join(JoinGroupResponse {
        error_code: error.code(),
        protocol_name: None,
        member_id: member_id.clone(),
        ..Default::default()
    })
}

impl ClassicGroup {
    pub(crate) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) {
        let name = join.request.member_id.clone();
        let refuse =
            |turn: &mut Turn<'_>, name: &Str, error| turn.effects.answer(ticket, refused(name, error));
        if !self.has_room_for(&name, turn) {
            // Who was let in before the group was full is forgotten, so that it does not hold up the others.
            self.remove(&name, turn);
            return refuse(turn, &Str::default(), ErrorCode::GroupMaxSizeReached);
        }
        let protocols = Protocol::list(&join.request.protocols);
        if !self.supports(&join.request.protocol_type, &protocols) {
            return refuse(turn, &name, ErrorCode::InconsistentGroupProtocol);
        }
        if name.is_empty() {
            return self.join_new(turn, ticket, join);
        }
        if self.pending.contains(&name) {
            return self.add(turn, ticket, join, name.detached());
        }
        if let Err(error) = self.check_member(&name, join.request.group_instance_id.as_ref()) {
            return refuse(turn, &name, error);
        }
        self.join_again(turn, ticket, join, &name, &protocols);
    }

    fn has_room_for(&self, name: &Str, turn: &Turn<'_>) -> bool {
        let size_max = turn.config.size_max;
        let member = self.members.get(name);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                // Counting is left to groups that may be full.
                self.members.len() < size_max
                    || member.is_some_and(Member::awaits_join)
                    || self.waiting_to_join() < size_max
            }
            State::CompletingRebalance | State::Stable => member.is_some() || self.members.len() < size_max,
        }
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) {
        let instance = join.request.group_instance_id.as_ref();
        let base = instance.unwrap_or(&join.client_id);
        let name = Str::from(format!("{base}-{}", hyphenated(join.unique)));
        if let Some(instance) = instance {
            return match self.instances.get(instance).cloned() {
                Some(former) => self.replace_static(turn, ticket, join, &former, name),
                None => self.add(turn, ticket, join, name),
            };
        }
        // From version 4 on, a member is counted only once it has come back with its name (KIP-394): who never gets the
        // first answer leaves no ghost behind.
        if join.version >= 4 {
            self.pending.insert(name.clone());
            let deadline = turn.now.timer_ms + i64::from(join.request.session_timeout_ms);
            turn.timers.set(Deadline::Member(self.id.clone(), name.clone()), deadline);
            return turn.effects.answer(ticket, refused(&name, ErrorCode::MemberIdRequired));
        }
        self.add(turn, ticket, join, name);
    }

    /// A member that was not there before.
    fn add(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join, name: Str) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.request.protocol_type.detached());
        }
        if self.leader.is_none() {
            self.leader = Some(name.clone());
        }
        // During the first wait of a group, whoever comes makes it wait a little longer.
        self.grew |= self.state == State::PreparingRebalance && self.generation == 0;
        let mut member = Member::new(name.clone(), join);
        member.awaits = Awaits::Join(ticket);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), name.clone());
        }
        self.pending.remove(&name);
        self.insert(member);
        let deadline = turn.now.timer_ms + NEW_MEMBER_JOIN_TIMEOUT_MS;
        turn.timers.set(Deadline::Member(self.id.clone(), name), deadline);
        self.rebalance_or_complete(turn);
    }

    fn join_again(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        join: &Join,
        name: &Str,
        protocols: &[Protocol],
    ) {
        let member = &self.members[name];
        let is_the_same = member.protocols == protocols;
        match self.state {
            // It did not get the answer to its former join: it is told the generation again.
            State::CompletingRebalance if is_the_same => {
                let answer = self.generation_for(name);
                turn.effects.answer(ticket, Answer::Join(answer));
            }
            State::Stable if is_the_same && !self.is_leader(name) => {
                let answer = self.generation_for(name);
                turn.effects.answer(ticket, Answer::Join(answer));
            }
            // A leader that joins again wants to assign anew, e.g. because it saw new partitions.
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let member = self.members.get_mut(name).expect("checked by the caller");
                let former = std::mem::replace(&mut member.awaits, Awaits::Nothing);
                self.update(name, join, ticket);
                self.abandon(turn, name, former);
                self.rebalance_or_complete(turn);
            }
            State::Empty => turn.effects.answer(ticket, refused(name, ErrorCode::UnknownMemberId)),
        }
    }

    /// A wait that a later request of the same member took over.
    fn abandon(&self, turn: &mut Turn<'_>, name: &Str, former: Awaits) {
        match former {
            Awaits::Join(ticket) => {
                turn.effects.answer(ticket, refused(name, ErrorCode::RebalanceInProgress))
            }
            Awaits::Sync(ticket) => {
                turn.effects.answer(ticket, super::sync::refused(ErrorCode::RebalanceInProgress));
            }
            Awaits::Nothing => {}
        }
    }

    /// What a member is told when a generation begins: the leader gets what all members say.
    pub(super) fn generation_for(&self, name: &Str) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: name.clone(),
            members: if self.is_leader(name) { self.told_members() } else { Vec::new() },
            ..Default::default()
        }
    }

    pub(super) fn told_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let told = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
            ..Default::default()
        };
        self.members.values().map(told).collect()
    }
}
