//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, stays, learns its partitions, leaves (KIP-848).

use std::sync::Arc;

use coordinator::{Answer, Beat, ConsumerSettings, Operation as Asked, Refusal};
use metadata::Image;
use metadata::configs::ConfigResource;
use protocol::config::{self, Value, group_default};
use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Reply<ConsumerGroupHeartbeatResponse> {
    let group = request.group_id.clone();
    if !cx.allowed(Operation::Read, Resource::group(&group)) {
        return Reply::Now(refused(ErrorCode::GroupAuthorizationFailed, None));
    }
    let names = request.subscribed_topic_names.iter().flatten();
    if names.into_iter().any(|name| !cx.allowed(Operation::Describe, Resource::topic(name))) {
        return Reply::Now(refused(ErrorCode::TopicAuthorizationFailed, None));
    }
    let image = broker.metadata.current();
    let settings = settings(&broker, &image, &group);
    let beat = Beat {
        request,
        version: cx.version,
        client_id: cx.client_id.clone().unwrap_or_default(),
        client_host: Str::from(format!("/{}", cx.address().ip())),
        unique: Uuid::from_random(|| broker.host.entropy().u128()),
        topics: Arc::clone(&image.topics),
        settings,
    };
    let answer = match broker.groups.submit(&group, Asked::ConsumerHeartbeat(beat)) {
        Ok(answer) => answer,
        Err(error) => return Reply::Now(refused(error, None)),
    };
    Reply::later(async move {
        match answer.await {
            Ok(Answer::ConsumerHeartbeat(Ok(response))) => response,
            Ok(Answer::ConsumerHeartbeat(Err(Refusal { code, message }))) => {
                refused(code, Some(message.into()))
            }
            Ok(other) => unreachable!("a heartbeat is answered with {other:?}"),
            Err(error) => refused(error, None),
        }
    })
}

fn refused(error: ErrorCode, error_message: Option<Str>) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: error.code(), error_message, ..Default::default() }
}

/// The group's own settings, or the server's.
fn settings(broker: &Broker, image: &Image, group: &str) -> ConsumerSettings {
    let resource = ConfigResource::group(group);
    let setting = |name: &str| {
        let definition = config::group().get(name).expect("a config of groups");
        let own = image.configs.value(&resource, name).and_then(|text| definition.parse(text).ok());
        match own.unwrap_or_else(|| group_default(&broker.config.server, name)) {
            Value::Int(value) => value,
            other => unreachable!("{name} is {other:?}"),
        }
    };
    ConsumerSettings {
        session_timeout_ms: setting("consumer.session.timeout.ms"),
        heartbeat_interval_ms: setting("consumer.heartbeat.interval.ms"),
        assignment_interval_ms: setting("consumer.assignment.interval.ms"),
    }
}
