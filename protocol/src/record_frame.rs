//! How records of the internal logs say what they are. Not in Kafka's schema files: written by hand from its serializers.
//!
//!     metadata record   [frame version = 1, uvarint][type, uvarint][version, uvarint] body
//!     coordinator key   [type i16] body          coordinator value   [version i16] body
//!     data payload      [version i16] body       (subscriptions, assignments, end-of-transaction markers)

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, EncodeError, Encoder, Message};
use crate::messages::MetadataRecord;

/// The only frame version of metadata records (Kafka's `AbstractApiMessageSerde`).
const METADATA_FRAME_VERSION: u32 = 1;

/// Writes a metadata record with its frame.
pub fn encode_metadata(record: &MetadataRecord, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::with_capacity(64);
    out.uvarint(METADATA_FRAME_VERSION);
    out.uvarint(record.key() as u32);
    out.uvarint(version as u32);
    record.encode(&mut out, version)?;
    Ok(out.into_bytes().expect("metadata records hold no file regions"))
}

/// Reads a metadata record and its version. A type or version that this program does not know is an error: it must not
/// be skipped, since the state after it would be wrong.
pub fn decode_metadata(bytes: Bytes) -> Result<(MetadataRecord, i16), DecodeError> {
    let mut d = Decoder::new(bytes);
    let frame = d.uvarint()?;
    if frame != METADATA_FRAME_VERSION {
        return Err(DecodeError::Unknown { what: "metadata frame version", value: i64::from(frame) });
    }
    let narrow = |what: &'static str, value: u32| {
        i16::try_from(value).map_err(|_| DecodeError::Unknown { what, value: i64::from(value) })
    };
    let key = narrow("metadata record", d.uvarint()?)?;
    let version = narrow("metadata record version", d.uvarint()?)?;
    let record = MetadataRecord::decode(key, &mut d, version)?;
    d.finish()?;
    Ok((record, version))
}

/// Writes a message behind its version, as coordinator values and embedded payloads are.
pub fn encode_versioned<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    encode_prefixed(version, message, version)
}

/// Writes a coordinator key: its type, then the key in its only version.
pub fn encode_key<M: Message>(record_type: i16, key: &M) -> Result<Bytes, EncodeError> {
    encode_prefixed(record_type, key, *M::VERSIONS.end())
}

fn encode_prefixed<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::with_capacity(64);
    out.i16(prefix);
    message.encode(&mut out, version)?;
    Ok(out.into_bytes().expect("records of internal logs hold no file regions"))
}

/// Reads a message behind its version.
pub fn decode_versioned<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut d = Decoder::new(bytes);
    let version = d.i16()?;
    M::decode(&mut d, version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::TopicRecord;
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
}
