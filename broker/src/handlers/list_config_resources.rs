//! ListConfigResources (key 74, KIP-1142): what has configs, by type.

use std::sync::Arc;

use metadata::Image;
use metadata::configs::ResourceType as Kind;
use protocol::messages::list_config_resources_response::ConfigResource;
use protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

const ALL: [Kind; 5] = [Kind::GROUP, Kind::CLIENT_METRICS, Kind::BROKER_LOGGER, Kind::BROKER, Kind::TOPIC];

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: ListConfigResourcesRequest,
) -> Reply<ListConfigResourcesResponse> {
    let refused =
        |error: ErrorCode| ListConfigResourcesResponse { error_code: error.code(), ..Default::default() };
    if !cx.allowed(Operation::DescribeConfigs, Resource::CLUSTER) {
        return Reply::Now(refused(ErrorCode::ClusterAuthorizationFailed));
    }
    // Version 0 knows subscriptions to clients' metrics only.
    let supported: &[Kind] = if cx.version == 0 { &[Kind::CLIENT_METRICS] } else { &ALL };
    if request.resource_types.iter().any(|kind| !supported.contains(&Kind(*kind))) {
        return Reply::Now(refused(ErrorCode::UnsupportedVersion));
    }
    let image = broker.metadata.current();
    let is_asked =
        |kind: &&Kind| request.resource_types.is_empty() || request.resource_types.contains(&kind.0);
    let resources = supported.iter().filter(is_asked).flat_map(|kind| {
        let resource = |name: Str| ConfigResource { resource_name: name, resource_type: kind.0 };
        names(&image, *kind).into_iter().map(resource)
    });
    Reply::Now(ListConfigResourcesResponse { config_resources: resources.collect(), ..Default::default() })
}

fn names(image: &Image, kind: Kind) -> Vec<Str> {
    match kind {
        Kind::TOPIC => image.topics.iter().map(|topic| topic.name.clone()).collect(),
        Kind::BROKER | Kind::BROKER_LOGGER => {
            let live = image.cluster.brokers().filter(|broker| !broker.fenced);
            live.map(|broker| Str::from(broker.id.to_string())).collect()
        }
        // Groups and subscriptions exist, as far as configs go, by having some.
        _ => {
            let set = image.configs.iter().filter(|(resource, _)| resource.kind == kind);
            set.map(|(resource, _)| resource.name.clone()).collect()
        }
    }
}
