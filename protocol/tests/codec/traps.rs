//! The traps of Kafka's schema that other codecs fell into, one by one.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use protocol::messages::*;
use protocol::schema::{Kind, Versions};
use protocol::value::{self, Value};
use protocol::{
    ApiKey, Chunk, DecodeError, Decoder, EncodeError, Encoder, Message, Records, Region, Str, Uuid,
};

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    message.encode(&mut out, version)?;
    Ok(out.into_bytes().expect("all in memory"))
}

fn decode<M: Message>(bytes: &[u8], version: i16) -> Result<M, DecodeError> {
    let mut input = Decoder::new(Bytes::copy_from_slice(bytes));
    let message = M::decode(&mut input, version)?;
    input.finish()?;
    Ok(message)
}

/// Every field of the schema with its message.
fn fields() -> impl Iterator<Item = (&'static protocol::schema::Message, &'static protocol::schema::Field)> {
    value::messages()
        .iter()
        .flat_map(|m| m.structs.iter().flat_map(move |s| s.fields.iter().map(move |f| (m, f))))
}

/// Five fields have no `versions` in Kafka's files, only the versions at which they are tagged.
#[test]
fn fields_with_tagged_versions_only_are_there() {
    let log = TransactionLogValue {
        previous_producer_id: 7,
        next_producer_id: 8,
        client_transaction_version: 2,
        next_producer_epoch: 3,
        ..Default::default()
    };
    let bytes = encode(&log, 1).unwrap();
    assert_eq!(decode::<TransactionLogValue>(&bytes, 1), Ok(log.clone()));
    let refused = encode(&log, 0).unwrap_err();
    assert_eq!(
        refused,
        EncodeError::NotInVersion { field: "TransactionLogValue.PreviousProducerId", version: 0 }
    );
    let group = StreamsGroupMetadataValue { validated_topology_epoch: 4, ..Default::default() };
    assert_eq!(decode::<StreamsGroupMetadataValue>(&encode(&group, 0).unwrap(), 0), Ok(group));
}

/// Defaults are strings in some files and literals in others: "null" and null, "false" and false, 0x7fffffff.
#[test]
fn defaults_given_as_strings_and_as_literals_are_the_same() {
    let fetch = FetchRequest::default();
    assert_eq!((fetch.max_bytes, fetch.session_epoch, fetch.cluster_id), (i32::MAX, -1, None));
    assert_eq!(fetch_request::FetchPartition::default().high_watermark, i64::MAX);
    assert!(MetadataRequest::default().allow_auto_topic_creation);
    assert!(RegisterBrokerRecord::default().fenced);
    assert_eq!(CreateTopicsRequest::default().timeout_ms, 60_000);
    assert!(!CreateTopicsRequest::default().validate_only);
    assert_eq!(PartitionChangeRecord::default().isr, None);
    assert_eq!(PartitionChangeRecord::default().leader, -2);
    assert_eq!(DescribeTopicPartitionsRequest::default().response_partition_limit, 2000);
    for (m, f) in fields().filter(|(_, f)| f.default.as_deref() == Some("null")) {
        assert!(!f.nullable.is_empty(), "{}.{} defaults to null and is not nullable", m.name, f.name);
    }
}

/// -1 for null, 1 before a struct: nothing that the schema says.
#[test]
fn a_struct_that_may_be_null_has_a_byte_in_front() {
    let nullable: Vec<_> =
        fields().filter(|(_, f)| matches!(f.kind, Kind::Struct(_)) && !f.nullable.is_empty()).collect();
    assert_eq!(nullable.len(), 10);
    let mut request = DescribeTopicPartitionsRequest::default();
    assert_eq!(&encode(&request, 0).unwrap()[..], [1, 0, 0, 0x07, 0xd0, 0xff, 0]);
    let cursor = describe_topic_partitions_request::Cursor { topic_name: "a".into(), partition_index: 5 };
    request.cursor = Some(cursor);
    let bytes = encode(&request, 0).unwrap();
    assert_eq!(&bytes[..], [1, 0, 0, 0x07, 0xd0, 1, 2, b'a', 0, 0, 0, 5, 0, 0]);
    assert_eq!(decode(&bytes, 0), Ok(request));
    // One of them is tagged as well.
    let classic = consumer_group_member_metadata_value::ClassicMemberMetadata {
        session_timeout_ms: 9,
        ..Default::default()
    };
    let member =
        ConsumerGroupMemberMetadataValue { classic_member_metadata: Some(classic), ..Default::default() };
    assert_eq!(decode(&encode(&member, 0).unwrap(), 0), Ok(member));
}

