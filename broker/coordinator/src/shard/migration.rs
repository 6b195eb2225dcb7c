//! Groups that change their kind while they have members, and the members that make them do so.

use protocol::messages::JoinGroupResponse;
use protocol::{ErrorCode, Str};

use super::GroupShard;
use crate::classic::Turn;
use crate::consumer::{self, ConsumerGroup, Downgrade, Refusal};
use crate::group::Group;
use crate::machine::{Effects, Moment};
use crate::operation::{Answer, Join};
use crate::records;

impl GroupShard {
    /// JoinGroup of a consumer group that has members.
    pub(super) fn join_consumers(
        &mut self,
        now: Moment,
        join: &Join,
        effects: &mut Effects<Answer>,
    ) -> Result<JoinGroupResponse, ErrorCode> {
        let id = &join.request.group_id;
        let joined = self.on_consumer_group(now, effects, id, |group, turn| group.join(turn, join));
        let (answer, downgrade) = joined.expect("the caller has looked")?;
        if let Some(downgrade) = downgrade {
            self.downgrade(now, id, &[], downgrade, effects);
        }
        Ok(answer)
    }

    /// Takes members out of a consumer group. Without its last member of the newer protocol it goes on as a classic group.
    pub(super) fn fence(&mut self, now: Moment, id: &Str, members: &[Str], effects: &mut Effects<Answer>) {
        let Some(Group::Consumer(group)) = self.groups.get(id) else { return };
        let members: Vec<Str> =
            members.iter().filter(|id| group.members.contains_key(*id)).cloned().collect();
        if members.is_empty() {
            return;
        }
        let downgrade = Downgrade { generation: group.epoch, begins_round: true };
        let is_possible = group.may_downgrade(&members, group.members.len() - members.len(), &self.config);
        if is_possible && self.downgrade(now, id, &members, downgrade, effects) {
            return;
        }
        self.on_consumer_group(now, effects, id, |group, turn| group.fence(turn, &members));
    }

    /// Makes a consumer group of a classic one for a member that wants to join it.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `GROUP_MAX_SIZE_REACHED`, and `UNKNOWN_SERVER_ERROR` where its records do not fit one batch,
    /// all as Kafka. The group stays as it was.
    pub(super) fn upgrade(
        &mut self,
        now: Moment,
        id: &Str,
        joining: &Str,
        effects: &mut Effects<Answer>,
    ) -> Result<(), Refusal> {
        let Some(Group::Classic(classic)) = self.groups.get_mut(id) else {
            unreachable!("the caller has looked")
        };
        consumer::check_upgrade(classic, &self.config)?;
        consumer::check_room(classic.members.len(), classic.members.contains_key(joining), &self.config)?;
        let mut records = Effects::default();
        let (config, image, timers) = (&self.config, &self.image, &mut self.timers);
        let mut turn = Turn { now, config, image, timers, effects: &mut records };
        turn.effects.entries.push(records::group(id.clone(), None));
        let group = ConsumerGroup::from_classic(&mut turn, classic)?;
        if records.size_bytes() > self.config.batch_bytes_max {
            let message = format!("The records of group {id} as a consumer group do not fit one batch.");
            return Err(Refusal::new(ErrorCode::UnknownServerError, message));
        }
        let (config, image, timers) = (&self.config, &self.image, &mut self.timers);
        classic.dissolve(&mut Turn { now, config, image, timers, effects });
        effects.entries.append(&mut records.entries);
        self.groups.insert(id.clone(), Group::Consumer(group));
        Ok(())
    }

    /// Makes a classic group of a consumer group without some of its members. False if that cannot be done.
    fn downgrade(
        &mut self,
        now: Moment,
        id: &Str,
        without: &[Str],
        how: Downgrade,
        effects: &mut Effects<Answer>,
    ) -> bool {
        let Some(Group::Consumer(group)) = self.groups.get(id) else { return false };
        let mut records = Effects::default();
        let (config, image, timers) = (&self.config, &self.image, &mut self.timers);
        let mut turn = Turn { now, config, image, timers, effects: &mut records };
        let Some(mut classic) = group.to_classic(&turn, without, how.generation) else { return false };
        group.tombstones(&mut turn);
        if classic.write(&mut turn).is_err() || records.size_bytes() > self.config.batch_bytes_max {
            return false;
        }
        effects.entries.append(&mut records.entries);
        let (config, image, timers) = (&self.config, &self.image, &mut self.timers);
        let mut turn = Turn { now, config, image, timers, effects };
        group.end_all_waits(&mut turn);
        let members: Vec<Str> = classic.members.keys().cloned().collect();
        for member in &members {
            classic.restart_heartbeat(member, &mut turn);
        }
        if how.begins_round {
            classic.prepare_rebalance(&mut turn);
        }
        self.groups.insert(id.clone(), Group::Classic(classic));
        true
    }
}
