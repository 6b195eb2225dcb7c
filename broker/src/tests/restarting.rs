//! What survives a stop in order, and a crash of the process.

use ::metadata::Record;
use host::sim::{CrashKind, Node};
use protocol::messages::RemoveTopicRecord;

use super::*;

/// A controller, and a broker in the first of its lives.
async fn first_life(controller: Host, node: Node, driver: Host) -> Rig {
    let (controller, handle) = TestController::start(&controller).await;
    let controllers = super::controllers(&handle);
    life(controller, controllers, node, driver).await
}

/// The broker on what its former lives left.
async fn life(
    controller: Arc<TestController>,
    controllers: ControllerEndpoints,
    node: Node,
    host: Host,
) -> Rig {
    let broker = Broker::start(&node.host(), config(&[]), controllers.clone()).await.unwrap();
    broker.ready().await;
    Rig { controller, broker, controllers, node, host }
}

fn lives_again(is_clean: bool) {
    let world = World::new(7);
    let (controller_node, node, driver) = (world.node("controller"), world.node("broker"), world.host());
    let (first, again) = (node.clone(), node.clone());
    let (controller_host, driver_again) = (controller_node.host(), driver.clone());
    let (controller, controllers) = world
        .block_on(LIMIT, async move {
            let rig = first_life(controller_host, first, driver).await;
            rig.topic("t", &[1], &[]).await;
            for value in ["a", "b"] {
                assert_eq!(rig.produce("t", -1, batch(&[value]).to_bytes()).await.error_code, 0);
            }
            if is_clean {
                rig.broker.stop().await;
            }
            (rig.controller, rig.controllers)
        })
        .unwrap();
    node.crash(CrashKind::Process);
    node.restart();
    world
        .block_on(LIMIT, async move {
            let rig = life(controller, controllers, again, driver_again).await;
            let former = rig.broker.link.identity.previous_broker_epoch;
            assert_eq!(former >= 0, is_clean, "only a stop in order tells its epoch");
            let data = rig.fetch(&fetch_request("t", 0)).await;
            assert_eq!(records(&data), [(0, "a".to_owned()), (1, "b".to_owned())]);
            assert_eq!(rig.produce("t", -1, batch(&["c"]).to_bytes()).await.base_offset, 2);
        })
        .unwrap();
}

#[test]
fn acknowledged_records_survive_a_stop_in_order() {
    lives_again(true);
}

#[test]
fn acknowledged_records_survive_a_crash_of_the_process() {
    lives_again(false);
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused() {
    with_broker(&[], async |rig: Rig| {
        let second = Broker::start(&rig.broker.host, config(&[]), rig.controllers.clone()).await;
        let error = second.expect_err("refused").to_string();
        assert!(error.contains("in use"), "{error}");
    });
}

#[test]
fn a_log_whose_replica_left_while_the_broker_was_down_is_set_aside() {
    let world = World::new(7);
    let (controller_node, node, driver) = (world.node("controller"), world.node("broker"), world.host());
    let (first, again) = (node.clone(), node.clone());
    let (controller_host, driver_again) = (controller_node.host(), driver.clone());
    let (controller, controllers, id) = world
        .block_on(LIMIT, async move {
            let rig = first_life(controller_host, first, driver).await;
            let id = rig.topic("t", &[1], &[]).await;
            assert_eq!(rig.produce("t", -1, batch(&["of the first topic"]).to_bytes()).await.error_code, 0);
            (rig.controller, rig.controllers, id)
        })
        .unwrap();
    node.crash(CrashKind::Process);
    node.restart();
    world
        .block_on(LIMIT, async move {
            // A controller beside the broker has its own log there.
            let own = config(&[]).log_dirs[0].join("__cluster_metadata-0");
            again.host().disk(&own).run(move |fs| fs.create_dir_all(&own).unwrap()).await.unwrap();
            let removal = RemoveTopicRecord { topic_id: id, ..Default::default() };
            controller.append(vec![Record::from(removal)]);
            let rig = life(controller, controllers, again, driver_again).await;
            let dir = rig.broker.config.log_dirs[0].clone();
            let names = rig.broker.host.disk(&dir).run(move |fs| fs.list(&dir).unwrap()).await.unwrap();
            let logs: Vec<&String> = names.iter().filter(|name| name.starts_with("t-0")).collect();
            assert!(logs.len() == 1 && logs[0].ends_with("-stray"), "{names:?}");
            assert!(names.iter().any(|name| name == "__cluster_metadata-0"), "{names:?}");
            // One that comes under its name begins anew.
            rig.topic("t", &[1], &[]).await;
            assert_eq!(rig.produce("t", -1, batch(&["of the second"]).to_bytes()).await.base_offset, 0);
        })
        .unwrap();
}
