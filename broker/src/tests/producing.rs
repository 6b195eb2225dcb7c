//! Produce, case by case, against what a Kafka 4.3.1 answers.

use protocol::batch::BatchOptions;
use protocol::ids::{Offset, ProducerId};
use protocol::messages::InitProducerIdRequest;
use protocol::{ErrorCode, Str, Uuid};

use super::*;

#[test]
fn offsets_are_given_in_every_version_and_by_id_from_13_on() {
    with_broker(&[], async |rig: Rig| {
        let id = rig.topic("t", &[1], &[]).await;
        for version in 3..=13 {
            let mut request = produce_request("t", 1, batch(&["a", "b"]).to_bytes());
            if version >= 13 {
                request.topic_data[0].topic_id = id;
            }
            let answer = rig.call(version, &request).await;
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, i64::from(version - 3) * 2),
                "v{version}"
            );
            assert_eq!(partition.log_append_time_ms, -1);
        }
    });
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_batch_alone_is_written() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        rig.topic("u", &[1], &[]).await;
        let mut request = produce_request("t", 1, batch(&["a"]).to_bytes());
        for (topic, value) in [("u", "b"), ("t", "c")] {
            request.topic_data.append(&mut produce_request(topic, 1, batch(&[value]).to_bytes()).topic_data);
        }
        let again = produce_request("t", 1, batch(&["d"]).to_bytes()).topic_data.remove(0);
        request.topic_data[2].partition_data.extend(again.partition_data);
        let answer = rig.call(9, &request).await;
        let told: Vec<_> = answer.responses.iter().map(|t| (&*t.name, t.partition_responses.len())).collect();
        assert_eq!(told, [("t", 1), ("u", 1)]);
        assert_eq!(records(&rig.fetch(&fetch_request("t", 0)).await), [(0, "d".to_owned())]);
        assert_eq!(records(&rig.fetch(&fetch_request("u", 0)).await), [(0, "b".to_owned())]);
    });
}

#[test]
fn what_is_refused_gets_kafkas_code_and_writes_nothing() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        rig.topic("compacted", &[1], &[("cleanup.policy", "compact")]).await;
        let good = batch(&["a"]).to_bytes();
        let changed = |at: usize, value: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            Bytes::from(bytes)
        };
        let cases = [
            (Bytes::new(), ErrorCode::InvalidRecord),
            (good.slice(..good.len() - 1), ErrorCode::InvalidRecord),
            (changed(17, 0), ErrorCode::CorruptMessage),
            (changed(16, 1), ErrorCode::InvalidRecord),
            (changed(16, 3), ErrorCode::CorruptMessage),
            ([&good[..], &good[..]].concat().into(), ErrorCode::InvalidRecord),
            (batch(&["x".repeat(2 << 20).as_str()]).to_bytes(), ErrorCode::MessageTooLarge),
        ];
        for (at, (records, error)) in cases.into_iter().enumerate() {
            let answer = rig.produce("t", 1, records).await;
            assert_eq!(code(answer.error_code), error, "case {at}");
            assert_eq!((answer.base_offset, answer.log_start_offset), (-1, -1), "case {at}");
        }
        let answer = rig.produce("compacted", 1, good.clone()).await;
        assert_eq!(code(answer.error_code), ErrorCode::InvalidRecord);
        assert_eq!(answer.record_errors.len(), 1);
        assert_eq!(answer.log_start_offset, 0, "it got as far as the log");
        let control = batch_of(&["a"], BatchOptions { control: true, ..Default::default() });
        assert_eq!(code(rig.produce("t", 1, control.to_bytes()).await.error_code), ErrorCode::InvalidRecord);
        assert_eq!(rig.produce("t", 1, good.clone()).await.base_offset, 0, "nothing was written before");
        assert_eq!(
            code(rig.produce("nope", 1, good.clone()).await.error_code),
            ErrorCode::UnknownTopicOrPartition
        );
        assert_eq!(code(rig.produce("t", 2, good.clone()).await.error_code), ErrorCode::InvalidRequiredAcks);
        let mut unknown_id = produce_request("", 1, good);
        unknown_id.topic_data[0].topic_id = Uuid(5);
        let answer = rig.call(13, &unknown_id).await;
        assert_eq!(code(answer.responses[0].partition_responses[0].error_code), ErrorCode::UnknownTopicId);
    });
}

