//! LeaveGroup (key 13): members of a classic group go. Until version 2 a request names one, then a list (KIP-345).

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    mut request: LeaveGroupRequest,
) -> Reply<LeaveGroupResponse> {
    let refused = |error: ErrorCode| LeaveGroupResponse { error_code: error.code(), ..Default::default() };
    if !cx.allowed(Operation::Read, Resource::group(&request.group_id)) {
        return Reply::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    let version = cx.version;
    if version <= 2 {
        let member_id = request.member_id.clone();
        request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    }
    let group = request.group_id.clone();
    let answer = match broker.groups.submit(&group, Asked::Leave(request)) {
        Ok(answer) => answer,
        Err(error) => return Reply::Now(refused(error)),
    };
    Reply::later(async move {
        match answer.await {
            Ok(Answer::Leave(response)) => told(response, version),
            Ok(other) => unreachable!("a leave is answered with {other:?}"),
            Err(error) => refused(error),
        }
    })
}

/// Where one member was named, its error is the answer's.
fn told(mut response: LeaveGroupResponse, version: i16) -> LeaveGroupResponse {
    if version <= 2 {
        let of_member = response.members.pop().map(|member| member.error_code);
        response.error_code = of_member.unwrap_or(response.error_code);
        response.members.clear();
    }
    response
}
