//! DescribeGroups (key 15): classic groups with their members and assignments.

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use wire::{Context, Operation, Reply, Resource, ResourceType};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DescribeGroupsRequest,
) -> Reply<DescribeGroupsResponse> {
    let mut waiting = Vec::with_capacity(request.groups.len());
    for group in &request.groups {
        let answer = match cx.allowed(Operation::Describe, Resource::group(group)) {
            true => broker.groups.submit(group, Asked::Describe(group.clone())),
            false => Err(ErrorCode::GroupAuthorizationFailed),
        };
        waiting.push((group.clone(), answer));
    }
    Reply::later(async move {
        let mut response = DescribeGroupsResponse::default();
        for (group, answer) in waiting {
            let described = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let mut described = match described {
                Ok(Answer::Describe(described)) => described,
                Ok(other) => unreachable!("a description is answered with {other:?}"),
                Err(error) => {
                    DescribedGroup { group_id: group, error_code: error.code(), ..Default::default() }
                }
            };
            // Below version 6 (KIP-1043) a group that is not there is no error, only dead.
            if cx.version < 6 && described.error_code == ErrorCode::GroupIdNotFound.code() {
                (described.error_code, described.error_message) = (ErrorCode::None.code(), None);
            }
            let is_told = described.error_code == ErrorCode::None.code();
            if is_told && request.include_authorized_operations {
                described.authorized_operations =
                    broker.authorized_operations(&cx, ResourceType::Group, &described.group_id);
            }
            response.groups.push(described);
        }
        response
    })
}
