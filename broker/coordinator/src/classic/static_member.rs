//! Static members (KIP-345): an instance that comes back takes the place that it had.

use protocol::messages::JoinGroupResponse;
use protocol::{ErrorCode, Str};

use super::{Awaits, ClassicGroup, State, Turn};
use crate::machine::Ticket;
use crate::operation::{Answer, Join};

impl ClassicGroup {
    /// The instance of `former` joins without a name: it was restarted. It gets a new name, and the old one is fenced.
    pub(super) fn replace_static(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        join: &Join,
        former: &Str,
        name: Str,
    ) {
        let leader_before = self.leader.clone();
        self.rename(turn, former, &name);
        self.update(&name, join, ticket);
        self.restart_heartbeat(&name, turn);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                self.go_on_stable(turn, join.version, &name, leader_before);
            }
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(turn),
            State::PreparingRebalance => self.complete_if_all_joined(turn),
            State::Empty => unreachable!("a group with a member is not empty"),
        }
    }

    fn rename(&mut self, turn: &mut Turn<'_>, former: &Str, name: &Str) {
        turn.timers.cancel(&super::Deadline::Member(self.id.clone(), former.clone()));
        let mut member = self.take_out(former).expect("instances name members");
        let fenced = ErrorCode::FencedInstanceId;
        match std::mem::replace(&mut member.awaits, Awaits::Nothing) {
            Awaits::Join(ticket) => turn.effects.answer(ticket, super::join::refused(former, fenced)),
            Awaits::Sync(ticket) => turn.effects.answer(ticket, super::sync::refused(fenced)),
            Awaits::Nothing => {}
        }
        member.id = name.clone();
        let instance = member.instance_id.clone().expect("a static member has an instance id");
        self.instances.insert(instance, name.clone());
        if self.pending_sync.remove(former) {
            self.pending_sync.insert(name.clone());
        }
        if self.is_leader(former) {
            self.leader = Some(name.clone());
        }
        self.insert(member);
    }

    /// Nothing changes but the name: no rebalance. A leader is told not to assign: by a word of its own from version 9 on,
    /// before that by the name of the leader that it was.
    fn go_on_stable(&mut self, turn: &mut Turn<'_>, version: i16, name: &Str, leader_before: Option<Str>) {
        let error = self.write(turn).err().unwrap_or(ErrorCode::None);
        let is_leader = self.is_leader(name);
        let told = self.generation_for(name);
        let answer = if version >= 9 {
            JoinGroupResponse { skip_assignment: is_leader, ..told }
        } else {
            let leader = leader_before.unwrap_or_default();
            JoinGroupResponse { leader, members: Vec::new(), ..told }
        };
        let member = self.members.get_mut(name).expect("it is in the group");
        member.is_new = false;
        if let Awaits::Join(ticket) = std::mem::replace(&mut member.awaits, Awaits::Nothing) {
            let answer = JoinGroupResponse { error_code: error.code(), ..answer };
            turn.effects.answer(ticket, Answer::Join(answer));
        }
    }
}
