//! IncrementalAlterConfigs (key 44, KIP-339), forwarded: the controller decides.

use std::sync::Arc;

use metadata::Image;
use metadata::configs::{ConfigResource, ResourceType};
use protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

/// Kafka's `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible })
}

fn refuse(
    request: &IncrementalAlterConfigsRequest,
    error: ErrorCode,
    _version: i16,
) -> IncrementalAlterConfigsResponse {
    let result = |resource: &AlterConfigsResource| AlterConfigsResourceResponse {
        error_code: error.code(),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    let responses = request.resources.iter().map(result).collect();
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

/// What is set or taken back shows; what is added to a list is not looked for.
fn is_visible(
    request: &IncrementalAlterConfigsRequest,
    response: &IncrementalAlterConfigsResponse,
    image: &Image,
) -> bool {
    let is_done = |resource: &AlterConfigsResource| {
        let id = ConfigResource {
            kind: ResourceType(resource.resource_type),
            name: resource.resource_name.clone(),
        };
        resource.configs.iter().all(|config| match config.config_operation {
            SET => image.configs.value(&id, &config.name) == config.value.as_ref(),
            DELETE => image.configs.value(&id, &config.name).is_none(),
            _ => true,
        })
    };
    let was_refused = response.responses.iter().any(|r| r.error_code != ErrorCode::None.code());
    request.validate_only || was_refused || request.resources.iter().all(is_done)
}
