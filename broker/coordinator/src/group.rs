//! A group of any kind.

use protocol::Str;

use crate::classic::{CONSUMER, ClassicGroup, Turn};
use crate::consumer::ConsumerGroup;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl Group {
    /// Kafka's name of the kind (KIP-848).
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => "consumer",
        }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state().name(),
            Group::Consumer(group) => group.state().name(),
        }
    }

    pub(crate) fn protocol_type(&self) -> Str {
        match self {
            Group::Classic(group) => group.protocol_type.clone().unwrap_or_default(),
            Group::Consumer(_) => Str::from_static(CONSUMER),
        }
    }

    pub(crate) fn member_count(&self) -> usize {
        match self {
            Group::Classic(group) => group.members.len(),
            Group::Consumer(group) => group.members.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Nobody is in it or about to come.
    pub(crate) fn is_unused(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty() && group.pending.is_empty(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether its members are Kafka's consumers, by what they say of themselves.
    pub(crate) fn has_consumers(&self) -> bool {
        match self {
            Group::Classic(group) => group.has_consumers(),
            Group::Consumer(_) => true,
        }
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// After the log was read.
    pub(crate) fn loaded(&mut self, turn: &mut Turn<'_>) {
        match self {
            Group::Classic(group) => group.loaded(turn),
            Group::Consumer(group) => group.loaded(turn),
        }
    }

    /// The records that end it.
    pub(crate) fn tombstones(&self, turn: &mut Turn<'_>) {
        match self {
            Group::Classic(group) => {
                turn.effects.entries.push(crate::records::group(group.id.clone(), None));
            }
            Group::Consumer(group) => group.tombstones(turn),
        }
    }
}
