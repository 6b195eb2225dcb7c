//! Topics that are created because somebody asked for them (`auto.create.topics.enable`).
//!
//! **Invariant:** a name is asked for once at a time, and the number of names on their way is bounded; whoever is told that
//! a topic does not exist yet tries again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use protocol::messages::CreateTopicsRequest;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
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
    let server = &broker.config.server;
    let shape = |name: Str| CreatableTopic {
        name,
        num_partitions: server.int("num.partitions"),
        replication_factor: server.int("default.replication.factor") as i16,
        ..Default::default()
    };
    start_as(broker, cx, names, shape);
}

/// The same for the topic of groups and offsets, in the shape that the settings want it.
pub fn start_internal(broker: &Arc<Broker>, cx: &Context, name: &'static str) {
    let server = &broker.config.server;
    let config = |name: &'static str, value: String| CreatableTopicConfig {
        name: Str::from_static(name),
        value: Some(Str::from(value)),
        ..Default::default()
    };
    let shape = |name: Str| CreatableTopic {
        name,
        num_partitions: server.int("offsets.topic.num.partitions"),
        replication_factor: server.int("offsets.topic.replication.factor") as i16,
        configs: vec![
            config("compression.type", "producer".to_owned()),
            config("cleanup.policy", "compact".to_owned()),
            config("segment.bytes", server.int("offsets.topic.segment.bytes").to_string()),
        ],
        ..Default::default()
    };
    start_as(broker, cx, vec![Str::from_static(name)], shape);
}

fn start_as(broker: &Arc<Broker>, cx: &Context, names: Vec<Str>, shape: impl Fn(Str) -> CreatableTopic) {
    let names = broker.auto_creation.claim(names);
    if names.is_empty() {
        return;
    }
    let topics: Vec<CreatableTopic> = names.iter().cloned().map(shape).collect();
    let (task_broker, cx) = (Arc::clone(broker), cx.clone());
    broker.host.spawn("create topics", async move {
        create(&task_broker, &cx, topics).await;
        task_broker.auto_creation.release(&names);
    });
}

async fn create(broker: &Broker, cx: &Context, topics: Vec<CreatableTopic>) {
    let request = CreateTopicsRequest {
        topics,
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
