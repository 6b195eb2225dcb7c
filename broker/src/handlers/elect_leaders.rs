//! ElectLeaders (key 43), forwarded: the controller decides.

use std::sync::Arc;

use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // A new leader reaches the clients by their own metadata; nobody waits for this broker to know it.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(_: &ElectLeadersRequest, error: ErrorCode, _version: i16) -> ElectLeadersResponse {
    ElectLeadersResponse { error_code: error.code(), ..Default::default() }
}
