//! A block of producer ids for a broker (67).

use std::sync::Arc;

use protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use wire::Context;

use crate::decide;
use crate::node::Node;

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    match node.perform(move |context, _| decide::allocate_producer_ids(context, &request)).await {
        Ok(answer) => answer,
        Err(error) => AllocateProducerIdsResponse { error_code: error.code().code(), ..Default::default() },
    }
}
