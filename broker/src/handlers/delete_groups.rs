//! DeleteGroups (key 42, KIP-229): groups without members go, with their offsets.

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DeleteGroupsRequest,
) -> Reply<DeleteGroupsResponse> {
    let mut waiting = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let answer = match cx.allowed(Operation::Delete, Resource::group(&group)) {
            true => broker.groups.submit(&group, Asked::DeleteGroup(group.clone())),
            false => Err(ErrorCode::GroupAuthorizationFailed),
        };
        waiting.push((group, answer));
    }
    Reply::later(async move {
        let mut response = DeleteGroupsResponse::default();
        for (group_id, answer) in waiting {
            let deleted = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let error = match deleted {
                Ok(Answer::DeleteGroup(error)) | Err(error) => error,
                Ok(other) => unreachable!("a deletion is answered with {other:?}"),
            };
            let error_code = error.code();
            response.results.push(DeletableGroupResult { group_id, error_code, ..Default::default() });
        }
        response
    })
}
