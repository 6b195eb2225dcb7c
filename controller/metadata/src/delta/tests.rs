//! What records do to an image, and that a snapshot makes the same image.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::samples::{Dice, level_record, partition_record, random_history, register_broker};
use protocol::Str;
use protocol::messages::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord, ConfigRecord,
    EndTransactionRecord, RemoveTopicRecord, TopicRecord, UnregisterBrokerRecord,
};

fn topic(name: &str, id: u128) -> Record {
    Record::from(TopicRecord { name: Str::from(name), topic_id: Uuid(id), ..Default::default() })
}

fn config(kind: i8, resource: &str, name: &str, value: &str) -> Record {
    Record::from(ConfigRecord {
        resource_type: kind,
        resource_name: Str::from(resource),
        name: Str::from(name),
        value: Some(Str::from(value)),
        ..Default::default()
    })
}

#[test]
fn a_snapshot_makes_the_same_image() {
    for seed in 0..150 {
        let (_, image) = random_history(seed, 400);
        let level = image.features.metadata_version();
        let snapshot: Vec<Record> = image.records().collect();
        let through_bytes: Vec<Record> = snapshot
            .iter()
            .map(|record| crate::record::decode(crate::record::encode(record, level).unwrap()).unwrap())
            .collect();
        let loaded = Image::from_snapshot(&through_bytes, image.end_offset);
        assert_eq!(loaded, image, "seed {seed}");
        assert_eq!(loaded.end_offset, image.end_offset);
        assert!(loaded.records().eq(snapshot), "a snapshot of a snapshot is the same, seed {seed}");
    }
}

#[test]
fn the_image_does_not_depend_on_how_records_are_batched() {
    for seed in 0..30 {
        let (records, image) = random_history(seed, 300);
        let one_by_one = records.iter().fold(Image::default(), |image, record| image.with([record]));
        assert_eq!(one_by_one, image, "seed {seed}");
        assert_eq!(one_by_one.end_offset, records.len() as i64);
    }
}

#[test]
fn an_older_image_stays_as_it_was() {
    for seed in 0..20 {
        let (records, _) = random_history(seed, 200);
        let half = Image::default().with(&records[..100]);
        let copy: Vec<Record> = half.records().collect();
        let _whole = half.with(&records[100..]);
        assert!(half.records().eq(copy), "seed {seed}");
    }
}

#[test]
fn changes_name_what_was_touched() {
    let base =
        Image::default().with(&[level_record(MetadataVersion::LATEST), topic("a", 300), topic("b", 301)]);
    let mut delta = Delta::new(&base);
    assert!(delta.changes().is_empty());
    delta.apply(&Record::from(partition_record(Uuid(300), 7, &mut Dice(1))));
    delta.apply(&topic("c", 302));
    delta.apply(&config(2, "b", "retention.ms", "1"));
    delta.apply(&Record::from(RemoveTopicRecord { topic_id: Uuid(301), ..Default::default() }));
    delta.apply(&Record::from(register_broker(4, 9)));
    let changes = delta.changes();
    assert_eq!(
        changes.topics,
        BTreeMap::from([(Uuid(300), BTreeSet::from([7])), (Uuid(302), BTreeSet::new())])
    );
    assert_eq!(changes.removed_topics, BTreeSet::from([Uuid(301)]));
    assert_eq!(changes.configs, BTreeSet::from([ConfigResource::topic("b")]));
    assert_eq!(changes.brokers, BTreeSet::from([4]));
    assert!(!changes.features && !changes.acls);
}

#[test]
fn a_topic_made_and_removed_in_between_leaves_no_trace() {
    let mut delta = Delta::new(&Image::default());
    delta.apply(&topic("a", 300));
    delta.apply(&Record::from(partition_record(Uuid(300), 0, &mut Dice(1))));
    delta.apply(&Record::from(RemoveTopicRecord { topic_id: Uuid(300), ..Default::default() }));
    assert!(delta.changes().is_empty());
    assert_eq!(delta.finish(), Image::default());
}

