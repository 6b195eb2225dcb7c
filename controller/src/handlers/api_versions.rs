//! What this listener serves, and the features of the cluster (18).

use std::sync::Arc;

use metadata::features::supported;
use protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, api_versions_response};

use crate::node::Node;

pub async fn handle(node: Arc<Node>, cx: Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let response = api_versions_response(&node.table, &cx, &request);
    if response.error_code != ErrorCode::None.code() {
        return response;
    }
    let committed = node.publisher.committed();
    let range = |f: metadata::features::Feature| SupportedFeatureKey {
        name: Str::from_static(f.name),
        // Version 3 knows no level 0.
        min_version: if cx.version < 4 { (*f.supported.start()).max(1) } else { *f.supported.start() },
        max_version: *f.supported.end(),
    };
    let finalized = |(name, level): (Str, i16)| FinalizedFeatureKey {
        name,
        max_version_level: level,
        min_version_level: level,
    };
    let levels = committed.image.features.iter().map(|(name, level)| (name.clone(), level));
    ApiVersionsResponse {
        supported_features: supported().into_iter().map(range).collect(),
        finalized_features_epoch: committed.image.end_offset - 1,
        finalized_features: levels.map(finalized).collect(),
        ..response
    }
}
