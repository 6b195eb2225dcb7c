//! Newtypes for the numbers that cross a log, so that an offset is never mistaken for an epoch.
//!
//! Each wraps exactly the integer that Kafka puts on the wire; -1 ("none") stays a value, as in Kafka.
//! Arithmetic is checked: an offset that overflows is a bug, and `overflow-checks` is on in every profile.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use crate::{Str, Uuid};

/// The topic whose only partition is the metadata log; its id is [`Uuid::METADATA_TOPIC`].
pub const METADATA_TOPIC: &str = "__cluster_metadata";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            /// Kafka's -1: unknown, or not set.
            pub const NONE: Self = Self(-1);

            /// Whether this is an actual value: not negative.
            pub const fn is_some(self) -> bool {
                self.0 >= 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

id!(
    /// `node.id` of a broker or controller.
    BrokerId(i32)
);
id!(
    /// A producer's id, handed out by InitProducerId.
    ProducerId(i64)
);
id!(
    /// Position of a record in a partition (or in the metadata log).
    Offset(i64)
);
id!(
    /// Leader epoch of a partition: grows each time that a leader is chosen.
    LeaderEpoch(i32)
);

impl Offset {
    /// The first offset of an empty log.
    pub const ZERO: Self = Self(0);

    /// The offset after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Add<i64> for Offset {
    type Output = Self;
    fn add(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, count: i64) {
        self.0 += count;
    }
}

/// The number of offsets between two: `end - start`.
impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0 - other.0
    }
}

impl Sub<i64> for Offset {
    type Output = Self;
    fn sub(self, count: i64) -> Self {
        Self(self.0 - count)
    }
}

/// A partition by topic name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Str,
    pub partition: i32,
}

/// `topic-partition`, as Kafka names directories and logs lines.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", &*self.topic, self.partition)
    }
}

/// A partition by topic id: what it is inside, once the name has been resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    pub topic_id: Uuid,
    pub partition: i32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}
