//! RemoveRaftVoter (key 81, KIP-853), forwarded: the active controller decides.

use std::sync::Arc;

use protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use protocol::{Decoder, ErrorCode};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::forwarding::{self, Forwarded};

pub async fn forward(broker: Arc<Broker>, cx: Context, body: Decoder) -> Reply<Body> {
    // Brokers show nothing of the voters: DescribeQuorum asks the controller as well.
    forwarding::forward(broker, cx, body, Forwarded { refuse, is_visible: |_, _, _| true })
}

fn refuse(_: &RemoveRaftVoterRequest, error: ErrorCode, _version: i16) -> RemoveRaftVoterResponse {
    RemoveRaftVoterResponse { error_code: error.code(), ..Default::default() }
}
