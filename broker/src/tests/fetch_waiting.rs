//! Which fetches wait, how long, and who is woken by what.

use super::*;

fn partitions(topic: &str, of: std::ops::Range<i32>) -> FetchTopic {
    let partition =
        |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() };
    FetchTopic { topic: Str::from(topic), partitions: of.map(partition).collect(), ..Default::default() }
}

fn waiting(max_wait_ms: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 1 << 20, topics, ..Default::default() }
}

/// How long a fetch takes.
async fn time_of(rig: &Rig, request: &FetchRequest) -> Duration {
    let clock = rig.broker.host.clock();
    let began = clock.now();
    rig.call(12, request).await;
    clock.now() - began
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_fetch_waits_beside_what_is_refused_but_not_beside_what_failed() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("w", &[1], &[]).await;
        let unknown = || vec![partitions("w", 0..2), partitions("nope", 0..1)];
        assert!(time_of(&rig, &waiting(1000, unknown())).await >= Duration::from_millis(1000));
        assert!(time_of(&rig, &waiting(1000, vec![partitions("nope", 0..1)])).await < SHORT);
        assert!(time_of(&rig, &waiting(1000, vec![])).await < SHORT);
        let mut failing = waiting(1000, unknown());
        failing.topics[0].partitions[0].fetch_offset = 7;
        assert!(time_of(&rig, &failing).await < SHORT, "out of range");
    });
}

#[test]
fn no_fetch_waits_for_more_than_it_would_get() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("w", &[1], &[]).await;
        rig.produce("w", 1, batch(&["x"]).to_bytes()).await;
        let mut request = waiting(1000, vec![partitions("w", 0..1)]);
        (request.min_bytes, request.max_bytes) = (1 << 30, 10);
        assert!(time_of(&rig, &request).await < SHORT, "10 bytes are enough");
        request.max_bytes = 1 << 20;
        request.topics[0].partitions[0].partition_max_bytes = 1;
        assert!(time_of(&rig, &request).await >= Duration::from_millis(1000), "Kafka waits here too");
        request = waiting(1000, vec![partitions("w", 0..1)]);
        (request.min_bytes, request.topics[0].partitions[0].fetch_offset) = (0, 1);
        assert!(time_of(&rig, &request).await < SHORT);
    });
}

#[test]
fn the_broker_bounds_what_one_fetch_answers() {
    with_broker(&[("fetch.max.bytes", "1024")], async |rig: Rig| {
        rig.topic("w", &[1], &[]).await;
        for _ in 0..10 {
            rig.produce("w", 1, batch(&[&"x".repeat(300)]).to_bytes()).await;
        }
        let data = rig.fetch(&waiting(0, vec![partitions("w", 0..1)])).await;
        assert_eq!(data.records.unwrap().len(), 1024);
    });
}

/// Reads of a topic's partitions so far, first and again.
fn reads(rig: &Rig, topic: Uuid) -> u64 {
    let id = protocol::ids::PartitionId { topic_id: topic, partition: 0 };
    rig.broker.replicas.find(id).unwrap().metrics.fetch_requests.get()
}

#[test]
fn a_produce_wakes_who_waits_for_its_partition_and_nobody_else() {
    with_broker(&[], async |rig: Rig| {
        let idle = rig.controller.create_topic("idle", 40, &[1], &[]);
        let busy = rig.controller.create_topic("busy", 2, &[1], &[]);
        let last = protocol::ids::PartitionId { topic_id: busy, partition: 1 };
        rig.until(|rig| rig.broker.replicas.find(last).is_some()).await;
        let connection = rig.connect().await;
        // 50 fetches of 20 partitions each: 49 wait for idle ones, one also for a busy one.
        let mut pending = Vec::new();
        for _ in 0..49 {
            pending.push(
                connection.submit(12, &waiting(30_000, vec![partitions("idle", 0..20)])).await.unwrap(),
            );
        }
        let other = rig.connect().await;
        let both = waiting(30_000, vec![partitions("idle", 20..39), partitions("busy", 1..2)]);
        let concerned = other.submit(12, &both).await.unwrap();
        rig.until(|rig| (reads(rig, idle), reads(rig, busy)) == (49 * 20 + 19, 1)).await;
        rig.put("busy", 0).await;
        rig.put("busy", 1).await;
        concerned.await.expect("answered");
        // Of the one that was woken only the partition that moved was read again.
        assert_eq!((reads(&rig, idle), reads(&rig, busy)), (49 * 20 + 19, 2));
        rig.put("idle", 39).await;
        rig.put("idle", 0).await;
        for fetch in pending {
            fetch.await.expect("answered");
        }
        assert_eq!(
            reads(&rig, idle),
            49 * 20 + 19 + 49,
            "each of the 49 was woken once and read one partition"
        );
    });
}

#[test]
fn a_fetch_whose_time_is_up_tells_what_has_moved_meanwhile() {
    with_broker(&[], async |rig: Rig| {
        let id = rig.topic("w", &[1], &[]).await;
        let mut request = waiting(2000, vec![partitions("w", 0..1)]);
        request.min_bytes = 1 << 20;
        let connection = rig.connect().await;
        let pending = connection.submit(12, &request).await.unwrap();
        rig.until(|rig| reads(rig, id) == 1).await;
        rig.produce("w", 1, batch(&["x"]).to_bytes()).await;
        pending.await.expect("answered");
        assert_eq!(reads(&rig, id), 2, "read again, once, at the end");
    });
}
