//! What `/metrics` tells of a broker, and for how long.

use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, FindCoordinatorRequest, MetadataRequest, OffsetCommitRequest,
};
use tokio::sync::mpsc;

use super::*;
use crate::metrics::collect::{self, Sources};
use crate::metrics::exposition::Pages;

/// The whole text, and the number of pages that it came in.
pub(super) async fn scrape(broker: &Arc<Broker>) -> (String, usize) {
    let (sender, mut pages) = mpsc::channel(1);
    let sources = Sources { broker: Some(Arc::clone(broker)), ..Default::default() };
    let host = broker.host.clone();
    let writing = broker.host.spawn("scrape", async move {
        Box::pin(collect::write(&host, &sources, Pages::new(sender))).await.expect("it is read to its end");
    });
    let (mut text, mut count) = (String::new(), 0);
    while let Some(page) = pages.recv().await {
        text.push_str(std::str::from_utf8(&page).unwrap());
        count += 1;
    }
    writing.await.expect("it does not panic");
    (text, count)
}

pub(super) async fn value(broker: &Arc<Broker>, series: &str) -> Option<f64> {
    let (text, _) = scrape(broker).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[test]
fn series_of_a_topic_die_with_it_and_the_sums_over_all_topics_do_not() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("orders", &[1], &[]).await;
        rig.produce("orders", 1, batch(&["a", "b", "c"]).to_bytes()).await;
        rig.fetch(&fetch_request("orders", 0)).await;
        let of_topic = "kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"}";
        let of_all = "kafka_server_brokertopicmetrics_messagesin_total";
        assert_eq!(value(&rig.broker, of_topic).await, Some(3.0));
        assert_eq!(value(&rig.broker, of_all).await, Some(3.0));
        assert_eq!(
            value(&rig.broker, "kafka_log_log_logendoffset{partition=\"0\",topic=\"orders\"}").await,
            Some(3.0)
        );
        let current = "kafka_topic_partition_current_offset{partition=\"0\",topic=\"orders\"}";
        assert_eq!(value(&rig.broker, current).await, Some(3.0));
        let request = DeleteTopicsRequest {
            topic_names: vec!["orders".into()],
            timeout_ms: 1000,
            ..Default::default()
        };
        rig.call(5, &request).await;
        let (text, _) = scrape(&rig.broker).await;
        assert!(!text.contains("orders"), "{text}");
        assert_eq!(value(&rig.broker, of_all).await, Some(3.0));
        // The same name, another topic: it counts from zero.
        rig.topic("orders", &[1], &[]).await;
        rig.produce("orders", 1, batch(&["d"]).to_bytes()).await;
        assert_eq!(value(&rig.broker, of_topic).await, Some(1.0));
        assert_eq!(value(&rig.broker, of_all).await, Some(4.0));
    });
}

#[test]
fn requests_are_told_by_version_error_and_time() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        rig.produce("t", 1, batch(&["a"]).to_bytes()).await;
        rig.produce("nope", 1, batch(&["a"]).to_bytes()).await;
        // Nothing is there to read: it waits 300 ms for others.
        rig.fetch(&fetch_request("t", 1)).await;
        rig.call(12, &MetadataRequest::default()).await;
        let told =
            async |series: &str| value(&rig.broker, &format!("kafka_network_requestmetrics_{series}")).await;
        assert_eq!(told("requests_total{request=\"Produce\",version=\"9\"}").await, Some(2.0));
        assert_eq!(told("errors_total{error=\"NONE\",request=\"Produce\"}").await, Some(1.0));
        assert_eq!(
            told("errors_total{error=\"UNKNOWN_TOPIC_OR_PARTITION\",request=\"Produce\"}").await,
            Some(1.0)
        );
        for request in ["Fetch", "FetchConsumer"] {
            assert_eq!(told(&format!("totaltimems_count{{request=\"{request}\"}}")).await, Some(1.0));
            let remote = told(&format!("remotetimems{{quantile=\"0.999\",request=\"{request}\"}}")).await;
            assert!(remote.is_some_and(|ms| (260.0..350.0).contains(&ms)), "{remote:?}");
        }
        assert_eq!(told("requests_total{request=\"FetchFollower\",version=\"12\"}").await, None);
        let follower = FetchRequest { replica_id: 2, ..fetch_request("t", 0) };
        rig.call(12, &follower).await;
        assert_eq!(told("requests_total{request=\"FetchFollower\",version=\"12\"}").await, Some(1.0));
    });
}

#[test]
fn a_large_answer_comes_in_pages_of_bounded_size() {
    with_broker(&[], async |rig: Rig| {
        rig.controller.create_topic("many", 1000, &[1], &[]);
        let clock = rig.broker.host.clock();
        let deadline = clock.now() + Duration::from_secs(10);
        assert!(rig.broker.metadata.wait_for(clock, deadline, |i| i.topics.by_name("many").is_some()).await);
        let (text, pages) = scrape(&rig.broker).await;
        assert!(text.len() / pages <= protocol::bounds::METRICS_PAGE_BYTES, "{} in {pages}", text.len());
        assert_eq!(text.matches("kafka_log_log_size{").count(), 1000);
        // Every family is announced once, and its series stand behind it without a gap.
        let mut families: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
        let count = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), count);
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(announced) => family = announced.split(' ').next().unwrap(),
                None if line.starts_with('#') => {}
                None => assert!(line.starts_with(family), "{line} stands in {family}"),
            }
        }
    });
}

