//! How records of the internal logs say what they are. Not in Kafka's schema files: written by hand from its serializers.
//!
//!     metadata record   [frame version = 1, uvarint][type, uvarint][version, uvarint] body    (remote log metadata: the same)
//!     coordinator key   [type i16] body          coordinator value   [version i16] body
//!     data payload      [version i16] body       (subscriptions, assignments, end-of-transaction markers)
//!
//! The value of a coordinator's record has the type of its key. A key without a value is a tombstone.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, EncodeError, Encoder, LogRecord, Message};
use crate::messages::MetadataRecord;

/// The only frame version there is (Kafka's `AbstractApiMessageSerde`).
const FRAME_VERSION: u32 = 1;

/// Writes a metadata record with its frame.
pub fn encode_metadata(record: &MetadataRecord, version: i16) -> Result<Bytes, EncodeError> {
    encode_framed(record, version)
}

/// Reads a metadata record and its version. A type or version that this program does not know is an error: it must not
/// be skipped, since the state after it would be wrong.
pub fn decode_metadata(bytes: Bytes) -> Result<(MetadataRecord, i16), DecodeError> {
    decode_framed(bytes)
}

/// Writes a record of the metadata log or of the remote log's metadata with its frame.
pub fn encode_framed<R: LogRecord>(record: &R, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::with_capacity(64);
    out.uvarint(FRAME_VERSION);
    out.uvarint(record.record_type() as u32);
    out.uvarint(version as u32);
    record.encode(&mut out, version)?;
    Ok(in_memory(out))
}

/// Reads what `encode_framed` writes: the record and its version.
pub fn decode_framed<R: LogRecord>(bytes: Bytes) -> Result<(R, i16), DecodeError> {
    let mut input = Decoder::new(bytes);
    let frame = input.uvarint()?;
    if frame != FRAME_VERSION {
        return Err(DecodeError::Unknown { what: "frame version", value: i64::from(frame) });
    }
    let narrow = |what: &'static str, value: u32| {
        i16::try_from(value).map_err(|_| DecodeError::Unknown { what, value: i64::from(value) })
    };
    let record_type = narrow("record type", input.uvarint()?)?;
    let version = narrow("record version", input.uvarint()?)?;
    let record = R::decode(record_type, &mut input, version)?;
    input.finish()?;
    Ok((record, version))
}

/// Writes the key of a coordinator's record: its type, then the key in its only version.
pub fn encode_key<K: LogRecord>(key: &K) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::with_capacity(64);
    out.i16(key.record_type());
    key.encode(&mut out, key.newest_version())?;
    Ok(in_memory(out))
}

/// Reads the key of a coordinator's record. `DecodeError::Unknown` is a record of a newer version: Kafka's coordinators
/// skip it with a warning.
pub fn decode_key<K: LogRecord>(bytes: Bytes) -> Result<K, DecodeError> {
    const VERSION: i16 = 0;
    let mut input = Decoder::new(bytes);
    let record_type = input.i16()?;
    let key = K::decode(record_type, &mut input, VERSION)?;
    input.finish()?;
    Ok(key)
}

/// Writes the value of a coordinator's record behind its version.
pub fn encode_value<V: LogRecord>(value: &V, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::with_capacity(64);
    out.i16(version);
    value.encode(&mut out, version)?;
    Ok(in_memory(out))
}

/// Reads the value that stands under a key of type `record_type`, and its version.
pub fn decode_value<V: LogRecord>(record_type: i16, bytes: Bytes) -> Result<(V, i16), DecodeError> {
    let mut input = Decoder::new(bytes);
    let version = input.i16()?;
    let value = V::decode(record_type, &mut input, version)?;
    input.finish()?;
    Ok((value, version))
}

/// Writes a message behind its version, as payloads inside of other messages are.
pub fn encode_versioned<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::with_capacity(64);
    out.i16(version);
    message.encode(&mut out, version)?;
    Ok(in_memory(out))
}

/// Reads a message behind its version. A version newer than all that are known is read as the newest, and what is left
/// over is ignored: that is how members of different age share a group (Kafka's `ConsumerProtocol`).
pub fn decode_versioned<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut input = Decoder::new(bytes);
    let version = input.i16()?;
    M::decode(&mut input, version.min(*M::VERSIONS.end()))
}

fn in_memory(out: Encoder) -> Bytes {
    out.into_bytes().expect("records of internal logs hold no file regions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{
        ConsumerProtocolSubscription, GroupKey, GroupValue, OffsetCommitKey, OffsetCommitValue, TopicRecord,
        TransactionKey, TransactionLogKey,
    };
    use crate::{Str, Uuid};

    #[test]
    fn a_metadata_record_goes_both_ways_and_an_unknown_one_is_refused() {
        let record = MetadataRecord::from(TopicRecord {
            name: Str::from("a"),
            topic_id: Uuid(7),
            ..Default::default()
        });
        let bytes = encode_metadata(&record, 0).expect("encoded");
        assert_eq!(&bytes[..5], [1, 2, 0, 2, b'a'], "frame 1, type 2, version 0, then a compact string");
        assert_eq!(decode_metadata(bytes.clone()), Ok((record, 0)));
        for (at, value) in [(0, 2), (1, 99), (2, 9)] {
            let mut bad = bytes.to_vec();
            bad[at] = value;
            assert!(decode_metadata(Bytes::from(bad)).is_err(), "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(decode_metadata(bytes.slice(..cut)).is_err());
        }
    }

    #[test]
    fn a_committed_offset_has_a_typed_key_and_a_versioned_value() {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 };
        let bytes = encode_key(&GroupKey::from(key.clone())).expect("encoded");
        assert_eq!(&bytes[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
        assert_eq!(decode_key(bytes), Ok(GroupKey::from(key)));
        let value =
            GroupValue::from(OffsetCommitValue { offset: 5, metadata: "m".into(), ..Default::default() });
        let bytes = encode_value(&value, 3).expect("encoded");
        assert_eq!(&bytes[..10], [0, 3, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(decode_value(1, bytes), Ok((value, 3)));
    }

    #[test]
    fn a_key_of_a_newer_kafka_is_told_from_a_broken_one() {
        let unknown = decode_key::<GroupKey>(Bytes::from_static(&[0, 99, 1, 2]));
        assert!(matches!(unknown, Err(DecodeError::Unknown { value: 99, .. })), "{unknown:?}");
        let broken = decode_key::<TransactionKey>(Bytes::from_static(&[0, 0, 0, 9, b't']));
        assert!(matches!(broken, Err(DecodeError::TooShort { .. })), "{broken:?}");
        let key = TransactionKey::from(TransactionLogKey { transactional_id: "t".into() });
        assert_eq!(encode_key(&key).expect("encoded")[..], [0, 0, 0, 1, b't']);
    }

    #[test]
    fn a_subscription_of_a_newer_client_is_read_as_far_as_it_is_known() {
        let known =
            ConsumerProtocolSubscription { topics: vec!["t".into()], generation_id: 4, ..Default::default() };
        let mut newer = encode_versioned(&known, 3).expect("encoded").to_vec();
        newer[1] = 7;
        newer.extend_from_slice(b"more");
        assert_eq!(decode_versioned(Bytes::from(newer)), Ok(known));
    }
}
