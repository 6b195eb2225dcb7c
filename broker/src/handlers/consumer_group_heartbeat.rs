//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, stays, learns its partitions, leaves (KIP-848).

use std::sync::Arc;

use coordinator::{Answer, Beat, Operation as Asked, Refusal};
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
    if let Err(error) = broker.groups.check_serves_consumers() {
        return Reply::Now(refused(error, None));
    }
    if !cx.allowed(Operation::Read, Resource::group(&group)) {
        return Reply::Now(refused(ErrorCode::GroupAuthorizationFailed, None));
    }
    let names = request.subscribed_topic_names.iter().flatten();
    if names.into_iter().any(|name| !cx.allowed(Operation::Describe, Resource::topic(name))) {
        return Reply::Now(refused(ErrorCode::TopicAuthorizationFailed, None));
    }
    let beat = Beat {
        request,
        version: cx.version,
        client_id: cx.client_id.clone().unwrap_or_default(),
        client_host: Str::from(format!("/{}", cx.address().ip())),
        unique: Uuid::from_random(|| broker.host.entropy().u128()),
    };
    let beat = Asked::ConsumerHeartbeat(beat);
    if let Err(Refusal { code, message }) = broker.groups.check(&beat) {
        return Reply::Now(refused(code, Some(message.into())));
    }
    let answer = match broker.groups.submit(&group, beat) {
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
