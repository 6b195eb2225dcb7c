//! An active controller whose machine hangs, on virtual time: its connections stay, and nothing answers on them. And one that is
//! merely slow.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use host::sim::DiskFaults;
use tests::sim::client::Client;
use tests::sim::{Broken, Cluster};

const LIMIT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// An election takes 0.75 to 1 s; the rest is for brokers to find out, and for the client to ask again.
const WITHOUT_CONTROLLER_MAX: Duration = Duration::from_millis(1800);

fn create(cluster: &Cluster, client: &Client, topic: &'static str) {
    let client = client.clone();
    let created = async move { client.create_topic(topic, 6, (3, 2), LIMIT).await };
    assert_eq!(cluster.world.block_on(LIMIT, created), Ok(true), "{topic} is created");
}

/// Leader and its epoch of each partition of a topic, and which brokers take part.
fn seen(cluster: &Cluster, topic: &str) -> (BTreeMap<i32, (i32, i32)>, Vec<i32>) {
    let image = cluster.committed().expect("a controller runs").image;
    let topic = image.topics.by_name(topic).expect("it was created");
    let leaders = topic.partitions.iter().map(|(index, p)| (*index, (p.leader, p.leader_epoch))).collect();
    let active = image.cluster.brokers().filter(|broker| broker.is_active()).map(|broker| broker.id);
    (leaders, active.collect())
}

#[test]
fn sim_a_controller_that_hangs_is_replaced_before_anybody_is_fenced_for_it() {
    for seed in 0..20 {
        let cluster = Cluster::start(seed, 3, 3, Broken::default());
        let client = Client::new(cluster.world.host(), cluster.addresses());
        create(&cluster, &client, "before");
        cluster.world.run_for(2 * SECOND);
        let before = seen(&cluster, "before");
        assert_eq!(before.1, [11, 12, 13], "seed {seed}");

        let hung = cluster.active_controller();
        cluster.machine(hung).pause();
        let began = cluster.world.now();
        create(&cluster, &client, "during");
        let took = cluster.world.now() - began;
        assert!(took < WITHOUT_CONTROLLER_MAX, "seed {seed}: {took:?} until a topic was created");

        // As long as several sessions.
        cluster.world.run_for(8 * SECOND);
        assert_eq!(seen(&cluster, "before"), before, "seed {seed}: brokers were fenced, or leaders moved");
        cluster.machine(hung).resume();
        cluster.world.run_for(3 * SECOND);
        create(&cluster, &client, "after");
        assert_eq!(seen(&cluster, "before"), before, "seed {seed}");
    }
}

#[test]
fn sim_a_controller_that_is_slow_costs_nobody_its_session() {
    for seed in 0..10 {
        // Five: it takes long to ask all the others.
        let cluster = Cluster::start(seed, 5, 3, Broken::default());
        let client = Client::new(cluster.world.host(), cluster.addresses());
        create(&cluster, &client, "before");
        cluster.world.run_for(2 * SECOND);
        let before = seen(&cluster, "before");
        let slow = cluster.active_controller();
        // Every job of its disk takes half a second, and a heartbeat is answered after what was decided before it.
        let stalls = DiskFaults { stalls_per_million: 1_000_000, ..DiskFaults::default() };
        cluster.machine(slow).set_disk_faults(stalls);
        ["slow-1", "slow-2", "slow-3"].into_iter().for_each(|topic| create(&cluster, &client, topic));
        cluster.world.run_for(5 * SECOND);
        assert_eq!(seen(&cluster, "before"), before, "seed {seed}: brokers were fenced, or leaders moved");
        assert_eq!(cluster.active_controller(), slow, "seed {seed}");
    }
}
