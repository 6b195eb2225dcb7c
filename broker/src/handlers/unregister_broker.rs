//! UnregisterBroker (key 64, KIP-500), forwarded: the controller decides.

use std::sync::Arc;

use protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // The broker that leaves is not this one; who asks for the brokers next may still see it for a moment, as with Kafka.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(_: &UnregisterBrokerRequest, error: ErrorCode, _version: i16) -> UnregisterBrokerResponse {
    UnregisterBrokerResponse { error_code: error.code(), ..Default::default() }
}
