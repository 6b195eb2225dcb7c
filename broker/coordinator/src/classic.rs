//! A classic group: members elect a leader among themselves through the coordinator, and the leader assigns.
//!
//! ```text
//!   Empty ─ join ─► PreparingRebalance ─ all have joined, or time is up ─► CompletingRebalance ─ leader's assignment ─► Stable
//!     ▲                     ▲──────────────── somebody joins, leaves, or falls silent ────────────────┴──────────────────┘
//!     └──── nobody is left ─┘
//! ```
//! What must survive (generation, protocol, leader, members with their assignments) is one record, written when the leader
//! has assigned. The round itself (who waits, who is pending) is lost with the shard: clients begin it anew.
//! Kafka's `ClassicGroup` and `GroupMetadataManager` are the source of the rules.
//!
//! **Invariant:** a member that is Stable has exactly the assignment of the group's generation.

mod heartbeat;
mod join;
mod leave;
mod member;
mod rebalance;
mod static_member;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metadata::Image;
use protocol::messages::{ConsumerProtocolSubscription, GroupMetadataValue};
use protocol::record_frame::decode_versioned;
use protocol::{ErrorCode, Str};

pub(crate) use member::{Member, Protocol, rebalance_timeout_ms};

pub(crate) use join::refused as refused_join;
pub(crate) use sync::refused as refused_sync;

use crate::config::GroupConfig;
use crate::machine::{Effects, Moment, Ticket};
use crate::operation::{Answer, Join};
use crate::records;
use crate::timers::Timers;

/// The protocol type of Kafka's consumers, whose subscriptions the coordinator can read.
pub(crate) const CONSUMER: &str = "consumer";

/// Where a group is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name, as DescribeGroups and ListGroups tell it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// What a deadline is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// A member of a group, or one that was only given its name, is silent.
    Member(Str, Str),
    /// A member of a consumer group does not give back what it was asked for.
    Revocation(Str, Str),
    /// A member of a consumer group that speaks the classic protocol was told to join again, and does not.
    Rejoin(Str, Str),
    /// One that has joined does not ask for its assignment.
    Resync(Str, Str),
    /// Not all have joined.
    Join(Str),
    /// Not all have asked for their assignment.
    Sync(Str),
    /// Offsets may have expired.
    Expiry,
}

/// What one operation may touch besides its group.
pub(crate) struct Turn<'a> {
    pub(crate) now: Moment,
    pub(crate) config: &'a GroupConfig,
    /// The cluster's metadata now.
    pub(crate) image: &'a Arc<Image>,
    pub(crate) timers: &'a mut Timers<Deadline>,
    pub(crate) effects: &'a mut Effects<Answer>,
}

/// The wait of a new group for more members: at most so long in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InitialWait {
    delay_ms: i64,
    remaining_ms: i64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    pub id: Str,
    pub(crate) state: State,
    pub(crate) previous: State,
    pub(crate) state_since_ms: Option<i64>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<Str>,
    pub(crate) protocol: Option<Str>,
    pub(crate) leader: Option<Str>,
    pub(crate) members: BTreeMap<Str, Member>,
    /// How many members know a protocol: asking them all, for each who joins, would take hours in a large group.
    supported: BTreeMap<Str, usize>,
    /// Instance ids and the members that have them now.
    pub(crate) instances: BTreeMap<Str, Str>,
    /// Were given a name, and are to come back with it.
    pub(crate) pending: BTreeSet<Str>,
    pub(crate) pending_sync: BTreeSet<Str>,
    /// What consumers subscribe to; None if it is not known.
    pub(crate) subscribed: Option<BTreeSet<Str>>,
    pub(crate) initial_wait: Option<InitialWait>,
    /// Somebody came during the initial wait.
    pub(crate) grew: bool,
}

