//! PushTelemetry (key 72): a client's metrics, on their way to `/metrics`.

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};
use wire::{Context, Reply};

use crate::broker::Broker;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: PushTelemetryRequest,
) -> Reply<PushTelemetryResponse> {
    let configs = Arc::clone(&broker.metadata.current().configs);
    let error = broker.telemetry.push(&cx, &configs, &request).err().unwrap_or(ErrorCode::None);
    Reply::Now(PushTelemetryResponse { error_code: error.code(), ..Default::default() })
}
