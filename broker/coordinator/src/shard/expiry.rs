//! Offsets that nobody needs any more: too old, or of topics that are gone.

use protocol::Str;

use super::GroupShard;
use crate::classic::{ClassicGroup, Deadline, State};
use crate::config::GroupConfig;
use crate::group::Group;
use crate::machine::{Effects, Moment};
use crate::offsets::{Committed, TopicPartition};
use crate::operation::Answer;

impl GroupShard {
    /// Forgets what has expired, as much as fits one batch; the rest is due at once again.
    pub(super) fn expire_offsets(&mut self, now: Moment, effects: &mut Effects<Answer>) {
        let ids: Vec<Str> = self.groups.keys().cloned().collect();
        let mut is_cut_short = false;
        for id in ids {
            if effects.size_bytes() >= self.config.batch_bytes_max / 2 {
                is_cut_short = true;
                break;
            }
            let group = &self.groups[&id];
            let is_unused = group.is_unused();
            let expired = self.offsets.of_group(&id).filter(|(partition, committed)| {
                is_expired(group, &partition.0, committed, now, &self.config)
                    && !self.offsets.is_unstable(&id, partition)
            });
            let expired: Vec<TopicPartition> = expired.map(|(partition, _)| partition.clone()).collect();
            self.forget_offsets(&id, &expired, effects);
            if is_unused && !self.offsets.has_any(&id) {
                self.forget_group(now, &id, effects);
            }
        }
        let wait_ms = if is_cut_short { 0 } else { self.config.retention_check_interval_ms };
        self.timers.set(Deadline::Expiry, now.timer_ms + wait_ms);
    }

    pub(super) fn forget_topics(&mut self, topics: &[Str], effects: &mut Effects<Answer>) {
        let ids: Vec<Str> = self.offsets.groups().cloned().collect();
        for id in ids {
            let of_topics = self.offsets.of_group(&id).filter(|((topic, _), _)| topics.contains(topic));
            let gone: Vec<TopicPartition> = of_topics.map(|(partition, _)| partition.clone()).collect();
            self.forget_offsets(&id, &gone, effects);
        }
    }
}

/// Kafka's `OffsetExpirationCondition` of a classic group: an empty group's offsets age from the moment that it became
/// empty, those of a topic that a consumer group left from their commit, those of who is no group from their commit.
fn is_expired(group: &Group, topic: &str, committed: &Committed, now: Moment, config: &GroupConfig) -> bool {
    let since_ms = match group {
        Group::Classic(group) => match aging_since(group, topic, committed) {
            Some(since_ms) => since_ms,
            None => return false,
        },
        Group::Consumer(group) if group.is_subscribed_to(topic) => return false,
        Group::Consumer(_) => committed.commit_timestamp_ms,
    };
    match committed.expire_timestamp_ms {
        Some(expires_ms) => now.wall_ms >= expires_ms,
        None => now.wall_ms.saturating_sub(since_ms) >= config.retention_ms,
    }
}

/// From when on an offset of a classic group ages; None while it is in use.
fn aging_since(group: &ClassicGroup, topic: &str, committed: &Committed) -> Option<i64> {
    match group.protocol_type {
        None => Some(committed.commit_timestamp_ms),
        Some(_) if group.is_empty() => Some(group.state_since_ms.unwrap_or(committed.commit_timestamp_ms)),
        Some(_)
            if group.has_consumers() && group.state == State::Stable && !group.is_subscribed_to(topic) =>
        {
            Some(committed.commit_timestamp_ms)
        }
        Some(_) => None,
    }
}
