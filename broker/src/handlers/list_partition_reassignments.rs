//! ListPartitionReassignments (key 46, KIP-455), forwarded: the controller knows them first.

use std::sync::Arc;

use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // It changes nothing.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(
    _: &ListPartitionReassignmentsRequest,
    error: ErrorCode,
    _version: i16,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse { error_code: error.code(), ..Default::default() }
}
