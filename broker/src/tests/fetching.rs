//! Fetch and ListOffsets, case by case, against what a Kafka 4.3.1 answers.

use protocol::ErrorCode;
use protocol::messages::ListOffsetsRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use super::*;

async fn filled(rig: &Rig) -> Uuid {
    let id = rig.topic("f", &[1], &[]).await;
    for value in ["a", "b", "c"] {
        assert_eq!(rig.produce("f", 1, batch(&[value]).to_bytes()).await.error_code, 0);
    }
    id
}

#[test]
fn records_are_read_in_every_version() {
    with_broker(&[], async |rig: Rig| {
        let id = filled(&rig).await;
        for version in 4..=18 {
            let mut request = fetch_request("f", 1);
            request.topics[0].topic_id = id;
            let answer = rig.call(version, &request).await;
            let data = &answer.responses[0].partitions[0];
            assert_eq!(records(data), [(1, "b".to_owned()), (2, "c".to_owned())], "v{version}");
            assert_eq!((data.high_watermark, data.last_stable_offset), (3, 3));
            assert_eq!(answer.session_id, 0);
        }
    });
}

#[test]
fn what_cannot_be_read_gets_kafkas_code() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig).await;
        let fetch = async |offset: i64, change: fn(&mut FetchRequest)| {
            let mut request = fetch_request("f", offset);
            change(&mut request);
            rig.fetch(&request).await
        };
        assert_eq!(code(fetch(4, |_| ()).await.error_code), ErrorCode::OffsetOutOfRange);
        assert_eq!(code(fetch(-1, |_| ()).await.error_code), ErrorCode::OffsetOutOfRange);
        let partition = |r: &mut FetchRequest| r.topics[0].partitions[0].partition = 9;
        assert_eq!(code(fetch(0, partition).await.error_code), ErrorCode::UnknownTopicOrPartition);
        let topic = |r: &mut FetchRequest| r.topics[0].topic = Str::from_static("nope");
        assert_eq!(code(fetch(0, topic).await.error_code), ErrorCode::UnknownTopicOrPartition);
        let epoch = |r: &mut FetchRequest| r.topics[0].partitions[0].current_leader_epoch = 5;
        assert_eq!(code(fetch(0, epoch).await.error_code), ErrorCode::UnknownLeaderEpoch);
        let last = |r: &mut FetchRequest| r.topics[0].partitions[0].last_fetched_epoch = 5;
        assert_eq!(code(fetch(2, last).await.error_code), ErrorCode::OffsetOutOfRange);
        let negative = |r: &mut FetchRequest| r.topics[0].partitions[0].partition_max_bytes = -5;
        assert_eq!(code(fetch(0, negative).await.error_code), ErrorCode::UnknownServerError);
        let diverging = fetch(9, |r| r.topics[0].partitions[0].last_fetched_epoch = 0).await;
        assert_eq!((diverging.diverging_epoch.epoch, diverging.diverging_epoch.end_offset), (0, 3));
    });
}

#[test]
fn sizes_are_kept_but_a_reader_always_gets_on() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig).await;
        let one = batch(&["a"]).size_bytes() as u64;
        for (bytes_max, partition_bytes_max, given) in
            [(1 << 20, 1, one), (1, 1 << 20, one), (0, 0, one), (1 << 20, 2 * one as i32, 2 * one)]
        {
            let mut request = fetch_request("f", 0);
            (request.max_bytes, request.topics[0].partitions[0].partition_max_bytes) =
                (bytes_max, partition_bytes_max);
            assert_eq!(rig.fetch(&request).await.records.unwrap().len(), given);
        }
    });
}

#[test]
fn a_fetch_at_the_end_waits_for_records_or_its_time() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig).await;
        let clock = rig.broker.host.clock().clone();
        let began = clock.now();
        assert_eq!(records(&rig.fetch(&fetch_request("f", 3)).await), []);
        assert!(clock.now() - began >= Duration::from_millis(300), "it waited max_wait_ms");
        let mut request = fetch_request("f", 3);
        request.max_wait_ms = 30_000;
        let connection = rig.connect().await;
        let pending = connection.submit(12, &request).await.unwrap();
        clock.sleep(Duration::from_millis(50)).await;
        let began = clock.now();
        rig.produce("f", 1, batch(&["d"]).to_bytes()).await;
        let body = pending.await.expect("answered");
        assert!(clock.now() - began < Duration::from_secs(1), "woken by the append");
        assert!(body.len() > 60);
        request.min_bytes = 1 << 20;
        request.max_wait_ms = 200;
        assert_eq!(records(&rig.fetch(&request).await), [(3, "d".to_owned())], "too few, but time is up");
    });
}

#[test]
fn offsets_are_found_by_name_and_by_time() {
    with_broker(&[], async |rig: Rig| {
        filled(&rig).await;
        rig.topic("empty", &[1], &[]).await;
        let ask = async |version: i16, topic: &str, timestamp: i64| {
            let partition = ListOffsetsPartition { timestamp, ..Default::default() };
            let topic = ListOffsetsTopic {
                name: Str::from(topic),
                partitions: vec![partition],
                ..Default::default()
            };
            let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
            let found = rig.call(version, &request).await.topics.remove(0).partitions.remove(0);
            (found.error_code, found.timestamp, found.offset, found.leader_epoch)
        };
        let time = 1_767_225_600_000;
        for version in 4..=11 {
            assert_eq!(ask(version, "f", -1).await, (0, -1, 3, 0));
            assert_eq!(ask(version, "f", -2).await, (0, -1, 0, 0));
            let unsupported = (35, -1, -1, -1);
            assert_eq!(ask(version, "f", -3).await, if version >= 7 { (0, time, 0, 0) } else { unsupported });
            assert_eq!(ask(version, "f", -4).await, if version >= 8 { (0, -1, 0, 0) } else { unsupported });
            assert_eq!(ask(version, "f", -5).await, if version >= 9 { (0, -1, -1, -1) } else { unsupported });
            assert_eq!(
                ask(version, "f", -6).await,
                if version >= 11 { (0, -1, -1, -1) } else { unsupported }
            );
            assert_eq!(ask(version, "f", -7).await, unsupported);
        }
        for version in 1..=3 {
            assert_eq!(ask(version, "f", -1).await, (0, -1, 3, -1), "no place for an epoch in v{version}");
        }
        assert_eq!(ask(11, "f", 5).await, (0, time, 0, 0));
        assert_eq!(ask(11, "f", time + 1).await, (0, -1, -1, -1));
        assert_eq!(ask(11, "empty", -1).await, (0, -1, 0, 0));
        assert_eq!(ask(11, "empty", -3).await, (0, -1, -1, -1));
        assert_eq!(ask(11, "nope", -1).await, (3, -1, -1, -1));
    });
}
