//! An independent codec reads what ours wrote and writes the same bytes: `kafka-protocol` 0.18, which knows Kafka 4.1.
//! It lacks a few versions and APIs of 4.3; those are listed, so that the comparison cannot shrink unseen.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use protocol::value;

use crate::{all, interpreted, numbers};

/// What the crate does not have.
const LACKING: &[(&str, i16)] = &[
    ("AddRaftVoterRequest", 1),
    ("AddRaftVoterResponse", 1),
    ("BrokerHeartbeatRequest", 2),
    ("BrokerHeartbeatResponse", 2),
    ("DescribeLogDirsRequest", 5),
    ("DescribeLogDirsResponse", 5),
    ("DescribeShareGroupOffsetsRequest", 1),
    ("DescribeShareGroupOffsetsResponse", 1),
    ("InitProducerIdRequest", 6),
    ("ListOffsetsRequest", 11),
    ("ListOffsetsResponse", 11),
    ("OffsetCommitRequest", 10),
    ("OffsetFetchRequest", 10),
    ("ReadShareGroupStateSummaryRequest", 1),
    ("ReadShareGroupStateSummaryResponse", 1),
    ("ShareAcknowledgeRequest", 2),
    ("ShareAcknowledgeResponse", 2),
    ("ShareFetchRequest", 2),
    ("ShareFetchResponse", 2),
    ("StreamsGroupDescribeRequest", 0),
    ("StreamsGroupDescribeResponse", 0),
    ("StreamsGroupHeartbeatRequest", 0),
    ("StreamsGroupHeartbeatResponse", 0),
    ("WriteShareGroupStateRequest", 1),
    ("WriteShareGroupStateResponse", 1),
    ("WriteTxnMarkersRequest", 2),
    ("WriteTxnMarkersResponse", 2),
];

/// Reads and writes a request or response with the other crate. None: it does not have that version.
fn through_other_crate(
    category: &str,
    key: i16,
    bytes: &Bytes,
    version: i16,
) -> Option<Result<Bytes, String>> {
    let key = ApiKey::try_from(key).ok()?;
    let mut input = bytes.clone();
    let mut out = BytesMut::new();
    let done = if category == "request" {
        RequestKind::decode(key, &mut input, version).and_then(|m| m.encode(&mut out, version))
    } else {
        ResponseKind::decode(key, &mut input, version).and_then(|m| m.encode(&mut out, version))
    };
    match done {
        Err(e) if format!("{e:#}").contains("version not supported") => None,
        Err(e) => Some(Err(format!("{e:#}"))),
        Ok(()) => Some(Ok(out.freeze())),
    }
}

#[test]
fn an_independent_codec_agrees_where_it_knows_the_version() {
    let mut next = numbers(3);
    let mut lacking = BTreeSet::new();
    let mut compared = 0;
    for (_, m) in all().filter(|(_, m)| m.category == "request" || m.category == "response") {
        let key = m.key.expect("it has a key");
        for version in m.versions.range() {
            for _ in 0..16 {
                let value = value::random(m, version, &mut next);
                let bytes = interpreted(m, &value, version).expect("made for this version");
                match through_other_crate(&m.category, key, &bytes, version) {
                    None => {
                        lacking.insert((m.name.as_str(), version));
                    }
                    Some(again) => {
                        assert_eq!(
                            again,
                            Ok(bytes),
                            "{} v{version} {}",
                            m.name,
                            value::to_json(m, &value, version)
                        );
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(lacking, LACKING.iter().copied().collect());
    assert!(compared > 9000, "{compared} messages");
}
