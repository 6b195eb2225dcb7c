//! What survives a stop in order, and a crash of the process.

use host::sim::CrashKind;

use super::*;

fn lives_again(is_clean: bool) {
    let world = World::new(7);
    let (controller_node, node, driver) = (world.node("controller"), world.node("broker"), world.host());
    let (first, again) = (node.clone(), node.clone());
    let (controller_host, driver_again) = (controller_node.host(), driver.clone());
    let (controller, controllers) = world
        .block_on(LIMIT, async move {
            let (controller, handle) = TestController::start(&controller_host).await;
            let controllers = super::controllers(&handle);
            let broker = Broker::start(&first.host(), config(&[]), controllers.clone()).await.unwrap();
            broker.ready().await;
            let rig = Rig { controller, broker, controllers, node: first, host: driver };
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
            let broker = Broker::start(&again.host(), config(&[]), controllers.clone()).await.unwrap();
            broker.ready().await;
            let former = broker.link.identity.previous_broker_epoch;
            assert_eq!(former >= 0, is_clean, "only a stop in order tells its epoch");
            let rig = Rig { controller, broker, controllers, node: again, host: driver_again };
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
