//! Feature levels: what may be written, and in which version.
//!
//! A cluster finalizes one level per feature (KIP-584, KIP-778); a node supports a range of each. Every record is written
//! only under a finalized level that knows it, so that a node of the former release, or this one after a downgrade,
//! can read all that is in the log. Facts of the levels: Kafka's `MetadataVersion` and `Feature` of 4.3.1.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use protocol::Str;

pub const METADATA_VERSION: &str = "metadata.version";
pub const KRAFT_VERSION: &str = "kraft.version";
pub const GROUP_VERSION: &str = "group.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
/// Our own: what Weir adds to Kafka's records. Level 1 adds nothing yet; it is there so that level 2 can be refused.
pub const WEIR_VERSION: &str = "weir.version";

/// A level of `metadata.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataVersion(i16);

/// Names of the levels, from `MetadataVersion::MIN` upwards, and whether the level changes what a record can hold.
const METADATA_LEVELS: &[(&str, bool)] = &[
    ("3.3-IV3", true),
    ("3.4-IV0", true),
    ("3.5-IV0", false),
    ("3.5-IV1", false),
    ("3.5-IV2", true),
    ("3.6-IV0", false),
    ("3.6-IV1", true),
    ("3.6-IV2", true),
    ("3.7-IV0", true),
    ("3.7-IV1", false),
    ("3.7-IV2", true),
    ("3.7-IV3", false),
    ("3.7-IV4", false),
    ("3.8-IV0", false),
    ("3.9-IV0", false),
    ("4.0-IV0", false),
    ("4.0-IV1", true),
    ("4.0-IV2", false),
    ("4.0-IV3", false),
    ("4.1-IV0", false),
    ("4.1-IV1", false),
    ("4.2-IV0", false),
    ("4.2-IV1", false),
    ("4.3-IV0", true),
];

impl MetadataVersion {
    /// 3.3-IV3: the first level that a log of Kafka 4.x can have.
    pub const MIN: MetadataVersion = MetadataVersion(7);
    /// 4.3-IV0: the production level of Kafka 4.3.1.
    pub const LATEST: MetadataVersion = MetadataVersion(30);

    const V3_4_IV0: MetadataVersion = MetadataVersion(8);
    const V3_5_IV2: MetadataVersion = MetadataVersion(11);
    const V3_6_IV0: MetadataVersion = MetadataVersion(12);
    const V3_6_IV1: MetadataVersion = MetadataVersion(13);
    const V3_6_IV2: MetadataVersion = MetadataVersion(14);
    const V3_7_IV0: MetadataVersion = MetadataVersion(15);
    const V3_7_IV2: MetadataVersion = MetadataVersion(17);
    const V4_0_IV1: MetadataVersion = MetadataVersion(23);
    const V4_3_IV0: MetadataVersion = MetadataVersion(30);

    pub fn from_level(level: i16) -> Option<MetadataVersion> {
        (Self::MIN.0..=Self::LATEST.0).contains(&level).then_some(MetadataVersion(level))
    }

    pub fn level(self) -> i16 {
        self.0
    }

    /// Kafka's name of the level, e.g. `4.3-IV0`.
    pub fn name(self) -> &'static str {
        METADATA_LEVELS[(self.0 - Self::MIN.0) as usize].0
    }

    /// The level of a name (`4.3-IV0`), or the newest level of a release (`4.3`).
    pub fn from_name(name: &str) -> Option<MetadataVersion> {
        let at = METADATA_LEVELS.iter().rposition(|(known, _)| {
            *known == name || known.rsplit_once("-IV").is_some_and(|(r, _)| r == name)
        })?;
        Some(MetadataVersion(Self::MIN.0 + at as i16))
    }

    /// Whether some level in (`lower`, `self`] gave records a field or a type that `lower` cannot carry.
    pub fn changes_metadata_since(self, lower: MetadataVersion) -> bool {
        (lower.0 + 1..=self.0).any(|level| METADATA_LEVELS[(level - Self::MIN.0) as usize].1)
    }

    pub fn has_migration_state(self) -> bool {
        self >= Self::V3_4_IV0
    }

    pub fn has_scram(self) -> bool {
        self >= Self::V3_5_IV2
    }

    /// Older brokers lose track of a shrunk ISR unless the leader epoch grows with it (KAFKA-15021).
    pub fn bumps_leader_epoch_on_isr_shrink(self) -> bool {
        self < Self::V3_6_IV0
    }

    pub fn has_transactions(self) -> bool {
        self >= Self::V3_6_IV1
    }

    pub fn has_delegation_tokens(self) -> bool {
        self >= Self::V3_6_IV2
    }

    pub fn has_controller_registration(self) -> bool {
        self >= Self::V3_7_IV0
    }

    /// KIP-858: replicas name the log directory that they live in.
    pub fn has_directory_assignment(self) -> bool {
        self >= Self::V3_7_IV2
    }

    /// KIP-966: partitions can carry eligible leader replicas (if that feature is finalized too).
    pub fn has_eligible_leader_replicas(self) -> bool {
        self >= Self::V4_0_IV1
    }

    /// KIP-1066.
    pub fn has_cordoned_log_dirs(self) -> bool {
        self >= Self::V4_3_IV0
    }

    pub fn register_broker_record_version(self) -> i16 {
        match self {
            v if v.has_cordoned_log_dirs() => 4,
            v if v.has_directory_assignment() => 3,
            v if v.has_migration_state() => 2,
            _ => 1,
        }
    }

    /// The version of both PartitionRecord and PartitionChangeRecord.
    pub fn partition_record_version(self) -> i16 {
        match self {
            v if v.has_eligible_leader_replicas() => 2,
            v if v.has_directory_assignment() => 1,
            _ => 0,
        }
    }
}

