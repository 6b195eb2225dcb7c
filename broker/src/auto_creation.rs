//! Topics that are created because somebody asked for them (`auto.create.topics.enable`).
//!
//! **Invariant:** a name is asked for once at a time, and the number of names on their way is bounded; whoever is told that
//! a topic does not exist yet tries again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use protocol::messages::CreateTopicsRequest;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::{ApiKey, Encoder, Message, Str, bounds};
use wire::Context;

use crate::broker::Broker;
use crate::forwarding;

/// Names that are on their way to the controller.
#[derive(Debug, Default)]
pub struct AutoCreation {
    pending: Mutex<BTreeSet<Str>>,
}

impl AutoCreation {
    /// Marks names as pending; returns those that were not.
    fn claim(&self, names: Vec<Str>) -> Vec<Str> {
        let mut pending = self.pending.lock().expect("no code that holds this lock panics");
        let mut claimed = Vec::new();
        for name in names {
            if pending.len() < bounds::AUTO_CREATIONS_MAX && pending.insert(name.detached()) {
                claimed.push(name.detached());
            }
        }
        claimed
    }

    fn release(&self, names: &[Str]) {
        let mut pending = self.pending.lock().expect("no code that holds this lock panics");
        for name in names {
            pending.remove(name);
        }
    }
}

/// Asks the controller to create topics, in the name of whoever asked for them. Returns at once.
pub fn start(broker: &Arc<Broker>, cx: &Context, names: Vec<Str>) {
    let names = broker.auto_creation.claim(names);
    if names.is_empty() {
        return;
    }
    let (task_broker, cx) = (Arc::clone(broker), cx.clone());
    broker.host.spawn("create topics", async move {
        create(&task_broker, &cx, &names).await;
        task_broker.auto_creation.release(&names);
    });
}

async fn create(broker: &Broker, cx: &Context, names: &[Str]) {
    let topic = |name: &Str| CreatableTopic {
        name: name.clone(),
        num_partitions: broker.config.server.int("num.partitions"),
        replication_factor: broker.config.server.int("default.replication.factor") as i16,
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: bounds::FORWARD_TIMEOUT.as_millis() as i32,
        ..Default::default()
    };
    let version = *ApiKey::CreateTopics.stable_versions().end();
    let mut body = Encoder::new();
    request.encode(&mut body, version).expect("the newest version carries everything");
    let body = body.into_bytes().expect("it has no file regions");
    let envelope =
        forwarding::envelope(cx, ApiKey::CreateTopics, version, body).expect("a header can be encoded");
    let deadline = broker.host.clock().now() + bounds::FORWARD_TIMEOUT;
    // Whether it worked is seen in the metadata. If it did not, the client asks again.
    if let Err(error) = broker.link.forward(&envelope, deadline).await {
        tracing::debug!(%error, "topics were not created automatically");
    }
}
