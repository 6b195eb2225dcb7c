//! Finalizes feature levels (57).

use std::sync::Arc;

use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(node: Arc<Node>, cx: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let version = cx.version;
    let level = decide::kraft_version_update(&request);
    let updated = node.perform(move |context, _| decide::update_features(context, &request, version)).await;
    let updated = match (updated, level) {
        (Ok(answer), Some(level)) => node.raise_kraft_version(level).await.map(|()| answer),
        (updated, _) => updated,
    };
    updated.unwrap_or_else(|error| {
        let (error_code, error_message) = told(&error);
        UpdateFeaturesResponse { error_code, error_message, ..Default::default() }
    })
}
