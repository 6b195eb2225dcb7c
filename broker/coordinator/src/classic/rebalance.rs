//! The round: from the first who joins to a new generation.

use protocol::{ErrorCode, Str};

use super::{Awaits, ClassicGroup, Deadline, InitialWait, State, Turn};
use crate::operation::Answer;

impl ClassicGroup {
    /// Somebody joined: a new round begins, or the present one may be complete.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::PreparingRebalance => self.complete_if_all_joined(turn),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(turn),
        }
    }

    pub(crate) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::CompletingRebalance {
            self.give_up_sync(turn);
        }
        turn.timers.cancel(&Deadline::Sync(self.id.clone()));
        self.pending_sync.clear();
        let begins = self.state == State::Empty;
        self.go_to(State::PreparingRebalance, turn.now);
        if begins {
            // The first members of a group come one after another: waiting a moment saves a rebalance for each.
            let timeout_ms = self.rebalance_timeout_ms();
            let delay_ms = turn.config.initial_rebalance_delay_ms.min(timeout_ms);
            self.initial_wait = Some(InitialWait { delay_ms, remaining_ms: (timeout_ms - delay_ms).max(0) });
            self.grew = false;
            turn.timers.set(Deadline::Join(self.id.clone()), turn.now.timer_ms + delay_ms);
        } else if self.have_all_joined() {
            self.complete_join(turn);
        } else {
            let deadline = turn.now.timer_ms + self.rebalance_timeout_ms();
            turn.timers.set(Deadline::Join(self.id.clone()), deadline);
        }
    }

    /// Ends the round early when nobody is missing. The first wait of a group is not cut short: more may come.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        let is_waiting = self.state == State::PreparingRebalance && self.previous != State::Empty;
        if is_waiting && self.have_all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time for joining is up.
    pub(crate) fn join_expired(&mut self, turn: &mut Turn<'_>) {
        if self.state != State::PreparingRebalance {
            return;
        }
        if let Some(wait) = self.initial_wait
            && std::mem::take(&mut self.grew)
            && wait.remaining_ms > 0
        {
            let delay_ms = turn.config.initial_rebalance_delay_ms.min(wait.remaining_ms);
            let remaining_ms = (wait.remaining_ms - wait.delay_ms).max(0);
            self.initial_wait = Some(InitialWait { delay_ms, remaining_ms });
            turn.timers.set(Deadline::Join(self.id.clone()), turn.now.timer_ms + delay_ms);
            return;
        }
        self.complete_join(turn);
    }

    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(&Deadline::Join(self.id.clone()));
        self.initial_wait = None;
        let missing = self.members.values().filter(|m| !m.awaits_join() && m.instance_id.is_none());
        let missing: Vec<Str> = missing.map(|member| member.id.clone()).collect();
        for name in &missing {
            self.remove(name, turn);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members are left and none of them has come back: they keep their place a while longer.
            let deadline = turn.now.timer_ms + self.rebalance_timeout_ms();
            turn.timers.set(Deadline::Join(self.id.clone()), deadline);
            return;
        }
        self.begin_generation(turn);
    }

    /// Somebody who is there must lead; false if nobody is.
    fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|member| member.awaits_join()) {
            return true;
        }
        let joined = self.members.values().find(|member| member.awaits_join());
        let Some(name) = joined.map(|member| member.id.clone()) else { return false };
        self.leader = Some(name);
        true
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.generation = self.generation.wrapping_add(1).max(0);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.subscribed = Some(Default::default());
            self.leader = None;
            self.go_to(State::Empty, turn.now);
            // An empty group's record is small.
            self.write(turn).expect("a record without members fits a batch");
            return;
        }
        self.protocol = self.select_protocol();
        self.subscribed = self.read_subscriptions();
        self.go_to(State::CompletingRebalance, turn.now);
        let names: Vec<Str> = self.members.keys().cloned().collect();
        for name in names {
            let answer = self.generation_for(&name);
            let member = self.members.get_mut(&name).expect("it was listed a moment ago");
            member.is_new = false;
            if let Awaits::Join(ticket) = std::mem::replace(&mut member.awaits, Awaits::Nothing) {
                turn.effects.answer(ticket, Answer::Join(answer));
            }
            self.restart_heartbeat(&name, turn);
            self.pending_sync.insert(name);
        }
        let deadline = turn.now.timer_ms + self.rebalance_timeout_ms();
        turn.timers.set(Deadline::Sync(self.id.clone()), deadline);
    }

    /// Not all members asked for their assignment in time: those who did not are gone.
    pub(crate) fn sync_expired(&mut self, turn: &mut Turn<'_>) {
        let is_waiting = matches!(self.state, State::CompletingRebalance | State::Stable);
        if !is_waiting || self.pending_sync.is_empty() {
            return;
        }
        for name in std::mem::take(&mut self.pending_sync) {
            self.remove(&name, turn);
        }
        self.prepare_rebalance(turn);
    }

    /// Takes a member, or a name that is pending, out of the group. Whoever waits is told.
    pub(super) fn remove(&mut self, name: &Str, turn: &mut Turn<'_>) {
        turn.timers.cancel(&Deadline::Member(self.id.clone(), name.clone()));
        self.pending.remove(name);
        self.pending_sync.remove(name);
        let Some(member) = self.take_out(name) else { return };
        match member.awaits {
            // The consumer tries again with no name, if it still lives.
            Awaits::Join(ticket) => {
                let answer = super::join::refused(&Str::default(), ErrorCode::UnknownMemberId);
                turn.effects.answer(ticket, answer);
            }
            Awaits::Sync(ticket) => {
                turn.effects.answer(ticket, super::sync::refused(ErrorCode::UnknownMemberId));
            }
            Awaits::Nothing => {}
        }
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance) == Some(name)
        {
            self.instances.remove(instance);
        }
        if self.is_leader(name) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// A member is gone: the others take over what it had.
    pub(super) fn after_removal(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Empty => {}
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(turn),
            State::PreparingRebalance => self.complete_if_all_joined(turn),
        }
    }

    /// The group goes on as one of another kind: who waits is to join that, and nothing is due here any more.
    pub(crate) fn dissolve(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(&Deadline::Join(self.id.clone()));
        turn.timers.cancel(&Deadline::Sync(self.id.clone()));
        for name in &self.pending {
            turn.timers.cancel(&Deadline::Member(self.id.clone(), name.clone()));
        }
        let names: Vec<Str> = self.members.keys().cloned().collect();
        for name in &names {
            self.restart_heartbeat(name, turn);
        }
        let code = ErrorCode::RebalanceInProgress;
        for (name, member) in &mut self.members {
            match std::mem::replace(&mut member.awaits, Awaits::Nothing) {
                Awaits::Join(ticket) => turn.effects.answer(ticket, super::join::refused(name, code)),
                Awaits::Sync(ticket) => turn.effects.answer(ticket, super::sync::refused(code)),
                Awaits::Nothing => {}
            }
        }
    }
}
