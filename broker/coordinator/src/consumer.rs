//! A consumer group (KIP-848): the coordinator assigns, and each member converges at its own pace.
//!
//! ```text
//!  heartbeat ─► subscription changed? ─► group epoch + 1 ─► target of that epoch ─► the member's next step ─► answer
//!               (records 5, 16)          (3)                (7, 6: target.rs)      (8: reconcile.rs)
//! ```
//! A decision writes a record by [`ConsumerGroup::write`], which applies it at once with the code that a reload uses.
//! Kafka's `ConsumerGroup`, `CurrentAssignmentBuilder` and `GroupMetadataManager` are the source of the rules.
//!
//! **Invariant:** a partition is held by at most one member, from the moment that it is given until that member said that
//! it has given it back, left, or was fenced.

mod apply;
pub(crate) mod assignor;
mod classic_member;
mod committer;
mod describe;
mod heartbeat;
mod leave;
mod member;
mod migration;
mod reconcile;
mod subscription;
mod target;

use std::collections::BTreeMap;
use std::sync::Weak;

use metadata::Topics;
use protocol::messages::{GroupKey, GroupValue};
use protocol::{ErrorCode, Str, Uuid};

use crate::classic::{Deadline, Turn};
use crate::records;

pub(crate) use heartbeat::{check as check_heartbeat, check_room};
pub(crate) use member::{EPOCH_AWAY, Member, MemberState, Partitions};
pub(crate) use migration::{Downgrade, check_upgrade};
use subscription::Resolved;

/// Why a request is refused. The text goes to the client, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// The settings of one group of this kind (`consumer.*` of the group, or their server defaults).
#[derive(Clone, Copy, Debug)]
pub struct ConsumerSettings {
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub assignment_interval_ms: i32,
}

/// Where a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl ConsumerState {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerState::Empty => "Empty",
            ConsumerState::Assigning => "Assigning",
            ConsumerState::Reconciling => "Reconciling",
            ConsumerState::Stable => "Stable",
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub(crate) id: Str,
    pub(crate) epoch: i32,
    /// Of the subscribed topics as they were at this epoch.
    metadata_hash: i64,
    pub(crate) members: BTreeMap<Str, Member>,
    /// Static members by instance.
    instances: BTreeMap<Str, Str>,
    pub(crate) target_epoch: i32,
    target_timestamp_ms: i64,
    target: BTreeMap<Str, Partitions>,
    regexes: BTreeMap<Str, Resolved>,
    /// How many members name a topic: the hash of all topics is worked out anew for each who joins.
    subscribed: BTreeMap<Str, usize>,
    owners: BTreeMap<(Uuid, i32), Str>,
    /// The topics that the hash was last compared with. Not in the log: after a load they are looked at once.
    seen_topics: Weak<Topics>,
}

impl ConsumerGroup {
    pub(crate) fn new(id: Str) -> ConsumerGroup {
        ConsumerGroup {
            id,
            // The first that a member is given is the next one, as in Kafka.
            epoch: 1,
            metadata_hash: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            target_epoch: 0,
            target_timestamp_ms: 0,
            target: BTreeMap::new(),
            regexes: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            owners: BTreeMap::new(),
            seen_topics: Weak::new(),
        }
    }

    pub fn state(&self) -> ConsumerState {
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The offsets of this topic are in use.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.contains_key(topic)
            || self.members.values().any(|member| {
                let by_regex = member.regex().and_then(|regex| self.regexes.get(regex));
                by_regex.is_some_and(|resolved| resolved.topics.contains(topic))
            })
    }

    /// Writes a record, and takes it over at once.
    fn write(&mut self, turn: &mut Turn<'_>, key: GroupKey, value: Option<GroupValue>) {
        self.apply(&key, value.as_ref());
        turn.effects.entries.push(records::modern(&key, value.as_ref()));
    }

    /// After the log was read: every member is given the full time.
    pub(crate) fn loaded(&mut self, turn: &mut Turn<'_>) {
        let session_timeout_ms = turn.config.consumer_settings(turn.image, &self.id).session_timeout_ms;
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for id in ids {
            self.restart_session(&id, session_timeout_ms, turn);
            self.follow_revocation(&id, turn);
        }
    }

    fn restart_session(&self, member: &Str, session_timeout_ms: i32, turn: &mut Turn<'_>) {
        let deadline = turn.now.timer_ms + i64::from(session_timeout_ms);
        turn.timers.set(Deadline::Member(self.id.clone(), member.clone()), deadline);
    }

    /// A member that was asked to give something back has its rebalance time-out to do so. One of the classic protocol has
    /// it for joining again.
    fn follow_revocation(&self, id: &Str, turn: &mut Turn<'_>) {
        let key = Deadline::Revocation(self.id.clone(), id.clone());
        match self.members.get(id) {
            Some(member) if member.state == MemberState::UnrevokedPartitions && member.classic.is_none() => {
                turn.timers.set(key, turn.now.timer_ms + i64::from(member.rebalance_timeout_ms));
            }
            _ => turn.timers.cancel(&key),
        }
    }
}
