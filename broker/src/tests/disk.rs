//! What the broker does on its disk beside reading and writing: room, deletions, checkpoints; and limits that change.

use ::metadata::Record;
use futures_util::future::join;
use host::sim::DiskFaults;
use protocol::ids::{Offset, PartitionId};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::{ConfigRecord, DeleteRecordsRequest, DeleteTopicsRequest};

use super::*;

impl Rig {
    /// Gives the disk so much more room than is used, and waits until the broker has seen it.
    async fn leave_free(&self, bytes: u64) {
        const LARGE: u64 = 1 << 40;
        for capacity_bytes in [LARGE, 0] {
            let room = &self.broker.log_dirs.all().next().unwrap().room;
            let capacity_bytes = capacity_bytes.max(LARGE - room.free_bytes().min(LARGE) + bytes);
            self.node.set_disk_faults(DiskFaults { capacity_bytes, ..DiskFaults::default() });
            self.sleep(2).await;
        }
    }

    async fn names(&self, dir: &str) -> Vec<String> {
        let dir = std::path::PathBuf::from(dir);
        self.broker
            .host
            .disk(std::path::Path::new("/data"))
            .run(move |fs| fs.list(&dir))
            .await
            .unwrap()
            .unwrap()
    }

    async fn sleep(&self, seconds: u64) {
        self.broker.host.clock().sleep(Duration::from_secs(seconds)).await;
    }

    fn set_of_all_brokers(&self, name: &str, value: &str) {
        self.controller.append(vec![Record::from(ConfigRecord {
            resource_type: 4,
            name: Str::from(name),
            value: Some(Str::from(value)),
            ..Default::default()
        })]);
    }

    async fn delete_records(&self, topic: &str, offset: i64) {
        let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
        let topic =
            DeleteRecordsTopic { name: Str::from(topic), partitions: vec![partition], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let answer = self.call(2, &request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
}

/// The smallest segments that Kafka allows take ten of the batches of `fill`.
const SMALL_SEGMENTS: &[(&str, &str)] = &[("segment.bytes", "1048576")];

async fn fill(rig: &Rig, topic: &str, batches: usize) -> ErrorCode {
    let value = "x".repeat(104_000);
    for _ in 0..batches {
        let answer = rig.produce(topic, 1, batch(&[&value]).to_bytes()).await;
        if answer.error_code != 0 {
            return code(answer.error_code);
        }
    }
    ErrorCode::None
}

#[test]
fn producers_wait_while_room_is_short_and_all_else_goes_on() {
    with_broker(&[("weir.log.dir.reserve.bytes", "1000")], async |rig: Rig| {
        rig.topic("t", &[1], SMALL_SEGMENTS).await;
        rig.topic("u", &[1], SMALL_SEGMENTS).await;
        assert_eq!(fill(&rig, "t", 40).await, ErrorCode::None);
        rig.leave_free(1200).await;
        assert_eq!(rig.produce("u", 1, batch(&["x"]).to_bytes()).await.error_code, 0);
        rig.leave_free(900).await;
        let refused = rig.produce("u", 1, batch(&["x"]).to_bytes()).await;
        assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
        assert!(ErrorCode::KafkaStorageError.is_retriable());
        assert!(refused.error_message.unwrap().contains("bytes left"));
        assert_eq!(records(&rig.fetch(&fetch_request("t", 39)).await).len(), 1, "reads go on");
        // Deleting makes room, at once: the delay of deletions does not count while room is short.
        rig.delete_records("t", 35).await;
        rig.sleep(2).await;
        assert_eq!(fill(&rig, "u", 1).await, ErrorCode::None, "it recovers by itself");
        assert!(!rig.broker.log_dirs.all_offline());
    });
}

#[test]
fn retention_comes_at_once_when_room_becomes_short() {
    let never = [("log.retention.check.interval.ms", "3600000"), ("weir.log.dir.reserve.bytes", "1000")];
    with_broker(&never, async |rig: Rig| {
        rig.topic("t", &[1], &[SMALL_SEGMENTS[0], ("retention.bytes", "1")]).await;
        // The first round of retention is over.
        rig.sleep(60).await;
        assert_eq!(fill(&rig, "t", 40).await, ErrorCode::None);
        assert_eq!(rig.fetch(&fetch_request("t", 39)).await.log_start_offset, 0);
        rig.leave_free(900).await;
        assert!(rig.fetch(&fetch_request("t", 39)).await.log_start_offset > 0);
        assert_eq!(fill(&rig, "t", 1).await, ErrorCode::None);
    });
}

#[test]
fn the_controller_is_told_in_which_of_several_dirs_a_replica_is() {
    with_broker(&[("log.dirs", "/data,/other")], async |rig: Rig| {
        let topic_id = rig.controller.create_topic("t", 4, &[1], &[]);
        rig.sleep(2).await;
        let image = rig.controller.image();
        let told: Vec<_> = (0..4)
            .map(|index| {
                image.topics.by_id(topic_id).unwrap().partition(index).unwrap().directory(1).unwrap()
            })
            .collect();
        let lies_in: Vec<_> =
            rig.broker.replicas.all().iter().map(|partition| partition.directory_id).collect();
        assert_eq!(told, lies_in);
        let dirs = rig.broker.link.directory_ids();
        assert!(dirs.len() == 2 && dirs.iter().all(|dir| told.contains(dir)), "both are used");
    });
}

#[test]
fn deleted_segments_keep_their_files_for_a_while() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[SMALL_SEGMENTS[0], ("file.delete.delay.ms", "5000")]).await;
        fill(&rig, "t", 25).await;
        let count = async |suffix: &str| {
            rig.names("/data/t-0").await.iter().filter(|name| name.ends_with(suffix)).count()
        };
        assert_eq!(count(".log").await, 3);
        rig.delete_records("t", 15).await;
        assert_eq!((count(".log").await, count(".log.deleted").await), (2, 1));
        rig.sleep(4).await;
        assert_eq!(count(".log.deleted").await, 1);
        rig.sleep(2).await;
        assert_eq!((count(".log").await, count(".deleted").await), (2, 0));
    });
}