/// What this release supports of a feature, and what a new cluster of it finalizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub supported: RangeInclusive<i16>,
    /// The level in a new cluster: that of Kafka 4.3.1.
    pub default_level: i16,
}

/// Every feature that this release knows, by name.
pub fn supported() -> [Feature; 8] {
    let feature = |name, supported, default_level| Feature { name, supported, default_level };
    [
        feature(ELIGIBLE_LEADER_REPLICAS_VERSION, 0..=1, 1),
        feature(GROUP_VERSION, 0..=1, 1),
        // Static quorums stand at 0. It is finalized by a control record of the quorum, never by a FeatureLevelRecord.
        feature(KRAFT_VERSION, 0..=1, 0),
        feature(
            METADATA_VERSION,
            MetadataVersion::MIN.level()..=MetadataVersion::LATEST.level(),
            MetadataVersion::LATEST.level(),
        ),
        feature(SHARE_VERSION, 0..=1, 1),
        feature(STREAMS_VERSION, 0..=1, 1),
        feature(TRANSACTION_VERSION, 0..=2, 2),
        feature(WEIR_VERSION, 0..=1, 1),
    ]
}

/// What this release supports of the feature `name`.
pub fn find(name: &str) -> Option<Feature> {
    supported().into_iter().find(|feature| feature.name == name)
}

/// Whether this release can live with a feature at `level`. Level 0 switches a feature off, known or not.
pub fn is_supported(name: &str, level: i16) -> bool {
    match find(name) {
        Some(feature) => feature.supported.contains(&level),
        None => level == 0,
    }
}

/// The finalized levels of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    levels: BTreeMap<Str, i16>,
}

impl Features {
    /// The finalized level of a feature; 0 for one that is not finalized.
    pub fn level(&self, name: &str) -> i16 {
        match self.levels.get(name) {
            Some(level) => *level,
            None if name == METADATA_VERSION => MetadataVersion::MIN.level(),
            None => 0,
        }
    }

    /// The level that decides on records. A log without one is read as Kafka reads it: at the lowest.
    pub fn metadata_version(&self) -> MetadataVersion {
        MetadataVersion::from_level(self.level(METADATA_VERSION))
            .expect("Delta::apply lets no other level in")
    }

    /// KIP-966 is on: the ISR may fall below min.insync.replicas while the ELR keeps who had everything.
    pub fn eligible_leader_replicas(&self) -> bool {
        self.metadata_version().has_eligible_leader_replicas()
            && self.level(ELIGIBLE_LEADER_REPLICAS_VERSION) >= 1
    }

    /// Finalized features with their levels, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, i16)> {
        self.levels.iter().map(|(name, level)| (name, *level))
    }

    pub(crate) fn set(&mut self, name: &Str, level: i16) {
        if level == 0 && name != METADATA_VERSION {
            self.levels.remove(name.as_str());
        } else {
            self.levels.insert(name.detached(), level);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels_have_kafkas_names() {
        assert_eq!(
            METADATA_LEVELS.len() as i16,
            MetadataVersion::LATEST.level() - MetadataVersion::MIN.level() + 1
        );
        for (name, level) in [("3.3-IV3", 7), ("3.9-IV0", 21), ("4.0-IV1", 23), ("4.3-IV0", 30)] {
            assert_eq!(MetadataVersion::from_name(name).unwrap().level(), level);
            assert_eq!(MetadataVersion::from_level(level).unwrap().name(), name);
        }
        assert_eq!(MetadataVersion::from_name("3.7").unwrap().name(), "3.7-IV4");
        assert_eq!(MetadataVersion::from_name("4.4"), None);
        assert_eq!(MetadataVersion::from_level(6), None);
        assert_eq!(MetadataVersion::from_level(31), None);
    }

    #[test]
    fn record_versions_grow_with_the_level() {
        let versions = |level| {
            let v = MetadataVersion::from_level(level).unwrap();
            (v.register_broker_record_version(), v.partition_record_version())
        };
        assert_eq!([versions(7), versions(8), versions(16), versions(17)], [(1, 0), (2, 0), (2, 0), (3, 1)]);
        assert_eq!(
            [versions(22), versions(23), versions(29), versions(30)],
            [(3, 1), (3, 2), (3, 2), (4, 2)]
        );
    }

    #[test]
    fn a_level_that_changes_records_is_seen_between_two_levels() {
        let at = |name| MetadataVersion::from_name(name).unwrap();
        assert!(at("4.3-IV0").changes_metadata_since(at("4.2-IV1")));
        assert!(!at("4.2-IV1").changes_metadata_since(at("4.0-IV1")));
        assert!(at("4.2-IV1").changes_metadata_since(at("3.9-IV0")));
        assert!(!at("4.3-IV0").changes_metadata_since(at("4.3-IV0")));
    }

    #[test]
    fn defaults_lie_in_their_range() {
        for feature in supported() {
            assert!(feature.supported.contains(&feature.default_level), "{}", feature.name);
        }
    }
}
