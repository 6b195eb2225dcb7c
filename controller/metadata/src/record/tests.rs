//! Records against those that a Kafka 4.3.1 node wrote, and what must be refused.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::samples::{kafka_records, records_of_every_type};
use crate::{Image, MetadataVersion};
use protocol::messages::{BrokerRegistrationChangeRecord, PartitionChangeRecord, TopicRecord};
use protocol::{Str, Uuid};

#[test]
fn kafkas_records_are_read_and_written_byte_for_byte() {
    let mut types = std::collections::BTreeSet::new();
    for (offset, bytes) in kafka_records() {
        let record = decode(bytes.clone()).unwrap();
        types.insert(record.key());
        assert_eq!(encode(&record, MetadataVersion::LATEST).unwrap(), bytes, "offset {offset}: {record:?}");
    }
    assert!(types.len() >= 15, "the recording covers most types: {types:?}");
}

#[test]
fn every_type_goes_both_ways() {
    let mut types = std::collections::BTreeSet::new();
    for record in records_of_every_type() {
        types.insert(record.key());
        let bytes = encode(&record, MetadataVersion::LATEST).unwrap();
        assert_eq!(decode(bytes).unwrap(), record);
    }
    let expected =
        [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28];
    assert!(types.into_iter().eq(expected));
}

#[test]
fn unknown_types_versions_and_frames_are_refused() {
    let topic = Record::from(TopicRecord { name: Str::from("t"), topic_id: Uuid(1), ..Default::default() });
    let good = encode(&topic, MetadataVersion::LATEST).unwrap();
    for (at, value) in [(0, 0), (0, 2), (1, 6), (1, 13), (1, 29), (1, 127), (2, 1)] {
        let mut bad = good.to_vec();
        bad[at] = value;
        let error = decode(bad.into()).unwrap_err();
        assert!(error.to_string().contains("newer release"), "{error}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(decode(longer.into()).is_err());
    for cut in 0..good.len() {
        assert!(decode(good.slice(..cut)).is_err());
    }
}

#[test]
fn a_log_with_a_level_that_this_release_lacks_is_refused() {
    let record = |name: &'static str, feature_level| {
        let name = Str::from_static(name);
        Record::from(protocol::messages::FeatureLevelRecord { name, feature_level, ..Default::default() })
    };
    let read = |record: &Record| decode(encode(record, MetadataVersion::LATEST).unwrap());
    for (name, level) in
        [("metadata.version", 31), ("group.version", 2), ("weir.version", 2), ("new.version", 1)]
    {
        assert!(matches!(read(&record(name, level)), Err(Error::UnsupportedLevel { .. })), "{name} {level}");
    }
    assert!(read(&record("new.version", 0)).is_ok());
}

#[test]
fn a_registration_change_is_written_in_the_lowest_version_that_carries_it() {
    let version_of =
        |change: BrokerRegistrationChangeRecord| version(&Record::from(change), MetadataVersion::LATEST);
    let change = BrokerRegistrationChangeRecord::default;
    assert_eq!(version_of(BrokerRegistrationChangeRecord { fenced: 1, ..change() }), 0);
    assert_eq!(version_of(BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..change() }), 1);
    assert_eq!(version_of(BrokerRegistrationChangeRecord { log_dirs: vec![Uuid(101)], ..change() }), 2);
    assert_eq!(version_of(BrokerRegistrationChangeRecord { cordoned_log_dirs: Some(vec![]), ..change() }), 3);
}

#[test]
fn a_field_that_the_level_cannot_carry_is_an_error() {
    let old = MetadataVersion::from_name("3.9").unwrap();
    let change = PartitionChangeRecord { eligible_leader_replicas: Some(vec![1]), ..Default::default() };
    assert!(encode(&Record::from(change), old).is_err());
}

#[test]
#[should_panic(expected = "does not exist at metadata.version 3.3-IV3")]
fn a_type_that_the_level_does_not_know_is_never_written() {
    let clear = Record::from(protocol::messages::ClearElrRecord::default());
    let _ = encode(&clear, MetadataVersion::MIN);
}

#[test]
fn kafkas_log_makes_the_cluster_that_its_tools_showed() {
    let mut delta = crate::Delta::new(&Image::default());
    for (offset, bytes) in kafka_records() {
        delta.skip_offsets(offset - delta.image().end_offset);
        delta.apply(&decode(bytes).unwrap());
    }
    let image = delta.finish();
    assert_eq!(image.end_offset, 3881);
    assert_eq!(image.features.metadata_version().name(), "4.3-IV0");
    assert!(image.features.eligible_leader_replicas());
    let broker = image.cluster.broker(1).unwrap();
    assert_eq!((broker.epoch, broker.fenced, broker.in_controlled_shutdown), (3850, true, true));
    assert_eq!(broker.cordoned_log_dirs, Some(vec![]));
    assert_eq!(broker.listener("PLAINTEXT").unwrap().port, 29092);
    assert_eq!((image.topics.len(), image.topics.partition_count()), (1, 4));
    let partition = image.topics.by_name("orders.eu").unwrap().partition(0).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (-1, 3, 4));
    assert_eq!((&partition.isr, &partition.elr, &partition.last_known_elr), (&vec![], &vec![1], &vec![1]));
    assert_eq!(image.next_producer_id, 1000);
    assert_eq!(image.client_quotas.limit("alice", "any", "producer_byte_rate"), Some(1024.0));
    assert_eq!(image.client_quotas.limit("alice", "any", "consumer_byte_rate"), None);
    assert_eq!(image.scram.get(1, "bob").unwrap().iterations, 4096);
    let (value, _) =
        image.configs.of_topic("orders.eu", 1, "min.insync.replicas", &["min.insync.replicas"]).unwrap();
    assert_eq!(value, "2");
    assert!(!image.is_in_transaction());
}
