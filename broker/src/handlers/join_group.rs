//! JoinGroup (key 11): to become a member of a classic group, or to stay one in its next generation.

use std::sync::Arc;

use coordinator::{Answer, Join, Operation as Asked};
use protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(broker: Arc<Broker>, cx: Context, request: JoinGroupRequest) -> Reply<JoinGroupResponse> {
    let version = cx.version;
    let member_id = request.member_id.detached();
    let refused = move |error: ErrorCode| {
        let member_id = member_id.clone();
        told(
            JoinGroupResponse {
                error_code: error.code(),
                protocol_name: None,
                member_id,
                ..Default::default()
            },
            version,
        )
    };
    if !cx.allowed(Operation::Read, Resource::group(&request.group_id)) {
        return Reply::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    let group = request.group_id.clone();
    let join = Join {
        request,
        version,
        client_id: cx.client_id.clone().unwrap_or_default(),
        client_host: Str::from(format!("/{}", cx.address().ip())),
        unique: Uuid::from_random(|| broker.host.entropy().u128()),
    };
    let answer = match broker.groups.submit(&group, Asked::Join(join)) {
        Ok(answer) => answer,
        Err(error) => return Reply::Now(refused(error)),
    };
    Reply::later(async move {
        match answer.await {
            Ok(Answer::Join(response)) => told(response, version),
            Ok(other) => unreachable!("a join is answered with {other:?}"),
            Err(error) => refused(error),
        }
    })
}

/// Versions below 7 have no null.
fn told(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version < 7 && response.protocol_name.is_none() {
        response.protocol_name = Some(Str::default());
    }
    response
}