#[test]
fn a_deleted_topic_keeps_its_files_for_a_while() {
    with_broker(&[("log.segment.delete.delay.ms", "5000")], async |rig: Rig| {
        let id = rig.topic("t", &[1], &[]).await;
        fill(&rig, "t", 1).await;
        rig.delete(id).await;
        let left = async || rig.names("/data").await.iter().filter(|name| name.ends_with("-delete")).count();
        rig.sleep(1).await;
        assert_eq!((left().await, rig.names("/data").await.contains(&"t-0".to_owned())), (1, false));
        rig.sleep(5).await;
        assert_eq!(left().await, 0);
    });
}

#[test]
fn a_topic_that_is_deleted_while_it_is_flushed_does_not_take_the_log_dir_with_it() {
    with_broker(&[], async |rig: Rig| {
        let topic_id = rig.topic("t", &[1], &[("weir.flush.on.acknowledge", "true")]).await;
        let partition = rig.broker.replicas.find(PartitionId { topic_id, partition: 0 }).unwrap();
        let slow = DiskFaults { delay_max: Duration::from_millis(500), ..DiskFaults::default() };
        rig.node.set_disk_faults(slow);
        let delete_meanwhile = async {
            while partition.offsets().log_end < Offset(1) {
                rig.broker.host.clock().sleep(Duration::from_millis(1)).await;
            }
            rig.delete(topic_id).await;
        };
        let (answer, ()) = join(rig.produce("t", 1, batch(&["a"]).to_bytes()), delete_meanwhile).await;
        assert_ne!(code(answer.error_code), ErrorCode::None, "it was not made durable");
        rig.node.set_disk_faults(DiskFaults::default());
        assert!(!rig.broker.log_dirs.all_offline());
        rig.topic("u", &[1], &[]).await;
        assert_eq!(fill(&rig, "u", 1).await, ErrorCode::None);
    });
}

