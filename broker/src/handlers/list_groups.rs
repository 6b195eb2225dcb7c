//! ListGroups (key 16): the groups that live on this broker.

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: ListGroupsRequest,
) -> Reply<ListGroupsResponse> {
    let failed = |error: ErrorCode| ListGroupsResponse { error_code: error.code(), ..Default::default() };
    let asked = Asked::List { states: request.states_filter, types: request.types_filter };
    let answers = match broker.groups.submit_to_all(&asked) {
        Ok(answers) => answers,
        Err(error) => return Reply::Now(failed(error)),
    };
    Reply::later(async move {
        let sees_all = cx.allowed(Operation::Describe, Resource::CLUSTER);
        let may_see = |group: &ListedGroup| {
            sees_all || cx.allowed(Operation::Describe, Resource::group(&group.group_id))
        };
        match answers.await {
            Err(error) => failed(error),
            Ok(answers) => {
                let groups = answers.into_iter().flat_map(|answer| match answer {
                    Answer::List(groups) => groups,
                    other => unreachable!("a list is answered with {other:?}"),
                });
                ListGroupsResponse { groups: groups.filter(may_see).collect(), ..Default::default() }
            }
        }
    })
}
