//! AlterPartitionReassignments (key 45, KIP-455), forwarded: the controller decides.

use std::sync::Arc;

use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // A reassignment takes its time; the answer tells only that it has begun.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(
    _: &AlterPartitionReassignmentsRequest,
    error: ErrorCode,
    _version: i16,
) -> AlterPartitionReassignmentsResponse {
    AlterPartitionReassignmentsResponse { error_code: error.code(), ..Default::default() }
}
