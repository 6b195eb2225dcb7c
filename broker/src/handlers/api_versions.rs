//! ApiVersions (key 18): what is served here, and the features of the cluster.

use std::sync::Arc;

use metadata::features::{Feature, supported};
use protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Reply, api_versions_response};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: ApiVersionsRequest,
) -> Reply<ApiVersionsResponse> {
    let response = api_versions_response(&broker.table, &cx, &request);
    if response.error_code != ErrorCode::None.code() {
        return Reply::Now(response);
    }
    let image = broker.metadata.current();
    // Versions below 4 cannot say that a feature is supported from level 0 on: Kafka leaves those features out.
    let is_tellable = |feature: &Feature| cx.version >= 4 || *feature.supported.start() > 0;
    let range = |feature: Feature| SupportedFeatureKey {
        name: Str::from_static(feature.name),
        min_version: *feature.supported.start(),
        max_version: *feature.supported.end(),
        ..Default::default()
    };
    let finalized = |(name, level): (&Str, i16)| FinalizedFeatureKey {
        name: name.clone(),
        max_version_level: level,
        min_version_level: level,
        ..Default::default()
    };
    Reply::Now(ApiVersionsResponse {
        supported_features: supported().into_iter().filter(is_tellable).map(range).collect(),
        finalized_features_epoch: image.end_offset - 1,
        finalized_features: image.features.iter().filter(|(_, level)| *level > 0).map(finalized).collect(),
        ..response
    })
}
