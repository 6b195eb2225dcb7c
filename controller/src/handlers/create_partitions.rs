//! Topics get more partitions (37).

use std::sync::Arc;

use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let grown = node.perform(move |context, random| {
        if decide::has_single(request.topics.iter().map(|topic| &topic.name)) {
            decide::in_time(request.timeout_ms)?;
        }
        Ok(decide::create_partitions(context, &request, random))
    });
    match grown.await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let refused = |name| {
                let error_message = error_message.clone();
                CreatePartitionsTopicResult { name, error_code, error_message }
            };
            CreatePartitionsResponse {
                results: names.into_iter().map(refused).collect(),
                ..Default::default()
            }
        }
    }
}
