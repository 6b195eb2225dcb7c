//! Heartbeat, and what its absence does.

use protocol::messages::HeartbeatRequest;
use protocol::{ErrorCode, Str};

use super::{ClassicGroup, State, Turn};

impl ClassicGroup {
    pub(crate) fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> ErrorCode {
        if let Err(error) = self.check_member(&request.member_id, request.group_instance_id.as_ref()) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance => {
                self.restart_heartbeat(&request.member_id, turn);
                ErrorCode::RebalanceInProgress
            }
            // After its join a member may send heartbeats before it has its assignment.
            State::CompletingRebalance | State::Stable => {
                self.restart_heartbeat(&request.member_id, turn);
                ErrorCode::None
            }
        }
    }

    /// A member, or a name that was given, was silent for its session time-out.
    pub(crate) fn silent(&mut self, name: &Str, turn: &mut Turn<'_>) {
        if self.pending.contains(name) {
            self.remove(name, turn);
            return self.complete_if_all_joined(turn);
        }
        if self.members.get(name).is_some_and(|member| !member.is_excused()) {
            self.remove(name, turn);
            self.after_removal(turn);
        }
    }
}
