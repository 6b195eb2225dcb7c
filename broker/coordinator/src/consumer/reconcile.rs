//! The next step of a member towards its target (Kafka's `CurrentAssignmentBuilder`).
//!
//! ```text
//!             ┌──────── something to give back ───────► UnrevokedPartitions ── it says that it did ──┐
//!  Stable ────┤                                                                                      ├──► next step
//!             └─ something to get that others hold ───► UnreleasedPartitions ── at each heartbeat ───┘
//! ```
//! First gives back, then gets: only once nothing is to be given back does a member go to the target's epoch.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::{ErrorCode, Str, Uuid};

use super::member::{Held, Member, MemberState, Partitions};
use super::{ConsumerGroup, Refusal};
use crate::classic::Turn;

impl ConsumerGroup {
    /// Takes a member one step further, if it can go. `owned` is what it says that it has now; None if it says nothing.
    ///
    /// # Errors
    /// `FENCED_MEMBER_EPOCH` if its state was written by a newer version.
    pub(super) fn reconcile(
        &mut self,
        turn: &mut Turn<'_>,
        id: &Str,
        owned: Option<&[TopicPartitions]>,
    ) -> Result<(), Refusal> {
        let member = &self.members[id];
        let subscribed = &self.topics_of(member, &turn.image.topics);
        if member.is_reconciled_to(self.target_epoch) && is_within(&member.assigned, subscribed) {
            return Ok(());
        }
        let waits = member.state == MemberState::UnrevokedPartitions
            && owns_any(owned, &member.pending_revocation)
            && is_within(&member.assigned, subscribed);
        if waits {
            return Ok(());
        }
        if member.state == MemberState::Unknown && owned.is_none_or(|owned| !owned.is_empty()) {
            let message = "The consumer group member is in a unknown state. The member must abandon all its \
                           partitions and rejoin.";
            return Err(Refusal::new(ErrorCode::FencedMemberEpoch, message));
        }
        let next = self.next_step(member, owned, subscribed);
        if next != *member {
            let (key, value) = next.to_current_assignment(&self.id);
            self.write(turn, key, Some(value));
            self.follow_revocation(id, turn);
        }
        Ok(())
    }

    fn next_step(
        &self,
        member: &Member,
        owned: Option<&[TopicPartitions]>,
        subscribed: &BTreeSet<Uuid>,
    ) -> Member {
        let nothing = Partitions::new();
        let target = self.target.get(&member.id).unwrap_or(&nothing);
        let is_wanted = |topic: &Uuid, partition: &i32| {
            subscribed.contains(topic) && target.get(topic).is_some_and(|p| p.contains(partition))
        };
        let (assigned, mut revoked) = split(&member.assigned, is_wanted);
        // What is still pending, and owned by its own word, stays pending.
        if member.state == MemberState::UnrevokedPartitions && owns_any(owned, &member.pending_revocation) {
            for (topic, partitions) in &member.pending_revocation {
                revoked.entry(*topic).or_default().extend(partitions);
            }
        }
        let mut next = Member { assigned, ..member.clone() };
        if owns_any(owned, &revoked) {
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = revoked;
            next.go_to(member.epoch);
            return next;
        }
        let mut are_all_free = true;
        for (topic, partitions) in target.iter().filter(|(topic, _)| subscribed.contains(topic)) {
            for partition in partitions {
                let owner = self.owners.get(&(*topic, *partition));
                if owner.is_none_or(|owner| *owner == member.id) {
                    let of_topic = next.assigned.entry(*topic).or_default();
                    of_topic.entry(*partition).or_insert(self.target_epoch);
                } else {
                    are_all_free = false;
                }
            }
        }
        next.state = if are_all_free { MemberState::Stable } else { MemberState::UnreleasedPartitions };
        next.pending_revocation = Held::new();
        next.go_to(self.target_epoch);
        next
    }
}

fn is_within(held: &Held, subscribed: &BTreeSet<Uuid>) -> bool {
    held.keys().all(|topic| subscribed.contains(topic))
}

/// What is wanted and what is not.
fn split(held: &Held, is_wanted: impl Fn(&Uuid, &i32) -> bool) -> (Held, Held) {
    let (mut kept, mut left) = (Held::new(), Held::new());
    for (topic, partitions) in held {
        for (partition, epoch) in partitions {
            let side = if is_wanted(topic, partition) { &mut kept } else { &mut left };
            side.entry(*topic).or_default().insert(*partition, *epoch);
        }
    }
    (kept, left)
}

/// Whether a member may still have one of these: who says nothing may have all.
fn owns_any(owned: Option<&[TopicPartitions]>, held: &Held) -> bool {
    if held.is_empty() {
        return false;
    }
    let Some(owned) = owned else { return true };
    let is_held = |topic: &TopicPartitions, partitions: &BTreeMap<i32, i32>| {
        topic.partitions.iter().any(|partition| partitions.contains_key(partition))
    };
    owned.iter().any(|topic| held.get(&topic.topic_id).is_some_and(|partitions| is_held(topic, partitions)))
}