#[test]
fn a_deleted_topic_takes_its_configs_and_its_collisions_along() {
    let image =
        Image::default().with(&[topic("a.b", 300), config(2, "a.b", "x", "1"), config(4, "", "x", "1")]);
    assert_eq!(image.topics.collision("a_b").unwrap(), "a.b");
    assert!(image.topics.collision("ab").is_none());
    let image = image.with(&[Record::from(RemoveTopicRecord { topic_id: Uuid(300), ..Default::default() })]);
    assert!(image.topics.collision("a_b").is_none());
    assert!(image.configs.values(&ConfigResource::topic("a.b")).is_none());
    assert!(image.configs.values(&ConfigResource::cluster_default()).is_some());
    let again = image.with(&[topic("a.b", 301)]);
    assert_eq!(again.topics.id("a.b"), Some(Uuid(301)));
    assert!(again.topics.by_id(Uuid(300)).is_none());
}

#[test]
fn an_aborted_transaction_is_undone_and_keeps_its_offsets() {
    let begin = Record::from(BeginTransactionRecord::default());
    let base = Image::default().with(&[topic("a", 300)]);
    let open = base.with(&[begin, topic("b", 301)]);
    assert!(open.is_in_transaction());
    let aborted = open.with(&[Record::from(AbortTransactionRecord::default())]);
    assert_eq!(aborted, base);
    assert_eq!(aborted.end_offset, 4);
    let ended = open.with(&[Record::from(EndTransactionRecord::default())]);
    assert!(!ended.is_in_transaction());
    assert!(ended.topics.id("b").is_some());
}

#[test]
fn registration_changes_touch_only_what_they_name() {
    let image =
        Image::default().with(&[level_record(MetadataVersion::LATEST), Record::from(register_broker(1, 1))]);
    let change = |fenced, in_controlled_shutdown, log_dirs| {
        let id = BrokerRegistrationChangeRecord { broker_id: 1, broker_epoch: 1, ..Default::default() };
        Record::from(BrokerRegistrationChangeRecord { fenced, in_controlled_shutdown, log_dirs, ..id })
    };
    let seen = |records: &[Record]| {
        let broker = image.with(records).cluster.broker(1).unwrap().clone();
        (broker.fenced, broker.in_controlled_shutdown, broker.log_dirs.clone())
    };
    assert_eq!(seen(&[]), (true, false, vec![Uuid(5001)]));
    assert_eq!(seen(&[change(-1, 0, vec![])]), (false, false, vec![Uuid(5001)]));
    assert_eq!(seen(&[change(-1, 0, vec![]), change(0, 1, vec![])]), (false, true, vec![Uuid(5001)]));
    assert_eq!(seen(&[change(0, 0, vec![Uuid(77)])]), (true, false, vec![Uuid(77)]));
}

#[test]
#[should_panic(expected = "another epoch")]
fn a_record_of_another_incarnation_is_a_bug() {
    let record = UnregisterBrokerRecord { broker_id: 1, broker_epoch: 2, ..Default::default() };
    let _ = Image::default().with(&[Record::from(register_broker(1, 1)), Record::from(record)]);
}

#[test]
fn one_partition_of_ten_thousand_changes_cheaply() {
    let mut dice = Dice(5);
    let mut delta =
        Delta::new(&Image::default().with(&[level_record(MetadataVersion::LATEST), topic("big", 300)]));
    for index in 0..10_000 {
        delta.apply(&Record::from(partition_record(Uuid(300), index, &mut dice)));
    }
    let image = delta.finish();
    let change =
        PartitionChangeRecord { topic_id: Uuid(300), partition_id: 5_000, leader: -1, ..Default::default() };
    let changed = image.with(&[Record::from(change)]);
    let shared = (0..10_000).filter(|index| {
        let of = |image: &Image| image.topics.partition(Uuid(300), *index).unwrap().clone();
        Arc::ptr_eq(&of(&image), &of(&changed))
    });
    assert_eq!(shared.count(), 9_999);
    assert!(Arc::ptr_eq(&image.configs, &changed.configs));
}
