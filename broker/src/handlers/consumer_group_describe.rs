//! ConsumerGroupDescribe (key 69): consumer groups with their members, assignments and targets (KIP-848).

use std::sync::Arc;

use coordinator::{Answer, Operation as Asked};
use protocol::ErrorCode;
use protocol::messages::consumer_group_describe_response::DescribedGroup;
use protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use wire::{Context, Operation, Reply, Resource, ResourceType};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: ConsumerGroupDescribeRequest,
) -> Reply<ConsumerGroupDescribeResponse> {
    let mut waiting = Vec::with_capacity(request.group_ids.len());
    for group in &request.group_ids {
        let answer = match cx.allowed(Operation::Describe, Resource::group(group)) {
            true => broker
                .groups
                .check_serves_consumers()
                .and_then(|()| broker.groups.submit(group, Asked::ConsumerDescribe(group.clone()))),
            false => Err(ErrorCode::GroupAuthorizationFailed),
        };
        waiting.push((group.clone(), answer));
    }
    Reply::later(async move {
        let mut response = ConsumerGroupDescribeResponse::default();
        for (group, answer) in waiting {
            let described = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let mut described = match described {
                Ok(Answer::ConsumerDescribe(described)) => described,
                Ok(other) => unreachable!("a description is answered with {other:?}"),
                Err(error) => {
                    DescribedGroup { group_id: group, error_code: error.code(), ..Default::default() }
                }
            };
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
