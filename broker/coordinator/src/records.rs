//! Records of `__consumer_offsets`, in Kafka's formats and in the versions that a Kafka 4.3.1 writes.
//!
//! ```text
//!  OffsetCommit    (group, topic, partition) ─► offset, epoch, metadata, time, topic id     version 4, or 1 with an expiry
//!  GroupMetadata   (group)                   ─► generation, protocol, leader, members       version 3
//! ```
//! A type that this release does not know is carried through: it stays in the log and is nobody's business here.

use bytes::Bytes;
use protocol::Str;
use protocol::messages::{
    GroupKey, GroupMetadataKey, GroupMetadataValue, GroupValue, OffsetCommitKey, OffsetCommitValue,
};
use protocol::record_frame::{decode_key, decode_value, encode_key, encode_value};
use protocol::{DecodeError, LogRecord};

use crate::machine::Entry;

const GROUP_METADATA_VERSION: i16 = 3;
const OFFSET_COMMIT_VERSION: i16 = 4;
/// The only version that carries an expiry of its own (OffsetCommit 2 to 4 with a retention time).
const OFFSET_COMMIT_VERSION_WITH_EXPIRY: i16 = 1;

/// An entry as the state takes it over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Offset(OffsetCommitKey, Option<OffsetCommitValue>),
    Group(Str, Option<GroupMetadataValue>),
    /// Of a consumer group: the group, and the record.
    Consumer(Str, Box<(GroupKey, Option<GroupValue>)>),
    /// Of a kind that is not understood yet.
    Other,
}

/// # Errors
/// When the bytes are not what their type says. An unknown type is no error.
pub(crate) fn read(entry: &Entry) -> Result<Change, DecodeError> {
    let key: GroupKey = match decode_key(entry.key.clone()) {
        Ok(key) => key,
        Err(DecodeError::Unknown { .. }) => return Ok(Change::Other),
        Err(error) => return Err(error),
    };
    let kind = key.record_type();
    let value = |value: &Bytes| decode_value::<GroupValue>(kind, value.clone()).map(|(value, _)| value);
    let value = match entry.value.as_ref().map(value).transpose() {
        Ok(value) => value,
        // A newer version of a known type: Kafka skips it with a warning, too.
        Err(DecodeError::Unknown { .. }) => return Ok(Change::Other),
        Err(error) => return Err(error),
    };
    Ok(match (key, value) {
        (GroupKey::OffsetCommit(key), None) => Change::Offset(key, None),
        (GroupKey::OffsetCommit(key), Some(GroupValue::OffsetCommit(value))) => {
            Change::Offset(key, Some(value))
        }
        (GroupKey::LegacyOffsetCommit(key), value) => legacy_offset(key, value),
        (GroupKey::GroupMetadata(key), None) => Change::Group(key.group, None),
        (GroupKey::GroupMetadata(key), Some(GroupValue::GroupMetadata(value))) => {
            Change::Group(key.group, Some(value))
        }
        (key, value) => match consumer_group_of(&key) {
            Some(id) => Change::Consumer(id.clone(), Box::new((key, value))),
            None => Change::Other,
        },
    })
}

fn consumer_group_of(key: &GroupKey) -> Option<&Str> {
    match key {
        GroupKey::ConsumerGroupMetadata(key) => Some(&key.group_id),
        GroupKey::ConsumerGroupMemberMetadata(key) => Some(&key.group_id),
        GroupKey::ConsumerGroupTargetAssignmentMetadata(key) => Some(&key.group_id),
        GroupKey::ConsumerGroupTargetAssignmentMember(key) => Some(&key.group_id),
        GroupKey::ConsumerGroupCurrentMemberAssignment(key) => Some(&key.group_id),
        GroupKey::ConsumerGroupRegularExpression(key) => Some(&key.group_id),
        _ => None,
    }
}

