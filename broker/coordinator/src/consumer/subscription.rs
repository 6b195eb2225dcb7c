//! What members subscribe to: names, regular expressions, and the topics that both stand for now.

use std::collections::BTreeSet;
use std::sync::Arc;

use metadata::Topics;
use protocol::messages::{
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, GroupKey, GroupValue,
};
use protocol::{ErrorCode, Str, Uuid};
use regex::Regex;

use super::{ConsumerGroup, Member, Refusal};
use crate::classic::Turn;

/// Topics that come and go are matched anew at most so often.
const REGEX_REFRESH_MS: i64 = 10_000;

/// The topics that a regular expression stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) topics: BTreeSet<Str>,
    timestamp_ms: i64,
}

impl Resolved {
    pub(super) fn from_record(value: &ConsumerGroupRegularExpressionValue) -> Resolved {
        Resolved { topics: value.topics.iter().map(Str::detached).collect(), timestamp_ms: value.timestamp }
    }
}

fn key(group: &Str, regex: &Str) -> GroupKey {
    let (group_id, regular_expression) = (group.clone(), regex.clone());
    GroupKey::ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey {
        group_id,
        regular_expression,
    })
}

/// The whole name must match, as in Kafka. Both sides use a syntax that is matched in linear time (RE2's).
///
/// # Errors
/// `INVALID_REGULAR_EXPRESSION`
pub(super) fn compile(regex: &str) -> Result<Regex, Refusal> {
    Regex::new(&format!("^(?:{regex})$")).map_err(|error| {
        let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}.");
        Refusal::new(ErrorCode::InvalidRegularExpression, message)
    })
}

impl ConsumerGroup {
    /// Resolves a member's expression if it is new or old enough; forgets the one that it leaves behind. True if the
    /// topics of the group may differ now.
    pub(super) fn follow_regex(
        &mut self,
        turn: &mut Turn<'_>,
        former: Option<&Str>,
        member: &Member,
        topics: &Topics,
        are_topics_new: bool,
    ) -> bool {
        let mut is_changed = false;
        if let Some(regex) = member.regex().cloned() {
            let known = self.regexes.get(&regex);
            let is_due = known.is_none_or(|resolved| {
                are_topics_new && turn.now.wall_ms >= resolved.timestamp_ms + REGEX_REFRESH_MS
            });
            if is_due && let Ok(compiled) = compile(&regex) {
                let matching: Vec<Str> = topics
                    .iter()
                    .filter(|topic| compiled.is_match(&topic.name))
                    .map(|topic| topic.name.clone())
                    .collect();
                is_changed |= known.is_none_or(|resolved| !resolved.topics.iter().eq(&matching));
                let value = ConsumerGroupRegularExpressionValue {
                    topics: matching,
                    timestamp: turn.now.wall_ms,
                    ..Default::default()
                };
                let value = GroupValue::ConsumerGroupRegularExpression(value);
                self.write(turn, key(&self.id, &regex), Some(value));
            }
        }
        is_changed | self.forget_regex(turn, former)
    }

    /// Takes an expression out that no member has any more.
    pub(super) fn forget_regex(&mut self, turn: &mut Turn<'_>, former: Option<&Str>) -> bool {
        let Some(former) = former else { return false };
        let is_used = self.members.values().any(|member| member.regex() == Some(former));
        if is_used || !self.regexes.contains_key(former) {
            return false;
        }
        self.write(turn, key(&self.id, former), None);
        true
    }

    /// The tombstones of all expressions.
    pub(super) fn regex_keys(&self) -> Vec<GroupKey> {
        self.regexes.keys().map(|regex| key(&self.id, regex)).collect()
    }

    /// The topics of a member that exist now.
    pub(super) fn topics_of(&self, member: &Member, topics: &Topics) -> BTreeSet<Uuid> {
        let by_regex = member.regex().and_then(|regex| self.regexes.get(regex));
        let names = member.subscribed_topic_names.iter().chain(by_regex.iter().flat_map(|r| &r.topics));
        names.filter_map(|name| topics.id(name)).collect()
    }

    /// A number that differs when a subscribed topic came, went, was made anew or grew (FNV-1a, 64 bits).
    pub(super) fn hash_of_topics(&self, topics: &Topics) -> i64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        // An expression that nobody has any more is forgotten at once.
        let names = self.subscribed.keys().chain(self.regexes.values().flat_map(|resolved| &resolved.topics));
        let subscribed: BTreeSet<Uuid> = names.filter_map(|name| topics.id(name)).collect();
        if subscribed.is_empty() {
            return 0;
        }
        let mut hash = OFFSET;
        let mut add = |bytes: &[u8]| {
            bytes.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
        };
        for topic in subscribed.iter().filter_map(|id| topics.by_id(*id)) {
            add(&topic.id.0.to_be_bytes());
            add(&topic.partition_count().to_be_bytes());
        }
        hash as i64
    }

    /// Whether these are other topics than the ones that the hash was last compared with; remembers them.
    pub(super) fn sees_new_topics(&mut self, topics: &Arc<Topics>) -> bool {
        let is_new = !std::ptr::eq(self.seen_topics.as_ptr(), Arc::as_ptr(topics));
        self.seen_topics = Arc::downgrade(topics);
        is_new
    }
}
