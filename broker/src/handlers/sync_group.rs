//! SyncGroup (key 14): the leader of a classic group brings the assignment, the others fetch theirs.

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(broker: Arc<Broker>, cx: Context, request: SyncGroupRequest) -> Reply<SyncGroupResponse> {
    let refused = |error: ErrorCode| SyncGroupResponse { error_code: error.code(), ..Default::default() };
    // From version 5 on, a member says what it believes to be agreed on (KIP-559).
    if cx.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Reply::Now(refused(ErrorCode::InconsistentGroupProtocol));
    }
    if !cx.allowed(Operation::Read, Resource::group(&request.group_id)) {
        return Reply::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    let group = request.group_id.clone();
    let answer = match broker.groups.submit(&group, Asked::Sync(request)) {
        Ok(answer) => answer,
        Err(error) => return Reply::Now(refused(error)),
    };
    Reply::later(async move {
        match answer.await {
            Ok(Answer::Sync(response)) => response,
            Ok(other) => unreachable!("a sync is answered with {other:?}"),
            Err(error) => refused(error),
        }
    })
}