#[test]
fn acks_0_is_not_answered_and_its_errors_close_the_connection() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let connection = rig.connect().await;
        connection.send_one_way(9, &produce_request("t", 0, batch(&["a"]).to_bytes())).unwrap();
        // The next request of the connection is answered, and nothing before it.
        let fetched = connection.call(12, &fetch_request("t", 0)).await.unwrap();
        assert_eq!(records(&fetched.responses[0].partitions[0]), [(0, "a".to_owned())]);
        connection.send_one_way(9, &produce_request("nope", 0, batch(&["a"]).to_bytes())).unwrap();
        assert!(connection.call(12, &fetch_request("t", 0)).await.is_err(), "closed");
    });
}

#[test]
fn null_records_close_the_connection() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let mut request = produce_request("t", 1, Bytes::new());
        request.topic_data[0].partition_data[0].records = None;
        assert!(rig.try_call(9, &request).await.is_err());
    });
}

#[test]
fn an_idempotent_producer_writes_once() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let first = rig.call(4, &request).await;
        let second = rig.call(4, &request).await;
        let third = rig.call(0, &request).await;
        assert_eq!([first.producer_id, second.producer_id, third.producer_id], [10, 11, 20], "blocks of two");
        let at = |sequence: i32| {
            let options = BatchOptions {
                producer_id: ProducerId(first.producer_id),
                producer_epoch: 0,
                base_sequence: sequence,
                ..Default::default()
            };
            batch_of(&["a"], options).to_bytes()
        };
        assert_eq!(rig.produce("t", -1, at(0)).await.base_offset, 0);
        assert_eq!(rig.produce("t", -1, at(1)).await.base_offset, 1);
        let again = rig.produce("t", -1, at(1)).await;
        assert_eq!((again.error_code, again.base_offset), (0, 1), "a duplicate gets its old offset");
        assert_eq!(code(rig.produce("t", -1, at(5)).await.error_code), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(rig.produce("t", -1, at(2)).await.base_offset, 2);
    });
}

#[test]
fn producer_ids_with_a_transaction_or_half_told_are_refused_as_kafka_does() {
    with_broker(&[], async |rig: Rig| {
        let ask =
            async |id: Option<&str>, producer_id: i64, producer_epoch: i16, transaction_timeout_ms: i32| {
                let request = InitProducerIdRequest {
                    transactional_id: id.map(Str::from),
                    transaction_timeout_ms,
                    producer_id,
                    producer_epoch,
                    ..Default::default()
                };
                code(rig.call(5, &request).await.error_code)
            };
        assert_eq!(ask(None, 5, -1, 0).await, ErrorCode::InvalidRequest);
        assert_eq!(ask(Some(""), -1, -1, 0).await, ErrorCode::InvalidRequest);
        assert_eq!(ask(Some("tx"), -1, -1, 0).await, ErrorCode::InvalidTransactionTimeout);
        assert_eq!(ask(Some("tx"), -1, -1, 900_001).await, ErrorCode::InvalidTransactionTimeout);
        assert_eq!(ask(Some("tx"), -1, -1, 60_000).await, ErrorCode::NotCoordinator);
        rig.topic("t", &[1], &[]).await;
        let options = BatchOptions {
            transactional: true,
            producer_id: ProducerId(1),
            producer_epoch: 0,
            base_sequence: 0,
            ..Default::default()
        };
        let transactional = batch_of(&["a"], options).to_bytes();
        let answer = rig.produce("t", 1, transactional.clone()).await;
        assert_eq!(code(answer.error_code), ErrorCode::TransactionalIdAuthorizationFailed);
        let mut request = produce_request("t", 1, transactional);
        request.transactional_id = Some(Str::from("tx"));
        let answer = rig.call(9, &request).await;
        let error = code(answer.responses[0].partition_responses[0].error_code);
        assert_eq!(error, ErrorCode::NotEnoughReplicas, "its coordinator cannot be asked");
    });
}

