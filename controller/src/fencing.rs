//! Fences brokers that are silent, while this node is the active controller.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host::Instant;
use protocol::bounds;

use crate::decide;
use crate::node::Node;

/// Nobody to watch: look again now and then.
const IDLE: Duration = Duration::from_secs(1);

/// Runs for as long as the node does.
pub(crate) async fn run(node: Arc<Node>) {
    let mut active = node.active.clone();
    loop {
        let epoch = match active.wait_for(|active| active.here).await {
            Ok(active) => active.epoch,
            // The writer has ended, and so does this controller.
            Err(_) => return,
        };
        begin(&node);
        while node.active().here && node.active().epoch == epoch {
            let now = node.host.clock().now();
            let silent = node.liveness().expire(now);
            for (broker, broker_epoch) in silent {
                fence(&node, broker, broker_epoch).await;
            }
            let next = node.liveness().next_deadline().unwrap_or(now + IDLE).min(now + IDLE);
            tokio::select! {
                biased;
                () = node.look_again.notified() => {}
                _ = active.changed() => {}
                () = node.host.clock().sleep_until(next) => {}
            }
        }
    }
}

/// Everybody has the full time-out again: a change of the active controller breaks all connections at once.
fn begin(node: &Arc<Node>) {
    let image = node.publisher.committed().image;
    let now = node.host.clock().now();
    let brokers = image.cluster.brokers().map(|b| (b.id, b.epoch, b.fenced));
    node.liveness().begin(brokers, now);
    for broker in image.cluster.brokers().filter(|broker| !broker.fenced) {
        if let Some(listener) = broker.listeners.first() {
            let address = format!("{}:{}", listener.host, listener.port);
            let probe = probe(node.clone(), (broker.id, broker.epoch), address, now);
            node.host.spawn("controller probe", probe);
        }
    }
}

/// A node that was the active controller and a broker dies as both, and nobody saw its connection end. Its machine says at
/// once that nobody listens there any more.
async fn probe(node: Arc<Node>, (id, epoch): (i32, i64), address: String, began: Instant) {
    let limit = bounds::CONTROLLER_PROBE_WAIT;
    let connected = node.host.clock().timeout(limit, node.host.net().connect(&address)).await;
    if let Ok(Err(error)) = connected
        && error.kind() == std::io::ErrorKind::ConnectionRefused
    {
        tracing::info!(broker = id, %address, "nobody listens at a broker's address");
        // Where its address cannot be reached from here, a broker that lives is heard of within this.
        node.liveness().is_missing(id, epoch, began + limit);
        node.look_again.notify_one();
    }
}

async fn fence(node: &Node, broker: i32, epoch: i64) {
    tracing::info!(broker, epoch, "fencing a silent broker");
    node.timed_out_heartbeats.fetch_add(1, Ordering::Relaxed);
    let fenced = node.perform(move |context, _| {
        // Another incarnation has registered meanwhile: it is not the one that is silent.
        let is_same = context.image.cluster.broker(broker).is_some_and(|b| b.epoch == epoch);
        let nothing = decide::Decision { records: Vec::new(), answer: () };
        Ok(if is_same { decide::fence_broker(context, broker) } else { nothing })
    });
    if let Err(error) = fenced.await {
        tracing::info!(broker, %error, "a silent broker was not fenced by this controller");
        // If this is still the active controller, it asks again later.
        node.liveness().watch(broker, epoch, node.host.clock().now());
    }
}
