//! Topics are deleted (20).

use std::sync::Arc;

use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::{Str, Uuid};
use wire::Context;

use crate::decide::{self, TopicAccess};
use crate::node::{Node, told};

pub async fn handle(node: Arc<Node>, _cx: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = |name: &Str| (Some(name.clone()), Uuid::ZERO);
    let by_name = request.topic_names.iter().map(named);
    let topics: Vec<(Option<Str>, Uuid)> =
        by_name.chain(request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id))).collect();
    let deleted = node.perform(move |context, _| {
        let well_formed = request.topics.iter().filter(|t| t.name.is_some() == t.topic_id.is_zero());
        let old = request.topic_names.iter().map(|name| (Some(name), Uuid::ZERO));
        if decide::has_single(old.chain(well_formed.map(|t| (t.name.as_ref(), t.topic_id)))) {
            decide::in_time(request.timeout_ms)?;
        }
        let access = TopicAccess { may_describe: &|_| true, may_delete: &|_| true };
        decide::delete_topics(context, &request, &access)
    });
    match deleted.await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let refused = |(name, topic_id)| {
                let error_message = error_message.clone();
                DeletableTopicResult { name, topic_id, error_code, error_message }
            };
            DeleteTopicsResponse {
                responses: topics.into_iter().map(refused).collect(),
                ..Default::default()
            }
        }
    }
}
