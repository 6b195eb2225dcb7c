//! What administrators ask of a broker, case by case, against what a Kafka 4.3.1 answers.

use protocol::ids::ProducerId;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::DescribeConfigsResult;
use protocol::messages::describe_producers_request::TopicRequest as ProducersOfTopic;
use protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use protocol::messages::{
    DeleteRecordsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeTopicPartitionsRequest, ListConfigResourcesRequest, OffsetForLeaderEpochRequest,
};

use super::*;

async fn filled(rig: &Rig, configs: &[(&str, &str)]) {
    rig.topic("t", &[1], configs).await;
    for value in ["a", "b", "c"] {
        assert_eq!(rig.produce("t", 1, batch(&[value]).to_bytes()).await.error_code, 0);
    }
}

async fn delete(rig: &Rig, version: i16, topic: &str, partition: i32, offset: i64) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition { partition_index: partition, offset, ..Default::default() };
    let topic =
        DeleteRecordsTopic { name: Str::from(topic), partitions: vec![partition], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let answer = rig.call(version, &request).await.topics.remove(0).partitions.remove(0);
    (code(answer.error_code), answer.low_watermark)
}

#[test]
fn deleted_records_are_gone_and_what_cannot_be_deleted_gets_kafkas_code() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig, &[]).await;
        rig.topic("compacted", &[1], &[("cleanup.policy", "compact")]).await;
        assert_eq!(delete(&rig, 2, "t", 0, 1).await, (ErrorCode::None, 1));
        assert_eq!(code(rig.fetch(&fetch_request("t", 0)).await.error_code), ErrorCode::OffsetOutOfRange);
        assert_eq!(records(&rig.fetch(&fetch_request("t", 1)).await).len(), 2);
        assert_eq!(delete(&rig, 0, "t", 0, 0).await, (ErrorCode::None, 1), "it never goes back");
        assert_eq!(delete(&rig, 2, "t", 0, 4).await, (ErrorCode::OffsetOutOfRange, -1));
        assert_eq!(delete(&rig, 2, "t", 0, -2).await, (ErrorCode::OffsetOutOfRange, -1));
        assert_eq!(delete(&rig, 2, "t", 9, 0).await, (ErrorCode::UnknownTopicOrPartition, -1));
        assert_eq!(delete(&rig, 2, "nope", 0, 0).await, (ErrorCode::UnknownTopicOrPartition, -1));
        assert_eq!(delete(&rig, 2, "compacted", 0, 0).await, (ErrorCode::PolicyViolation, -1));
        assert_eq!(delete(&rig, 1, "t", 0, -1).await, (ErrorCode::None, 3), "-1 is the high watermark");
        assert_eq!(rig.produce("t", 1, batch(&["d"]).to_bytes()).await.base_offset, 3);
    });
}

#[test]
fn the_end_of_an_epoch_is_told() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig, &[]).await;
        let ask = async |partition: i32, leader_epoch: i32, current_leader_epoch: i32| {
            let partition = OffsetForLeaderPartition {
                partition,
                leader_epoch,
                current_leader_epoch,
                ..Default::default()
            };
            let topic = OffsetForLeaderTopic {
                topic: Str::from("t"),
                partitions: vec![partition],
                ..Default::default()
            };
            let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
            let answer = rig.call(4, &request).await.topics.remove(0).partitions.remove(0);
            (code(answer.error_code), answer.leader_epoch, answer.end_offset)
        };
        assert_eq!(ask(0, 0, -1).await, (ErrorCode::None, 0, 3));
        assert_eq!(ask(0, 7, 0).await, (ErrorCode::None, -1, -1), "an epoch that is not there yet");
        assert_eq!(ask(0, 0, 5).await, (ErrorCode::UnknownLeaderEpoch, -1, -1));
        assert_eq!(ask(8, 0, -1).await, (ErrorCode::UnknownTopicOrPartition, -1, -1));
    });
}

#[test]
fn producers_are_told_with_their_last_sequence() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let options = BatchOptions {
            producer_id: ProducerId(70),
            producer_epoch: 3,
            base_sequence: 0,
            ..Default::default()
        };
        assert_eq!(rig.produce("t", -1, batch_of(&["a", "b"], options).to_bytes()).await.error_code, 0);
        let ask = async |name: &str, index: i32| {
            let topic = ProducersOfTopic {
                name: Str::from(name),
                partition_indexes: vec![index],
                ..Default::default()
            };
            let request = DescribeProducersRequest { topics: vec![topic], ..Default::default() };
            rig.call(0, &request).await.topics.remove(0).partitions.remove(0)
        };
        let told = ask("t", 0).await.active_producers.remove(0);
        assert_eq!((told.producer_id, told.producer_epoch, told.last_sequence), (70, 3, 1));
        assert_eq!((told.last_timestamp, told.current_txn_start_offset), (1_767_225_600_000, -1));
        assert_eq!(code(ask("t", 5).await.error_code), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(code(ask("nope", 0).await.error_code), ErrorCode::UnknownTopicOrPartition);
        let invalid = ask("a b", 0).await;
        assert_eq!(code(invalid.error_code), ErrorCode::InvalidTopicException);
        assert!(invalid.error_message.unwrap().contains("'a b' contains one or more characters"));
    });
}

