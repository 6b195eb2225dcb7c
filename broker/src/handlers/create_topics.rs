//! CreateTopics (key 19), forwarded: the controller decides.

use std::sync::Arc;

use metadata::Image;
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible })
}

fn refuse(request: &CreateTopicsRequest, error: ErrorCode, _version: i16) -> CreateTopicsResponse {
    let result = |topic: &protocol::messages::create_topics_request::CreatableTopic| CreatableTopicResult {
        name: topic.name.clone(),
        error_code: error.code(),
        error_message: None,
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    };
    CreateTopicsResponse { topics: request.topics.iter().map(result).collect(), ..Default::default() }
}

fn is_visible(request: &CreateTopicsRequest, response: &CreateTopicsResponse, image: &Image) -> bool {
    let is_there = |topic: &CreatableTopicResult| {
        topic.error_code != ErrorCode::None.code()
            || match topic.topic_id {
                id if id.is_zero() => image.topics.by_name(&topic.name).is_some(),
                id => image.topics.by_id(id).is_some(),
            }
    };
    request.validate_only || response.topics.iter().all(is_there)
}
