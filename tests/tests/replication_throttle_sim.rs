//! Throttled reassignments on virtual time: a new replica gets its records at the rate that was set, and what is in sync is
//! not held up.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::time::Duration;

use host::Instant;
use protocol::messages::IncrementalAlterConfigsRequest;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::{ErrorCode, Str, Uuid};
use tests::sim::client::Client;
use tests::sim::{Broken, Cluster};

const LIMIT: Duration = Duration::from_secs(240);
const TOPIC: &str = "moves";
const VALUE_BYTES: usize = 500_000;
const VALUES: usize = 16;
const BYTES_PER_SECOND: usize = 1_000_000;
/// Kafka's `ConfigResource.Type`.
const OF_TOPIC: i8 = 2;
const OF_BROKERS: i8 = 4;

/// Sets configs of a topic, or of all brokers.
async fn set(client: &Client, kind: i8, resource: &str, configs: &[(&str, &str)]) {
    let one = |(name, value): &(&str, &str)| AlterableConfig {
        name: Str::from(*name),
        value: Some(Str::from(*value)),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: Str::from(resource),
        configs: configs.iter().map(one).collect(),
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = client.any().call(&request).await.expect("a healthy cluster answers");
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
}

async fn is_written(client: &Client, value: &str) -> bool {
    matches!(client.produce(TOPIC, 0, value).await, Some((ErrorCode::None, _)))
}

/// The ISR of the topic's partition, sorted, and the replicas that are on their way.
fn replicas(cluster: &Cluster, topic_id: Uuid) -> (Vec<i32>, Vec<i32>) {
    let committed = cluster.committed().expect("a controller runs");
    let topic = committed.image.topics.by_id(topic_id).expect("it was created");
    let partition = topic.partition(0).expect("it has one");
    let mut isr = partition.isr.clone();
    isr.sort_unstable();
    (isr, partition.adding.clone())
}

/// Moves 8 MB from one broker to another under these settings; returns how long that took, in virtual time.
fn move_to_another(configs: &'static [(&str, &str)], rates: &'static [(&str, &str)]) -> Duration {
    let cluster = Cluster::start(1, 1, 3, Broken::default());
    let client = Client::new(cluster.world.host(), cluster.addresses());
    let first = client.clone();
    let setting = async move {
        assert!(first.create_topic(TOPIC, 1, (1, 1), LIMIT / 4).await);
        let value = "x".repeat(VALUE_BYTES);
        for _ in 0..VALUES {
            assert!(is_written(&first, &value).await);
        }
        if !rates.is_empty() {
            set(&first, OF_TOPIC, TOPIC, configs).await;
            set(&first, OF_BROKERS, "", rates).await;
        }
        first.topic(TOPIC).await.unwrap().partitions[0].leader_id
    };
    let leader = cluster.world.block_on(LIMIT, setting).expect("set up");
    let topic_id = client.promises().topics[TOPIC];
    let other = if leader == 11 { 12 } else { 11 };
    let (began, mover) = (now(&cluster), client.clone());
    let taken = cluster.world.block_on(LIMIT, async move { mover.reassign((TOPIC, 0), vec![other]).await });
    assert_eq!(taken.expect("answered"), Some(ErrorCode::None));
    while replicas(&cluster, topic_id) != (vec![other], Vec::new()) {
        assert!(now(&cluster) - began < LIMIT, "{:?}", replicas(&cluster, topic_id));
        cluster.world.run_for(Duration::from_millis(50));
    }
    let took = now(&cluster) - began;
    // The new leader has all of it, and goes on.
    let read = async move {
        assert!(is_written(&client, "after").await);
        client.read_all(TOPIC, 0).await.expect("the leader answers").len()
    };
    assert_eq!(cluster.world.block_on(LIMIT, read).expect("read"), VALUES + 1);
    took
}

fn now(cluster: &Cluster) -> Instant {
    cluster.world.host().clock().now()
}

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

#[test]
fn a_throttled_move_takes_as_long_as_the_rate_says() {
    let at_full_speed = move_to_another(&[], &[]);
    assert!(at_full_speed < Duration::from_secs(3), "{at_full_speed:?}");
    let least = Duration::from_secs((VALUES * VALUE_BYTES / BYTES_PER_SECOND) as u64 - 2);
    let by_leader = move_to_another(&[(REPLICAS[0], "*")], &[(RATES[0], "1000000")]);
    assert!(by_leader > least && by_leader < least * 3, "{by_leader:?}");
    let by_follower = move_to_another(&[(REPLICAS[1], "*")], &[(RATES[1], "1000000")]);
    assert!(by_follower > least && by_follower < least * 3, "{by_follower:?}");
}

#[test]
fn a_rate_holds_for_the_named_replicas_alone() {
    let of_others = move_to_another(
        &[(REPLICAS[0], "0:99,7:11"), (REPLICAS[1], "")],
        &[(RATES[0], "1000000"), (RATES[1], "1000000")],
    );
    assert!(of_others < Duration::from_secs(3), "{of_others:?}");
}

#[test]
fn who_is_in_sync_is_never_held_up() {
    let cluster = Cluster::start(1, 1, 3, Broken::default());
    let client = Client::new(cluster.world.host(), cluster.addresses());
    let writing = async move {
        assert!(client.create_topic(TOPIC, 1, (3, 3), LIMIT / 4).await);
        assert!(is_written(&client, "all are in sync").await);
        set(&client, OF_TOPIC, TOPIC, &[(REPLICAS[0], "*"), (REPLICAS[1], "*")]).await;
        set(&client, OF_BROKERS, "", &[(RATES[0], "1"), (RATES[1], "1")]).await;
        let value = "x".repeat(100_000);
        for _ in 0..20 {
            assert!(is_written(&client, &value).await, "acks=all, 2 MB at one byte a second");
        }
    };
    cluster.world.block_on(LIMIT, writing).expect("in time");
}
