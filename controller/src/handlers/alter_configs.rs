//! The configs of a resource are replaced (33).

use std::sync::Arc;

use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(node: Arc<Node>, _cx: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let resources: Vec<_> =
        request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    match node.perform(move |context, _| Ok(decide::alter_configs(context, &request))).await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let refused = |(resource_type, resource_name)| {
                let error_message = error_message.clone();
                AlterConfigsResourceResponse { resource_type, resource_name, error_code, error_message }
            };
            AlterConfigsResponse {
                responses: resources.into_iter().map(refused).collect(),
                ..Default::default()
            }
        }
    }
}