/// What Kafka 0.8 wrote.
fn legacy_offset(key: protocol::messages::LegacyOffsetCommitKey, value: Option<GroupValue>) -> Change {
    let key = OffsetCommitKey { group: key.group, topic: key.topic, partition: key.partition };
    let value = match value {
        Some(GroupValue::LegacyOffsetCommit(value)) => Some(OffsetCommitValue {
            offset: value.offset,
            metadata: value.metadata,
            commit_timestamp: value.commit_timestamp,
            ..Default::default()
        }),
        Some(GroupValue::OffsetCommit(value)) => Some(value),
        Some(_) => return Change::Other,
        None => None,
    };
    Change::Offset(key, value)
}

/// An offset, or its tombstone.
pub(crate) fn offset(key: OffsetCommitKey, value: Option<OffsetCommitValue>) -> Entry {
    let version = |value: &OffsetCommitValue| match value.expire_timestamp {
        -1 => OFFSET_COMMIT_VERSION,
        _ => OFFSET_COMMIT_VERSION_WITH_EXPIRY,
    };
    let encoded = value.map(|value| {
        let version = version(&value);
        // Version 1 has no place for an epoch or an id; Kafka leaves them out as well.
        let value = match version {
            OFFSET_COMMIT_VERSION_WITH_EXPIRY => {
                OffsetCommitValue { leader_epoch: -1, topic_id: protocol::Uuid::ZERO, ..value }
            }
            _ => value,
        };
        encode_value(&GroupValue::OffsetCommit(value), version).expect("strings of requests fit records")
    });
    entry(GroupKey::OffsetCommit(key), encoded)
}

/// The state of a classic group, or its tombstone.
pub(crate) fn group(group: Str, value: Option<GroupMetadataValue>) -> Entry {
    let encoded = value.map(|value| {
        let value = GroupValue::GroupMetadata(value);
        encode_value(&value, GROUP_METADATA_VERSION).expect("strings of requests fit records")
    });
    entry(GroupKey::GroupMetadata(GroupMetadataKey { group }), encoded)
}

/// A record of a group of the newer kinds, or its tombstone. All values of these types have one version.
pub(crate) fn modern(key: &GroupKey, value: Option<&GroupValue>) -> Entry {
    let value = value.map(|value| encode_value(value, 0).expect("strings of requests fit records"));
    Entry { key: encode_key(key).expect("strings of requests fit records"), value }
}

fn entry(key: GroupKey, value: Option<Bytes>) -> Entry {
    Entry { key: encode_key(&key).expect("strings of requests fit records"), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_as_what_was_written() {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 };
        let value =
            OffsetCommitValue { offset: 7, leader_epoch: 2, metadata: "m".into(), ..Default::default() };
        let written = Change::Offset(key.clone(), Some(value.clone()));
        assert_eq!(read(&offset(key.clone(), Some(value.clone()))), Ok(written));
        assert_eq!(read(&offset(key.clone(), None)), Ok(Change::Offset(key.clone(), None)));
        let expiring = OffsetCommitValue { expire_timestamp: 99, ..value };
        let kept = OffsetCommitValue { leader_epoch: -1, ..expiring.clone() };
        assert_eq!(read(&offset(key.clone(), Some(expiring))), Ok(Change::Offset(key, Some(kept))));
        let state =
            GroupMetadataValue { generation: 4, protocol_type: "consumer".into(), ..Default::default() };
        let written = Change::Group("g".into(), Some(state.clone()));
        assert_eq!(read(&group("g".into(), Some(state))), Ok(written));
    }

    #[test]
    fn an_unknown_type_is_carried_through_and_rubbish_is_not() {
        let unknown = Entry { key: Bytes::from_static(&[0x7f, 0, 1, 2]), value: None };
        assert_eq!(read(&unknown), Ok(Change::Other));
        let cut = Entry { key: Bytes::from_static(&[0, 1, 0, 9, b'g']), value: None };
        assert!(read(&cut).is_err());
    }
}
