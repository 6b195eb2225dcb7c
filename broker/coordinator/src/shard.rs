//! One partition of `__consumer_offsets`: the groups that hash to it and their offsets.
//!
//! ```text
//!  operation ─► the group that it names ─► classic/<request>     joins, syncs, heartbeats, leaves
//!            └► offsets                 ─► commit, fetch, admin  whatever kind of group it is
//! ```
//! **Invariant:** a group is in the map exactly while it has members, a record in the log, or is somebody's first commit.

mod admin;
mod commit;
mod consumer;
mod expiry;
mod fetch;
mod measure;
mod migration;
#[cfg(test)]
mod tests;

pub use measure::{GroupMeasure, MeasuredPage};

use std::collections::BTreeMap;
use std::sync::Arc;

use metadata::Image;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::messages::{
    GroupKey, GroupValue, HeartbeatRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
};
use protocol::{ErrorCode, Str};

use crate::classic::{self, ClassicGroup, Deadline, Turn};
use crate::config::GroupConfig;
use crate::consumer::ConsumerGroup;
use crate::group::Group;
use crate::machine::{Effects, Entry, Machine, Moment, Ticket};
use crate::offsets::Offsets;
use crate::operation::{Answer, Join, Operation};
use crate::records::{self, Change};
use crate::timers::Timers;

/// See the module.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupConfig,
    /// The cluster's metadata as it was last shown.
    image: Arc<Image>,
    groups: BTreeMap<Str, Group>,
    offsets: Offsets,
    timers: Timers<Deadline>,
    /// What could not be read of the log.
    unreadable: Vec<protocol::DecodeError>,
}

impl GroupShard {
    pub fn new(config: GroupConfig) -> GroupShard {
        GroupShard {
            config,
            image: Arc::default(),
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            unreadable: Vec::new(),
        }
    }

    /// Shows the cluster's metadata: its topics, and the settings of groups.
    pub fn see(&mut self, image: Arc<Image>) {
        self.image = image;
    }

    /// A classic group, for tests.
    pub fn group(&self, id: &str) -> Option<&ClassicGroup> {
        match self.groups.get(id)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }

    /// A consumer group, for tests.
    pub fn consumer_group(&self, id: &str) -> Option<&ConsumerGroup> {
        match self.groups.get(id)? {
            Group::Consumer(group) => Some(group),
            Group::Classic(_) => None,
        }
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Runs `decide` on a classic group that is there; None if it is not.
    fn on_group<R>(
        &mut self,
        now: Moment,
        effects: &mut Effects<Answer>,
        id: &str,
        decide: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let Group::Classic(group) = self.groups.get_mut(id)? else { return None };
        let (config, image) = (&self.config, &self.image);
        Some(decide(group, &mut Turn { now, config, image, timers: &mut self.timers, effects }))
    }

    /// The same on a consumer group.
    fn on_consumer_group<R>(
        &mut self,
        now: Moment,
        effects: &mut Effects<Answer>,
        id: &str,
        decide: impl FnOnce(&mut ConsumerGroup, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let Group::Consumer(group) = self.groups.get_mut(id)? else { return None };
        let (config, image) = (&self.config, &self.image);
        Some(decide(group, &mut Turn { now, config, image, timers: &mut self.timers, effects }))
    }

    fn join(&mut self, now: Moment, ticket: Ticket, join: &Join, effects: &mut Effects<Answer>) {
        let request = &join.request;
        let is_there = matches!(self.groups.get(&request.group_id), Some(Group::Classic(_)));
        let is_of_consumers =
            matches!(self.groups.get(&request.group_id), Some(g @ Group::Consumer(_)) if !g.is_empty());
        let error = match () {
            () if is_of_consumers => None,
            // A member of a group that is not there: it was deleted, or never was.
            () if !is_there && !request.member_id.is_empty() => Some(ErrorCode::UnknownMemberId),
            () => None,
        };
        if let Some(error) = error {
            return effects.answer(ticket, classic::refused_join(&request.member_id, error));
        }
        if is_of_consumers {
            let answer = self.join_consumers(now, join, effects);
            let answer = answer.map_or_else(|e| classic::refused_join(&request.member_id, e), Answer::Join);
            return effects.answer(ticket, answer);
        }
        if !is_there {
            let id = request.group_id.detached();
            self.forget_group(now, &id, effects);
            let group = ClassicGroup::new(id.clone());
            effects.entries.push(records::group(id.clone(), Some(group.to_record())));
            self.groups.insert(id, Group::Classic(group));
        }
        self.on_group(now, effects, &request.group_id, |group, turn| group.join(turn, ticket, join));
    }

    fn sync(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &SyncGroupRequest,
        effects: &mut Effects<Answer>,
    ) {
        let id = &request.group_id;
        if self.on_group(now, effects, id, |group, turn| group.sync(turn, ticket, request)).is_some() {
            return;
        }
        let synced = self.on_consumer_group(now, effects, id, |group, turn| group.sync(turn, request));
        let answer = synced
            .unwrap_or(Err(ErrorCode::UnknownMemberId))
            .map_or_else(classic::refused_sync, Answer::Sync);
        effects.answer(ticket, answer);
    }

    fn heartbeat(
        &mut self,
        now: Moment,
        request: &HeartbeatRequest,
        effects: &mut Effects<Answer>,
    ) -> ErrorCode {
        let id = &request.group_id;
        let heard = self.on_group(now, effects, id, |group, turn| group.heartbeat(turn, request));
        heard.unwrap_or_else(|| {
            let heard = self
                .on_consumer_group(now, effects, id, |group, turn| group.heartbeat_of_classic(turn, request));
            heard.unwrap_or(Err(ErrorCode::UnknownMemberId)).err().unwrap_or(ErrorCode::None)
        })
    }

    fn leave(
        &mut self,
        now: Moment,
        request: &LeaveGroupRequest,
        effects: &mut Effects<Answer>,
    ) -> LeaveGroupResponse {
        if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(_))) {
            return self.leave_consumers(now, request, effects);
        }
        let left = self.on_group(now, effects, &request.group_id, |group, turn| group.leave(turn, request));
        left.unwrap_or_else(|| nobody_left(request))
    }

