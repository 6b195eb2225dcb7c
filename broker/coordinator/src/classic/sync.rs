//! SyncGroup: the leader brings the assignment, everybody takes theirs.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use protocol::{ErrorCode, Str};

use super::{Awaits, ClassicGroup, Deadline, State, Turn};
use crate::machine::Ticket;
use crate::operation::{Answer, detached};

/// A refused sync.
pub(crate) fn refused(error: ErrorCode) -> Answer {
    Answer::Sync(SyncGroupResponse { error_code: error.code(), ..Default::default() })
}

impl ClassicGroup {
    pub(crate) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        if let Err(error) = self.check_sync(request) {
            return turn.effects.answer(ticket, refused(error));
        }
        let name = request.member_id.detached();
        match self.state {
            State::Empty => turn.effects.answer(ticket, refused(ErrorCode::UnknownMemberId)),
            State::PreparingRebalance => turn.effects.answer(ticket, refused(ErrorCode::RebalanceInProgress)),
            State::CompletingRebalance => {
                let member = self.members.get_mut(&name).expect("checked above");
                let former = std::mem::replace(&mut member.awaits, Awaits::Sync(ticket));
                if let Awaits::Sync(former) = former {
                    turn.effects.answer(former, refused(ErrorCode::RebalanceInProgress));
                }
                self.synced(&name, turn);
                if self.is_leader(&name) {
                    self.assign(turn, request);
                }
            }
            State::Stable => {
                self.synced(&name, turn);
                let answer = self.assignment_of(&name);
                turn.effects.answer(ticket, answer);
                self.restart_heartbeat(&name, turn);
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |told: &Option<Str>, own: &Option<Str>| told.is_some() && told != own;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn synced(&mut self, name: &Str, turn: &mut Turn<'_>) {
        self.pending_sync.remove(name);
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&Deadline::Sync(self.id.clone()));
        }
    }

    /// The leader's assignment holds from now on. One that is too large to be kept makes the round begin anew, as it does
    /// with Kafka.
    fn assign(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest) {
        let given: BTreeMap<&str, &Bytes> =
            request.assignments.iter().map(|a| (a.member_id.as_str(), &a.assignment)).collect();
        for (name, member) in &mut self.members {
            member.assignment = given.get(name.as_str()).map(|bytes| detached(bytes)).unwrap_or_default();
        }
        self.go_to(State::Stable, turn.now);
        if let Err(error) = self.write(turn) {
            self.state = State::CompletingRebalance;
            self.end_sync(turn, Some(error));
            return self.prepare_rebalance(turn);
        }
        self.end_sync(turn, None);
    }

    /// The round is given up before everybody has an assignment.
    pub(super) fn give_up_sync(&mut self, turn: &mut Turn<'_>) {
        self.end_sync(turn, Some(ErrorCode::RebalanceInProgress));
    }

    /// Answers all who wait for their assignment.
    fn end_sync(&mut self, turn: &mut Turn<'_>, error: Option<ErrorCode>) {
        let names: Vec<Str> = self.members.keys().cloned().collect();
        for name in names {
            let member = self.members.get_mut(&name).expect("it was listed a moment ago");
            if error.is_some() {
                member.assignment = Bytes::new();
            }
            let Awaits::Sync(ticket) = member.awaits else { continue };
            member.awaits = Awaits::Nothing;
            let answer = error.map_or_else(|| self.assignment_of(&name), refused);
            turn.effects.answer(ticket, answer);
            self.restart_heartbeat(&name, turn);
        }
    }

    fn assignment_of(&self, name: &Str) -> Answer {
        Answer::Sync(SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members[name].assignment.clone(),
            ..Default::default()
        })
    }
}
