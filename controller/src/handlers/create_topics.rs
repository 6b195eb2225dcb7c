//! Topics are created (19).

use std::sync::Arc;

use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(node: Arc<Node>, _cx: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let may_describe_configs = |_: &str| true;
    let created = node.perform(move |context, random| {
        if decide::has_single(request.topics.iter().map(|topic| &topic.name)) {
            decide::in_time(request.timeout_ms)?;
        }
        decide::create_topics(context, &request, &may_describe_configs, random)
    });
    match created.await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let refused = |name| {
                let error_message = error_message.clone();
                CreatableTopicResult { name, error_code, error_message, ..Default::default() }
            };
            CreateTopicsResponse { topics: names.into_iter().map(refused).collect(), ..Default::default() }
        }
    }
}