    fn due(&mut self, now: Moment, deadline: Deadline, effects: &mut Effects<Answer>) {
        match deadline {
            Deadline::Member(id, name) => {
                let of_classic = self.on_group(now, effects, &id, |group, turn| group.silent(&name, turn));
                if of_classic.is_none() {
                    self.fence(now, &id, &[name], effects);
                }
            }
            Deadline::Revocation(id, name) | Deadline::Rejoin(id, name) | Deadline::Resync(id, name) => {
                self.fence(now, &id, &[name], effects);
            }
            Deadline::Join(id) => {
                self.on_group(now, effects, &id, |group, turn| group.join_expired(turn));
            }
            Deadline::Sync(id) => {
                self.on_group(now, effects, &id, |group, turn| group.sync_expired(turn));
            }
            Deadline::Expiry => self.expire_offsets(now, effects),
        }
    }

    /// What could not be read of the log, for whoever writes the node's log.
    pub fn take_unreadable(&mut self) -> Vec<protocol::DecodeError> {
        std::mem::take(&mut self.unreadable)
    }

    fn apply_change(&mut self, change: Change, transaction: Option<i64>) {
        match change {
            Change::Offset(key, value) => {
                // A group that only commits has no record of its own, and is a group all the same.
                if transaction.is_none() && value.is_some() {
                    let id = key.group.detached();
                    self.groups.entry(id.clone()).or_insert_with(|| Group::Classic(ClassicGroup::new(id)));
                }
                self.offsets.apply(&key, value.as_ref(), transaction);
            }
            Change::Group(id, Some(value)) => {
                let id = id.detached();
                let group = ClassicGroup::from_record(id.clone(), &value);
                self.groups.insert(id, Group::Classic(group));
            }
            Change::Group(id, None) => {
                self.groups.remove(&id);
            }
            Change::Consumer(id, record) => {
                self.apply_consumer_change(&id, &record.0, record.1.as_ref());
            }
            Change::Other => {}
        }
    }