impl ClassicGroup {
    pub fn new(id: Str) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            previous: State::Empty,
            state_since_ms: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            supported: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            initial_wait: None,
            grew: false,
        }
    }

    /// The group that a record tells of.
    pub fn from_record(id: Str, value: &GroupMetadataValue) -> ClassicGroup {
        let text = |text: &Option<Str>| text.as_ref().map(Str::detached);
        let mut group = ClassicGroup::new(id);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.detached()).filter(|t| !t.is_empty());
        group.protocol = text(&value.protocol);
        group.leader = text(&value.leader);
        group.state_since_ms = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        group.state = if value.members.is_empty() { State::Empty } else { State::Stable };
        group.previous = group.state;
        let protocol = value.protocol.clone().unwrap_or_default();
        for recorded in &value.members {
            let member = Member::from_record(recorded, &protocol);
            if let Some(instance) = &member.instance_id {
                group.instances.insert(instance.clone(), member.id.clone());
            }
            group.insert(member);
        }
        group.subscribed = group.read_subscriptions();
        group
    }

    /// What must survive.
    pub fn to_record(&self) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref();
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: self.members.values().map(|member| member.to_record(protocol)).collect(),
            ..Default::default()
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether its members are Kafka's consumers, by what they say of themselves.
    pub(crate) fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        // Where subscriptions cannot be read, any topic may be one.
        self.subscribed.as_ref().is_none_or(|topics| topics.contains(topic))
    }

    pub(crate) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(crate) fn waiting_to_join(&self) -> usize {
        self.members.values().filter(|member| member.awaits_join()).count()
    }

    pub(crate) fn have_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(Member::awaits_join)
    }

    /// A member that was not there before.
    pub(crate) fn insert(&mut self, member: Member) {
        self.count(&member, 1);
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out; who waits for it is the caller's business.
    fn take_out(&mut self, name: &str) -> Option<Member> {
        let member = self.members.remove(name)?;
        self.count(&member, -1);
        Some(member)
    }

    /// A member that joins again, with what it says now. It must be there.
    fn update(&mut self, name: &Str, join: &Join, ticket: Ticket) {
        let mut member = self.take_out(name).expect("the caller has checked it");
        member.update(join, ticket);
        self.insert(member);
    }

    fn count(&mut self, member: &Member, by: isize) {
        let names: BTreeSet<&Str> = member.protocols.iter().map(|protocol| &protocol.name).collect();
        for name in names {
            let count = self.supported.entry(name.clone()).or_default();
            *count = count.checked_add_signed(by).expect("who is counted out was counted in");
            if *count == 0 {
                self.supported.remove(name);
            }
        }
    }

    fn is_common(&self, protocol: &Str) -> bool {
        self.supported.get(protocol) == Some(&self.members.len())
    }

    pub(crate) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub(crate) fn go_to(&mut self, state: State, now: Moment) {
        self.previous = self.state;
        self.state = state;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// Whether `name` is a member and, if it has an instance id, the one that has it now.
    pub(crate) fn check_member(&self, name: &str, instance: Option<&Str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != name => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(name) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether somebody with these protocols can be in this group.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_known_to_all = |protocol: &Protocol| self.is_common(&protocol.name);
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(is_known_to_all)
    }

    /// The protocol that most members like best among those that all of them have.
    pub(crate) fn select_protocol(&self) -> Option<Str> {
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().map(|p| &p.name).find(|name| self.is_common(name)) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// The topics of all subscriptions; None if the members are no consumers, or one cannot be read.
    pub(crate) fn read_subscriptions(&self) -> Option<BTreeSet<Str>> {
        if !self.has_consumers() {
            return None;
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let subscription: ConsumerProtocolSubscription =
                decode_versioned(member.metadata(protocol)).ok()?;
            topics.extend(subscription.topics.iter().map(Str::detached));
        }
        Some(topics)
    }

    /// Puts the group's record among the entries.
    ///
    /// # Errors
    /// When it is larger than a batch may be; nothing is written then.
    pub(crate) fn write(&self, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        let entry = records::group(self.id.clone(), Some(self.to_record()));
        if entry.size_bytes() > turn.config.batch_bytes_max {
            return Err(ErrorCode::UnknownServerError);
        }
        turn.effects.entries.push(entry);
        Ok(())
    }

    /// After the log was read: every member is heard of anew.
    pub(crate) fn loaded(&mut self, turn: &mut Turn<'_>) {
        let names: Vec<Str> = self.members.keys().cloned().collect();
        for name in &names {
            self.restart_heartbeat(name, turn);
        }
        if self.members.len() > turn.config.size_max && self.state == State::Stable {
            self.prepare_rebalance(turn);
        }
    }

    /// Waits for the next sign of life of a member, for its session time-out.
    pub(crate) fn restart_heartbeat(&self, name: &Str, turn: &mut Turn<'_>) {
        if let Some(member) = self.members.get(name) {
            let deadline = turn.now.timer_ms + i64::from(member.session_timeout_ms);
            turn.timers.set(Deadline::Member(self.id.clone(), name.clone()), deadline);
        }
    }
}

/// Who waits for what, with the answer's ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    Nothing,
    Join(Ticket),
    Sync(Ticket),
}
