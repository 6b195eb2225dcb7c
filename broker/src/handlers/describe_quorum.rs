//! DescribeQuorum (key 55, KIP-595), forwarded: only the active controller knows how far the voters are.

use std::sync::Arc;

use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // It changes nothing.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(_: &DescribeQuorumRequest, error: ErrorCode, _version: i16) -> DescribeQuorumResponse {
    DescribeQuorumResponse { error_code: error.code(), ..Default::default() }
}
