//! GetTelemetrySubscriptions (key 71): which metrics a client shall push, and how often.

use std::sync::Arc;

use protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use wire::{Context, Reply};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: GetTelemetrySubscriptionsRequest,
) -> Reply<GetTelemetrySubscriptionsResponse> {
    let configs = Arc::clone(&broker.metadata.current().configs);
    let told = broker.telemetry.subscriptions(&cx, &configs, &request);
    Reply::Now(told.unwrap_or_else(|error| GetTelemetrySubscriptionsResponse {
        error_code: error.code(),
        ..Default::default()
    }))
}