/// The versions at which a field may be null are not always the versions at which it is there.
#[test]
fn null_is_refused_where_the_version_does_not_allow_it() {
    let all_topics = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(encode(&all_topics, 0), Err(EncodeError::Null { field: "Topics", version: 0 }));
    assert_eq!(&encode(&all_topics, 1).unwrap()[..], [0xff; 4]);
    assert_eq!(decode::<MetadataRequest>(&[0xff; 4], 0), Err(DecodeError::Null));
    let mut differing = 0;
    for (m, f) in fields().filter(|(_, f)| !f.nullable.is_empty()) {
        let here = f.versions.intersect(m.versions);
        differing += usize::from(f.nullable.intersect(m.versions) != here);
    }
    assert!(differing >= 5, "{differing} fields");
    // Nullable in version 0 alone, which 4.3 no longer has: never null.
    let (_, records) = fields().find(|(m, f)| m.name == "ShareFetchResponse" && f.name == "Records").unwrap();
    assert_eq!(records.nullable, Versions { first: 0, last: 0 });
}

/// Five collections are looked up by two fields together.
#[test]
fn collections_with_two_keys_are_lists_here() {
    let two = value::messages()
        .iter()
        .flat_map(|m| &m.structs)
        .filter(|s| s.fields.iter().filter(|f| f.map_key).count() == 2);
    assert_eq!(two.count(), 5);
    // A codec that makes maps of them loses the second of equal keys; Kafka's collections keep it.
    let topic = create_topics_request::CreatableTopic { name: "t".into(), ..Default::default() };
    let twice = CreateTopicsRequest { topics: vec![topic.clone(), topic], ..Default::default() };
    assert_eq!(decode::<CreateTopicsRequest>(&encode(&twice, 7).unwrap(), 7).unwrap().topics.len(), 2);
}

#[test]
fn unsigned_and_floating_numbers_keep_their_edges() {
    let listener = register_broker_record::BrokerEndpoint { port: u16::MAX, ..Default::default() };
    let record = RegisterBrokerRecord { end_points: vec![listener], ..Default::default() };
    assert_eq!(
        decode::<RegisterBrokerRecord>(&encode(&record, 3).unwrap(), 3).unwrap().end_points[0].port,
        65535
    );
    let snapshot = ProducerSnapshot { crc: u32::MAX, ..Default::default() };
    assert_eq!(decode::<ProducerSnapshot>(&encode(&snapshot, 1).unwrap(), 1).unwrap().crc, u32::MAX);
    for value in [f64::MIN, -0.0, f64::INFINITY, 0.1] {
        let quota = ClientQuotaRecord { value, ..Default::default() };
        assert_eq!(
            decode::<ClientQuotaRecord>(&encode(&quota, 0).unwrap(), 0).unwrap().value.to_bits(),
            value.to_bits()
        );
    }
}

/// What the schema calls valid is not what a broker offers.
#[test]
fn an_unfinished_version_is_not_offered() {
    let unstable: Vec<ApiKey> = ApiKey::all().filter(|k| k.known_versions() != k.stable_versions()).collect();
    assert_eq!(unstable, [ApiKey::InitProducerId]);
    assert_eq!(ApiKey::InitProducerId.stable_versions(), 0..=5);
    assert_eq!(ApiKey::InitProducerId.known_versions(), 0..=6);
}