#[test]
fn topics_are_told_a_page_at_a_time() {
    with_broker(&[("max.request.partition.size.limit", "3")], async |rig: Rig| {
        for name in ["a", "b", "c", "d"] {
            rig.topic(name, &[1], &[]).await;
        }
        let ask = async |names: &[&str], limit: i32, from: Option<(&str, i32)>| {
            let topics = names.iter().map(|n| TopicRequest { name: Str::from(*n), ..Default::default() });
            let cursor = from.map(|(name, partition_index)| Cursor {
                topic_name: Str::from(name),
                partition_index,
                ..Default::default()
            });
            let request = DescribeTopicPartitionsRequest {
                topics: topics.collect(),
                response_partition_limit: limit,
                cursor,
                ..Default::default()
            };
            let answer = rig.call(0, &request).await;
            let told =
                answer.topics.iter().map(|t| (t.name.clone().unwrap().to_string(), code(t.error_code)));
            let next = answer.next_cursor.map(|c| (c.topic_name.to_string(), c.partition_index));
            (told.collect::<Vec<_>>(), next)
        };
        let ok = |name: &str| (name.to_owned(), ErrorCode::None);
        let (told, next) = ask(&[], 2, None).await;
        assert_eq!((told, next), (vec![ok("a"), ok("b")], Some(("c".to_owned(), 0))));
        let (told, next) = ask(&[], 2, Some(("c", 0))).await;
        assert_eq!((told, next), (vec![ok("c"), ok("d")], None));
        assert_eq!(ask(&[], 1000, None).await.1, Some(("d".to_owned(), 0)), "the broker's bound is smaller");
        let (told, next) = ask(&["nope", "b", "b"], 9, None).await;
        let unknown = ("nope".to_owned(), ErrorCode::UnknownTopicOrPartition);
        assert_eq!((told, next), (vec![ok("b"), unknown], None));
        let refused = ("b".to_owned(), ErrorCode::InvalidRequest);
        assert_eq!(
            ask(&["b"], 9, Some(("c", 0))).await.0,
            vec![refused.clone()],
            "a cursor that was not asked for"
        );
        assert_eq!(ask(&["b"], 9, Some(("b", -1))).await.0, vec![refused]);
    });
}

#[test]
fn log_dirs_are_told_with_their_logs() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig, &[]).await;
        for version in 1..=5 {
            let answer =
                rig.call(version, &DescribeLogDirsRequest { topics: None, ..Default::default() }).await;
            let dir = &answer.results[0];
            assert_eq!((dir.error_code, dir.log_dir.as_str()), (0, "/data"));
            assert_eq!(dir.topics[0].name, *"t");
            assert!(dir.topics[0].partitions[0].partition_size > 100);
            assert_eq!(dir.topics[0].partitions[0].offset_lag, 0);
            assert!(version < 4 || dir.total_bytes > 0);
        }
        let nothing = DescribeLogDirsRequest { topics: Some(Vec::new()), ..Default::default() };
        assert!(rig.call(5, &nothing).await.results[0].topics.is_empty());
    });
}

async fn describe(rig: &Rig, kind: i8, name: &str, keys: Option<Vec<Str>>) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: Str::from(name),
        configuration_keys: keys,
        ..Default::default()
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    rig.call(4, &request).await.results.remove(0)
}