#[test]
fn topics_are_not_deleted_where_that_is_switched_off() {
    with_broker(&[("delete.topic.enable", "false")], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        for (version, error) in [(1, ErrorCode::InvalidRequest), (3, ErrorCode::TopicDeletionDisabled)] {
            let request = DeleteTopicsRequest { topic_names: vec![Str::from("t")], ..Default::default() };
            let answer = rig.call(version, &request).await;
            assert_eq!(code(answer.responses[0].error_code), error, "v{version}");
        }
        assert_eq!(fill(&rig, "t", 1).await, ErrorCode::None);
    });
}

#[test]
fn each_checkpoint_is_written_at_its_interval() {
    let intervals = [
        ("replica.high.watermark.checkpoint.interval.ms", "2000"),
        ("log.flush.offset.checkpoint.interval.ms", "20000"),
    ];
    with_broker(&intervals, async |rig: Rig| {
        rig.topic("t", &[1], &[("weir.flush.on.acknowledge", "true")]).await;
        fill(&rig, "t", 3).await;
        let written = async |name: &str| {
            let path = std::path::PathBuf::from("/data").join(name);
            let disk = rig.broker.host.disk(std::path::Path::new("/data"));
            let read = disk.run(move |fs| fs.read_to_end(&path)).await.unwrap();
            String::from_utf8(read.unwrap_or_default()).unwrap().contains("t 0 3")
        };
        let (high_watermarks, recovery_points) =
            ("replication-offset-checkpoint", "recovery-point-offset-checkpoint");
        rig.sleep(3).await;
        assert!(written(high_watermarks).await && !written(recovery_points).await);
        rig.sleep(20).await;
        assert!(written(recovery_points).await);
    });
}

#[test]
fn many_who_flush_at_the_same_time_are_all_durable() {
    with_broker(&[], async |rig: Rig| {
        let topics = ["a", "b", "c"];
        for topic in topics {
            rig.topic(topic, &[1], &[("weir.flush.on.acknowledge", "true"), SMALL_SEGMENTS[0]]).await;
        }
        let connection = rig.connect().await;
        let mut pending = Vec::new();
        for n in 0..60 {
            let request = produce_request(topics[n % 3], -1, batch(&[&"x".repeat(950)]).to_bytes());
            pending.push(connection.submit(9, &request).await.unwrap());
        }
        for answer in pending {
            answer.await.expect("answered");
        }
        for partition in rig.broker.replicas.all() {
            let checkpoint = partition.checkpoint();
            assert_eq!((checkpoint.recovery_point, checkpoint.high_watermark), (20, 20));
        }
    });
}

#[test]
fn a_failed_flush_fails_what_waits_for_it_and_the_log_dir() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[("weir.flush.on.acknowledge", "true")]).await;
        assert_eq!(fill(&rig, "t", 1).await, ErrorCode::None);
        rig.node.set_disk_faults(DiskFaults { sync_errors_per_million: 1_000_000, ..DiskFaults::default() });
        assert_eq!(fill(&rig, "t", 1).await, ErrorCode::NotEnoughReplicasAfterAppend, "it may be there");
        rig.node.set_disk_faults(DiskFaults::default());
        assert_eq!(fill(&rig, "t", 1).await, ErrorCode::KafkaStorageError, "it is not tried again");
        assert!(rig.broker.log_dirs.all_offline());
    });
}

#[test]
fn limits_on_connections_change_while_it_runs() {
    with_broker(&[("max.connections.per.ip", "1")], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let first = rig.connect().await;
        let request = produce_request("t", 1, batch(&["a"]).to_bytes());
        assert!(first.call(9, &request).await.is_ok());
        assert!(rig.try_call(9, &request).await.is_err(), "one from each address");
        rig.set_of_all_brokers("max.connections.per.ip", "2");
        rig.sleep(1).await;
        assert!(rig.try_call(9, &request).await.is_ok());
        rig.set_of_all_brokers("max.connections.per.ip.overrides", "localhost:1,10.0.0.1:1");
        assert!(first.call(9, &request).await.is_ok(), "a lower limit closes nothing");
    });
}