/// librdkafka does not compress for a broker without Produce 0-2, so Kafka offers them and does not serve them.
#[test]
fn produce_is_told_from_version_0() {
    assert_eq!(ApiKey::Produce.advertised_versions(), 0..=13);
    assert_eq!(ApiKey::Produce.stable_versions(), 3..=13);
    let others = ApiKey::all().filter(|k| *k != ApiKey::Produce);
    others.for_each(|key| assert_eq!(key.advertised_versions(), key.stable_versions()));
}

/// Removed requests keep their key and have no version.
#[test]
fn removed_requests_have_no_version() {
    let removed: Vec<i16> =
        ApiKey::all().filter(|k| k.known_versions().is_empty()).map(ApiKey::code).collect();
    assert_eq!(removed, [4, 5, 6, 7]);
    assert_eq!(ApiKey::all().filter(|k| k.is_on_broker_listener()).count(), 77);
}

/// `records` may be null, and its length is compact in flexible versions.
#[test]
fn records_are_nullable_and_compact_in_flexible_versions() {
    use fetch_response::{FetchableTopicResponse, PartitionData};
    let answer = |records| {
        let partition = PartitionData { records, ..Default::default() };
        let topic =
            FetchableTopicResponse { topic: "t".into(), partitions: vec![partition], ..Default::default() };
        FetchResponse { responses: vec![topic], ..Default::default() }
    };
    for (version, null, three) in
        [(11, &[0xff; 4][..], &[0, 0, 0, 3, 1, 2, 3][..]), (12, &[0, 0, 0, 0], &[4, 1, 2, 3, 0, 0, 0])]
    {
        assert!(encode(&answer(None), version).unwrap().ends_with(null));
        let full = answer(Some(Records::from(Bytes::from_static(&[1, 2, 3]))));
        assert!(encode(&full, version).unwrap().ends_with(three));
        assert_eq!(decode(&encode(&full, version).unwrap(), version), Ok(full));
    }
}

/// A region of a file passes through as a chunk of its own, and is counted in the length in front of it.
#[test]
fn a_file_region_becomes_a_chunk() {
    use fetch_response::{FetchableTopicResponse, PartitionData};
    let source: Arc<dyn Any + Send + Sync> = Arc::new("a file");
    let region = Chunk::Region(Region { source, position: 4096, length: 300 });
    let partition = PartitionData { records: Some(Records::from(vec![region])), ..Default::default() };
    let topic =
        FetchableTopicResponse { topic_id: Uuid(1), partitions: vec![partition], ..Default::default() };
    let mut out = Encoder::new();
    FetchResponse { responses: vec![topic], ..Default::default() }.encode(&mut out, 17).unwrap();
    let total = out.len();
    let chunks = out.into_chunks();
    assert_eq!(chunks.iter().map(Chunk::len).sum::<u64>(), total);
    let [Chunk::Bytes(head), Chunk::Region(region), Chunk::Bytes(tail)] = &chunks[..] else {
        panic!("{chunks:?}")
    };
    assert!(head.ends_with(&[0xad, 2]), "301 as a varint");
    assert_eq!((region.position, region.length, &tail[..]), (4096, 300, &[0, 0, 0][..]));
}

#[test]
fn tagged_fields_with_their_default_are_not_written() {
    let fetch = FetchRequest::default();
    assert_eq!(encode(&fetch, 17).unwrap().last(), Some(&0), "no tags");
    let named = FetchRequest { cluster_id: Some("c".into()), ..Default::default() };
    assert!(encode(&named, 17).unwrap().ends_with(&[1, 0, 2, 2, b'c']));
}

/// A roll-back must not lose what a newer version wrote into an internal log; requests and responses have no such memory.
#[test]
fn unknown_tags_are_kept_in_internal_records_and_skipped_elsewhere() {
    let mut record = TopicRecord { name: "t".into(), ..Default::default() };
    record.unknown_tags = vec![(90, Bytes::from_static(b"new"))];
    let bytes = encode(&record, 0).unwrap();
    assert!(bytes.ends_with(&[1, 90, 3, b'n', b'e', b'w']));
    assert_eq!(decode(&bytes, 0), Ok(record));
    let heartbeat = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
    let plain = encode(&heartbeat, 4).unwrap();
    let mut tagged = plain[..plain.len() - 1].to_vec();
    tagged.extend_from_slice(&[1, 90, 3, b'n', b'e', b'w']);
    assert_eq!(decode(&tagged, 4), Ok(heartbeat));
}

