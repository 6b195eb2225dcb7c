//! Heartbeat (key 12): a member of a classic group lives, and hears whether a new round has begun.

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(broker: Arc<Broker>, cx: Context, request: HeartbeatRequest) -> Reply<HeartbeatResponse> {
    let told = |error: ErrorCode| HeartbeatResponse { error_code: error.code(), ..Default::default() };
    if !cx.allowed(Operation::Read, Resource::group(&request.group_id)) {
        return Reply::Now(told(ErrorCode::GroupAuthorizationFailed));
    }
    let group = request.group_id.clone();
    let answer = match broker.groups.submit(&group, Asked::Heartbeat(request)) {
        Ok(answer) => answer,
        // The coordinator comes back in a moment, and counts the time-out anew: nobody needs to be alarmed (as Kafka).
        Err(ErrorCode::CoordinatorLoadInProgress) => return Reply::Now(told(ErrorCode::None)),
        Err(error) => return Reply::Now(told(error)),
    };
    Reply::later(async move {
        match answer.await {
            Ok(Answer::Heartbeat(error)) | Err(error) => told(error),
            Ok(other) => unreachable!("a heartbeat is answered with {other:?}"),
        }
    })
}
