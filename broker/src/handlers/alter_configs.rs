//! AlterConfigs (key 33), forwarded: the controller decides. What a resource does not name goes back to its default.

use std::sync::Arc;

use metadata::Image;
use metadata::configs::{ConfigResource, ResourceType};
use protocol::messages::alter_configs_request::AlterConfigsResource;
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible })
}

fn refuse(request: &AlterConfigsRequest, error: ErrorCode, _version: i16) -> AlterConfigsResponse {
    let result = |resource: &AlterConfigsResource| AlterConfigsResourceResponse {
        error_code: error.code(),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    AlterConfigsResponse { responses: request.resources.iter().map(result).collect(), ..Default::default() }
}

fn is_visible(request: &AlterConfigsRequest, response: &AlterConfigsResponse, image: &Image) -> bool {
    let is_set = |resource: &AlterConfigsResource| {
        let id = ConfigResource {
            kind: ResourceType(resource.resource_type),
            name: resource.resource_name.clone(),
        };
        let values = image.configs.values(&id);
        let wanted = resource.configs.iter();
        values.map_or(0, |values| values.len()) == resource.configs.len()
            && wanted.into_iter().all(|c| image.configs.value(&id, &c.name) == c.value.as_ref())
    };
    let was_refused = response.responses.iter().any(|r| r.error_code != ErrorCode::None.code());
    request.validate_only || was_refused || request.resources.iter().all(is_set)
}