/// Kafka's own reader takes tags in any order, and the last of equal ones. Recorded from it.
#[test]
fn tags_come_in_any_order() {
    const HEAD: &str = "00000000000000007fffffff0000000000ffffffff010101";
    const REVERSED: &str = "02010d0000000300000000000000040000020263";
    const REPEATED: &str = "03010d000000030000000000000004000002026300020264";
    for (tags, cluster) in [(REVERSED, "c"), (REPEATED, "d")] {
        let text = format!("{HEAD}{tags}");
        let bytes: Vec<u8> =
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
        let fetch: FetchRequest = decode(&bytes, 17).unwrap();
        assert_eq!(fetch.cluster_id, Some(Str::from(cluster)));
        assert_eq!((fetch.replica_state.replica_id, fetch.replica_state.replica_epoch), (3, 4));
    }
}

/// A tag whose payload is longer than its field would be read differently by everybody.
#[test]
fn a_tag_of_the_wrong_size_is_refused() {
    let fetch = FetchRequest { cluster_id: Some("c".into()), ..Default::default() };
    let mut bytes = encode(&fetch, 17).unwrap().to_vec();
    let at = bytes.len() - 3;
    bytes[at] = 3;
    bytes.push(0);
    assert_eq!(decode::<FetchRequest>(&bytes, 17), Err(DecodeError::LeftOver(1)));
}

/// A client may pass a version that does not exist; neither codec may guess.
#[test]
fn a_version_that_does_not_exist_is_refused() {
    for version in [-1, 2, 14, i16::MAX, i16::MIN] {
        let error = EncodeError::UnsupportedVersion { message: "ProduceRequest", version };
        assert_eq!(encode(&ProduceRequest::default(), version), Err(error));
        let error = DecodeError::UnsupportedVersion { message: "ProduceRequest", version };
        assert_eq!(decode::<ProduceRequest>(&[0; 64], version), Err(error));
    }
}

/// Strings are bounded by an int16 in both encodings; Kafka refuses longer ones when it writes and when it reads.
#[test]
fn a_string_is_at_most_32767_bytes() {
    let long = "x".repeat(32767);
    for version in [3, 4] {
        let fits = HeartbeatRequest { group_id: Str::from(long.as_str()), ..Default::default() };
        assert_eq!(decode(&encode(&fits, version).unwrap(), version), Ok(fits));
        let too_long = HeartbeatRequest { group_id: Str::from(format!("{long}x")), ..Default::default() };
        assert_eq!(encode(&too_long, version), Err(EncodeError::TooLong(32768)));
    }
    let mut bytes = vec![0x81, 0x80, 0x02];
    bytes.resize(40_000, b'x');
    assert_eq!(decode::<HeartbeatRequest>(&bytes, 4), Err(DecodeError::BadLength(32768)));
}

/// The interpreter prints what Kafka prints: defaults of tagged fields left out, ids as text, bytes as base64.
#[test]
fn a_fetch_request_as_json() {
    let m = value::message("FetchRequest").unwrap();
    let fetch = FetchRequest { rack_id: "r".into(), ..Default::default() };
    let value = value::decode(m, &mut Decoder::new(encode(&fetch, 17).unwrap()), 17).unwrap();
    assert_eq!(value.field("RackId"), Some(&Value::String("r".into())));
    let expected = serde_json::json!({"maxWaitMs": 0, "minBytes": 0, "maxBytes": i32::MAX, "isolationLevel": 0, "sessionId": 0,
        "sessionEpoch": -1, "topics": [], "forgottenTopicsData": [], "rackId": "r"});
    assert_eq!(value::to_json(m, &value, 17), expected);
}
