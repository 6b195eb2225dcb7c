//! DeleteTopics (key 20), forwarded: the controller decides.

use std::sync::Arc;

use metadata::Image;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::{Decoder, ErrorCode, Str, Uuid};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    if !broker.config.server.bool("delete.topic.enable") {
        let disabled = ErrorCode::TopicDeletionDisabled;
        let error = if cx.version < 3 { ErrorCode::InvalidRequest } else { disabled };
        return forwarding::refused(&cx, body, refuse, error);
    }
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible })
}

fn refuse(request: &DeleteTopicsRequest, error: ErrorCode, version: i16) -> DeleteTopicsResponse {
    let result = |name: Option<Str>, topic_id: Uuid| DeletableTopicResult {
        name,
        topic_id,
        error_code: error.code(),
        ..Default::default()
    };
    let responses = match version {
        ..=5 => request.topic_names.iter().map(|name| result(Some(name.clone()), Uuid::ZERO)).collect(),
        _ => request.topics.iter().map(|topic| result(topic.name.clone(), topic.topic_id)).collect(),
    };
    DeleteTopicsResponse { responses, ..Default::default() }
}

fn is_visible(_: &DeleteTopicsRequest, response: &DeleteTopicsResponse, image: &Image) -> bool {
    let is_gone = |topic: &DeletableTopicResult| {
        topic.error_code != ErrorCode::None.code()
            || match (topic.topic_id, &topic.name) {
                // Versions below 6 tell no id: one that was made anew meanwhile looks the same, and half a second passes.
                (id, Some(name)) if id.is_zero() => image.topics.by_name(name).is_none(),
                (id, _) => image.topics.by_id(id).is_none(),
            }
    };
    response.responses.iter().all(is_gone)
}