#[test]
fn what_is_parked_is_counted_while_it_waits() {
    with_broker(&[], async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let parked = "kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation=\"Fetch\"}";
        assert_eq!(value(&rig.broker, parked).await, Some(0.0));
        let connection = rig.connect().await;
        let waiting = connection.submit(12, &fetch_request("t", 0)).await.unwrap();
        rig.broker.host.clock().sleep(Duration::from_millis(100)).await;
        assert_eq!(value(&rig.broker, parked).await, Some(1.0));
        waiting.await.expect("it ends after 300 ms");
        assert_eq!(value(&rig.broker, parked).await, Some(0.0));
    });
}

#[test]
fn labels_are_escaped_and_numbers_are_prometheus() {
    let (sender, mut pages) = mpsc::channel(1);
    let mut out = Pages::new(sender);
    out.named_family("f", "gauge", "help");
    out.sample(&[("a", "\"x\\\n")], f64::INFINITY);
    out.sample(&[], f64::NAN);
    let world = World::new(1);
    let text = world.block_on(LIMIT, async move {
        out.end().await.unwrap();
        pages.recv().await.unwrap()
    });
    let text = String::from_utf8(text.unwrap().to_vec()).unwrap();
    assert_eq!(text, "# HELP f help\n# TYPE f gauge\nf{a=\"\\\"x\\\\\\n\"} +Inf\nf NaN\n");
}

/// Commits offsets of topic `t` for a group without members.
async fn commit(rig: &Rig, group: &str, offsets: &[i64]) {
    let asked = FindCoordinatorRequest { key: group.into(), ..Default::default() };
    while rig.call(1, &asked).await.error_code != 0 {
        rig.broker.host.clock().sleep(Duration::from_millis(50)).await;
    }
    let partition = |(index, offset): (usize, &i64)| OffsetCommitRequestPartition {
        partition_index: index as i32,
        committed_offset: *offset,
        ..Default::default()
    };
    let partitions = offsets.iter().enumerate().map(partition).collect();
    let topics = vec![OffsetCommitRequestTopic { name: "t".into(), partitions, ..Default::default() }];
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics,
        ..Default::default()
    };
    loop {
        let answer = rig.call(8, &request).await;
        match code(answer.topics[0].partitions[0].error_code) {
            ErrorCode::None => return,
            // The shard is being loaded.
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => {}
            other => panic!("{other:?}"),
        }
        rig.broker.host.clock().sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn groups_are_told_with_their_lag_in_records_and_in_time_as_long_as_they_live() {
    let settings = [("offsets.topic.num.partitions", "3"), ("offsets.topic.replication.factor", "1")];
    with_broker(&settings, async |rig: Rig| {
        rig.topic("t", &[1], &[]).await;
        let now_ms = rig.broker.host.clock().wall_ms();
        for (n, value) in ["a", "b", "c"].iter().enumerate() {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder.append(now_ms - 9000 + n as i64 * 3000, None, Some(value.as_bytes()), &[]);
            rig.produce("t", 1, builder.finish().to_bytes()).await;
        }
        commit(&rig, "behind", &[1]).await;
        commit(&rig, "there", &[3]).await;
        let of = async |name: &str, group: &str| {
            let labels = format!("{{consumergroup=\"{group}\",partition=\"0\",topic=\"t\"}}");
            value(&rig.broker, &format!("{name}{labels}")).await
        };
        assert_eq!(of("kafka_consumergroup_current_offset", "behind").await, Some(1.0));
        assert_eq!(of("kafka_consumergroup_lag", "behind").await, Some(2.0));
        assert_eq!(of("kafka_consumergroup_lag", "there").await, Some(0.0));
        assert_eq!(of("weir_consumergroup_lag_seconds", "there").await, Some(0.0));
        let seconds = of("weir_consumergroup_lag_seconds", "behind").await.unwrap();
        let expected = (rig.broker.host.clock().wall_ms() - (now_ms - 6000)) as f64 / 1e3;
        assert!((seconds - expected).abs() < 0.2, "{seconds} for {expected}");
        let sum = "kafka_consumergroup_lag_sum{consumergroup=\"behind\",topic=\"t\"}";
        assert_eq!(value(&rig.broker, sum).await, Some(2.0));
        assert_eq!(
            value(&rig.broker, "kafka_consumergroup_members{consumergroup=\"there\"}").await,
            Some(0.0)
        );
        let groups = "kafka_coordinator_group_groupmetadatamanager_numgroupsempty";
        assert_eq!(value(&rig.broker, groups).await, Some(2.0));
        assert_eq!(
            value(&rig.broker, "kafka_coordinator_group_groupmetadatamanager_numoffsets").await,
            Some(2.0)
        );
        let request = DeleteGroupsRequest { groups_names: vec!["behind".into()], ..Default::default() };
        assert_eq!(rig.call(2, &request).await.results[0].error_code, 0);
        let (text, _) = scrape(&rig.broker).await;
        assert!(!text.contains("\"behind\""), "{text}");
        assert!(text.contains("{consumergroup=\"there\""));
    });
}
