//! Finalizes feature levels (57).

use std::sync::Arc;

use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(node: Arc<Node>, cx: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let version = cx.version;
    match node.perform(move |context, _| decide::update_features(context, &request, version)).await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            UpdateFeaturesResponse { error_code, error_message, ..Default::default() }
        }
    }
}
