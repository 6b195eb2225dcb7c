//! Configs are changed, one by one (44).

use std::sync::Arc;

use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources: Vec<_> =
        request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    match node.perform(move |context, _| Ok(decide::incremental_alter_configs(context, &request))).await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let refused = |(resource_type, resource_name)| {
                let error_message = error_message.clone();
                AlterConfigsResourceResponse { resource_type, resource_name, error_code, error_message }
            };
            IncrementalAlterConfigsResponse {
                responses: resources.into_iter().map(refused).collect(),
                ..Default::default()
            }
        }
    }
}