#[test]
fn acks_all_waits_for_the_isr_and_no_longer_than_asked() {
    with_broker(&[], async |rig: Rig| {
        let id = rig.topic("two", &[1, 2], &[]).await;
        let answer = rig.produce("two", -1, batch(&["a"]).to_bytes()).await;
        assert_eq!(code(answer.error_code), ErrorCode::RequestTimedOut, "broker 2 does not fetch");
        assert_eq!(rig.produce("two", 1, batch(&["b"]).to_bytes()).await.error_code, 0);
        assert_eq!(records(&rig.fetch(&fetch_request("two", 0)).await), [], "nothing is committed");
        // A follower's fetch tells what it has: the high watermark follows it.
        let partition =
            rig.broker.replicas.find(protocol::ids::PartitionId { topic_id: id, partition: 0 }).unwrap();
        let waiting = partition.committed(Offset(0), 0);
        let mut request = fetch_request("two", 1);
        request.replica_id = 2;
        assert_eq!(records(&rig.fetch(&request).await), [(1, "b".to_owned())], "a follower reads to the end");
        assert_eq!(waiting.wait().await, crate::waiters::Commit::Reached);
        assert_eq!(records(&rig.fetch(&fetch_request("two", 0)).await), [(0, "a".to_owned())]);
        request.replica_id = 7;
        assert_eq!(code(rig.fetch(&request).await.error_code), ErrorCode::NotLeaderOrFollower, "no replica");
    });
}

#[test]
fn min_insync_replicas_holds_for_acks_all_only() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("three", &[1, 2, 3], &[("min.insync.replicas", "2")]).await;
        rig.topic("one", &[1], &[("min.insync.replicas", "2")]).await;
        let answer = rig.produce("one", -1, batch(&["a"]).to_bytes()).await;
        assert_eq!(answer.error_code, 0, "never more than there are replicas");
        let image = rig.controller.image();
        let topic = image.topics.by_name("three").unwrap();
        rig.controller.append(vec![::metadata::Record::from(protocol::messages::PartitionChangeRecord {
            partition_id: 0,
            topic_id: topic.id,
            isr: Some(vec![1]),
            leader: -2,
            leader_recovery_state: -1,
            ..Default::default()
        })]);
        let end = rig.controller.image().end_offset;
        let clock = rig.broker.host.clock();
        let by = clock.now() + Duration::from_secs(5);
        assert!(rig.broker.metadata.wait_for(clock, by, |image| image.end_offset >= end).await);
        let refused = rig.produce("three", -1, batch(&["a"]).to_bytes()).await;
        assert_eq!(code(refused.error_code), ErrorCode::NotEnoughReplicas);
        assert_eq!(rig.produce("three", 1, batch(&["a"]).to_bytes()).await.error_code, 0);
    });
}

#[test]
fn log_append_time_is_the_leaders() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[("message.timestamp.type", "LogAppendTime")]).await;
        let answer = rig.produce("t", 1, batch(&["a"]).to_bytes()).await;
        assert!(answer.log_append_time_ms > 1_767_225_600_000, "{}", answer.log_append_time_ms);
        rig.topic("durable", &[1], &[("weir.flush.on.acknowledge", "true")]).await;
        assert_eq!(rig.produce("durable", -1, batch(&["a"]).to_bytes()).await.error_code, 0);
    });
}