    fn apply_consumer_change(&mut self, id: &Str, key: &GroupKey, value: Option<&GroupValue>) {
        let is_there = matches!(self.groups.get(id), Some(Group::Consumer(_)));
        if value.is_none() && matches!(key, GroupKey::ConsumerGroupMetadata(_)) {
            if is_there {
                self.groups.remove(id);
            }
            return;
        }
        if !is_there && value.is_some() {
            self.groups.insert(id.detached(), Group::Consumer(ConsumerGroup::new(id.detached())));
        }
        if let Some(Group::Consumer(group)) = self.groups.get_mut(id) {
            group.apply(key, value);
        }
    }
}

/// Of a group that is not there each member is unknown: that is no error of the request.
fn nobody_left(request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let unknown = |asked: &MemberIdentity| MemberResponse {
        member_id: asked.member_id.clone(),
        group_instance_id: asked.group_instance_id.clone(),
        error_code: ErrorCode::UnknownMemberId.code(),
        ..Default::default()
    };
    LeaveGroupResponse { members: request.members.iter().map(unknown).collect(), ..Default::default() }
}

impl Machine for GroupShard {
    type Operation = Operation;
    type Answer = Answer;

    /// The operation was checked (`check`) by who brings it.
    fn perform(&mut self, now: Moment, ticket: Ticket, operation: Operation, effects: &mut Effects<Answer>) {
        let answer = match operation {
            Operation::Join(join) => return self.join(now, ticket, &join, effects),
            Operation::Sync(request) => return self.sync(now, ticket, &request, effects),
            Operation::Heartbeat(request) => Answer::Heartbeat(self.heartbeat(now, &request, effects)),
            Operation::Leave(request) => Answer::Leave(self.leave(now, &request, effects)),
            Operation::ConsumerHeartbeat(beat) => {
                Answer::ConsumerHeartbeat(self.consumer_heartbeat(now, &beat, effects))
            }
            Operation::ConsumerDescribe(id) => Answer::ConsumerDescribe(self.consumer_describe(&id)),
            Operation::Commit(commit) => Answer::Commit(self.commit(now, &commit, effects)),
            Operation::Fetch(fetch) => Answer::Fetch(self.fetch(&fetch)),
            Operation::DeleteOffsets { group, partitions } => {
                Answer::DeleteOffsets(self.delete_offsets(&group, &partitions, effects))
            }
            Operation::Describe(id) => Answer::Describe(self.describe(&id)),
            Operation::List { states, types } => Answer::List(self.list(&states, &types)),
            Operation::DeleteGroup(id) => Answer::DeleteGroup(self.delete_group(now, &id, effects)),
            Operation::Measure { after, offsets_max } => {
                Answer::Measured(self.measure(after.as_ref(), offsets_max))
            }
            Operation::TopicsDeleted(topics) => {
                self.forget_topics(&topics, effects);
                Answer::Done
            }
        };
        effects.answer(ticket, answer);
    }

    fn expire(&mut self, now: Moment, effects: &mut Effects<Answer>) {
        // What is written stands in one batch: the rest is due at the next call.
        while effects.size_bytes() < self.config.batch_bytes_max / 2
            && let Some(deadline) = self.timers.take_due(now.timer_ms)
        {
            self.due(now, deadline, effects);
        }
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.next_deadline_ms()
    }

    fn replay(&mut self, entry: &Entry, transaction: Option<i64>) {
        match records::read(entry) {
            Ok(change) => self.apply_change(change, transaction),
            // Kafka, too, goes on without a record that it cannot read: one bad record must not keep a whole shard away.
            Err(error) => self.unreadable.push(error),
        }
    }

    fn replay_end_of_transaction(&mut self, producer_id: i64, is_commit: bool) {
        self.offsets.end_transaction(producer_id, is_commit);
        let groups: Vec<Str> = self.offsets.groups().cloned().collect();
        for id in groups {
            self.groups.entry(id.clone()).or_insert_with(|| Group::Classic(ClassicGroup::new(id)));
        }
    }

    fn loaded(&mut self, now: Moment, effects: &mut Effects<Answer>) {
        let (config, image) = (&self.config, &self.image);
        let mut turn = Turn { now, config, image, timers: &mut self.timers, effects };
        for group in self.groups.values_mut() {
            group.loaded(&mut turn);
        }
        self.timers.set(Deadline::Expiry, now.timer_ms + self.config.retention_check_interval_ms);
    }
}
