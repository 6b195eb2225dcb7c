//! CreatePartitions (key 37), forwarded: the controller decides.

use std::sync::Arc;

use metadata::Image;
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible })
}

fn refuse(request: &CreatePartitionsRequest, error: ErrorCode, _version: i16) -> CreatePartitionsResponse {
    let result = |topic: &CreatePartitionsTopic| CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: error.code(),
        ..Default::default()
    };
    CreatePartitionsResponse { results: request.topics.iter().map(result).collect(), ..Default::default() }
}

fn is_visible(request: &CreatePartitionsRequest, response: &CreatePartitionsResponse, image: &Image) -> bool {
    let refused = |topic: &CreatePartitionsTopic| {
        response.results.iter().any(|r| r.name == topic.name && r.error_code != ErrorCode::None.code())
    };
    let has_grown = |topic: &CreatePartitionsTopic| {
        image.topics.by_name(&topic.name).is_none_or(|known| known.partition_count() >= topic.count)
    };
    request.validate_only || request.topics.iter().all(|topic| refused(topic) || has_grown(topic))
}
