//! UpdateFeatures (key 57, KIP-584), forwarded: the controller decides.

use std::sync::Arc;

use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // ApiVersions tells the finalized levels with their epoch, so a client sees by itself when they are here.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(_: &UpdateFeaturesRequest, error: ErrorCode, _version: i16) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse { error_code: error.code(), ..Default::default() }
}