#[test]
fn configs_are_told_with_their_sources() {
    with_broker(&[("log.retention.hours", "5")], async |rig: Rig| {
        rig.topic("t", &[1], &[("max.message.bytes", "2000")]).await;
        let keys = Some(vec![Str::from("max.message.bytes"), Str::from("retention.ms"), Str::from("nope")]);
        let told = describe(&rig, 2, "t", keys).await.configs;
        let (size, time) = (&told[0], &told[1]);
        assert_eq!((size.value.as_deref(), size.config_source, size.config_type), (Some("2000"), 1, 3));
        let layers: Vec<_> = size.synonyms.iter().map(|s| (s.name.as_str(), s.source)).collect();
        assert_eq!(layers, [("max.message.bytes", 1), ("message.max.bytes", 5)]);
        assert_eq!((time.value.as_deref(), time.config_source, told.len()), (Some("18000000"), 5, 2));
        let broker = describe(&rig, 4, "1", Some(vec![Str::from("log.retention.hours")])).await;
        let hours = &broker.configs[0];
        assert_eq!((hours.value.as_deref(), hours.config_source, hours.read_only), (Some("5"), 4, true));
        let group = describe(&rig, 32, "any", Some(vec![Str::from("consumer.session.timeout.ms")])).await;
        assert_eq!(group.configs[0].value.as_deref(), Some("45000"));
        assert_eq!(describe(&rig, 16, "any", None).await.configs.len(), 3);
    });
}

#[test]
fn configs_of_what_is_not_there_get_kafkas_code() {
    with_broker(&[], async |rig: Rig| {
        let cases = [
            (2, "nope", ErrorCode::UnknownTopicOrPartition, Some("")),
            (2, "a b", ErrorCode::InvalidTopicException, Some("Topic name is invalid: 'a b' contains")),
            (
                4,
                "2",
                ErrorCode::InvalidRequest,
                Some("Unexpected broker id, expected 1 or empty string, but"),
            ),
            (4, "x", ErrorCode::InvalidRequest, Some("Broker id must be an integer, but it is: x")),
            (8, "", ErrorCode::InvalidRequest, Some("Broker id must not be empty")),
            (16, "", ErrorCode::InvalidRequest, Some("Client metrics subscription name must not be empty")),
            (32, "", ErrorCode::InvalidRequest, Some("Group name must not be empty")),
            (99, "x", ErrorCode::InvalidRequest, Some("Unexpected resource type UNKNOWN for resource x")),
        ];
        for (kind, name, error, message) in cases {
            let told = describe(&rig, kind, name, None).await;
            assert_eq!((code(told.error_code), told.configs.len()), (error, 0), "{kind} {name:?}");
            assert_eq!((told.resource_type, told.resource_name.as_str()), (kind, name));
            let said = told.error_message.as_deref();
            assert!(said.is_some() == message.is_some(), "{kind} {name:?}: {said:?}");
            assert!(said.unwrap_or("").starts_with(message.unwrap_or("")), "{kind} {name:?}: {said:?}");
        }
    });
}

#[test]
fn what_has_configs_is_listed_by_type() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let ask = async |version: i16, resource_types: &[i8]| {
            let request =
                ListConfigResourcesRequest { resource_types: resource_types.to_vec(), ..Default::default() };
            let answer = rig.call(version, &request).await;
            let told = answer.config_resources.iter().map(|r| (r.resource_type, r.resource_name.to_string()));
            (code(answer.error_code), told.collect::<Vec<_>>())
        };
        assert_eq!(ask(1, &[2]).await, (ErrorCode::None, vec![(2, "t".to_owned())]));
        let all = vec![(8, "1".to_owned()), (4, "1".to_owned()), (2, "t".to_owned())];
        assert_eq!(ask(1, &[]).await, (ErrorCode::None, all));
        assert_eq!(ask(0, &[]).await, (ErrorCode::None, Vec::new()));
        assert_eq!(ask(1, &[77]).await, (ErrorCode::UnsupportedVersion, Vec::new()));
    });
}

#[test]
fn records_that_are_too_old_or_too_many_are_deleted_in_time() {
    let often = [("log.initial.task.delay.ms", "1000"), ("log.retention.check.interval.ms", "1000")];
    with_broker(&often, async |rig: Rig| {
        filled(&rig, &[("retention.ms", "1")]).await;
        for (topic, config) in [("forever", ("retention.ms", "-1")), ("small", ("retention.bytes", "0"))] {
            rig.topic(topic, &[1], &[config, ("retention.ms", "-1")]).await;
            assert_eq!(rig.produce(topic, 1, batch(&["a"]).to_bytes()).await.error_code, 0);
        }
        rig.host.clock().sleep(Duration::from_secs(3)).await;
        assert_eq!(code(rig.fetch(&fetch_request("t", 0)).await.error_code), ErrorCode::OffsetOutOfRange);
        assert_eq!(rig.fetch(&fetch_request("t", 3)).await.log_start_offset, 3);
        assert_eq!(rig.produce("t", 1, batch(&["d"]).to_bytes()).await.base_offset, 3);
        assert_eq!(code(rig.fetch(&fetch_request("small", 0)).await.error_code), ErrorCode::OffsetOutOfRange);
        assert_eq!(records(&rig.fetch(&fetch_request("forever", 0)).await).len(), 1, "-1 is no limit");
    });
}
