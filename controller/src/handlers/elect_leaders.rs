//! Elections that are asked for (43).

use std::sync::Arc;

use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use wire::Context;

use crate::decide;
use crate::node::Node;

pub async fn handle(node: Arc<Node>, _cx: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    match node.perform(move |context, _| decide::elect_leaders(context, &request)).await {
        Ok(answer) => answer,
        Err(error) => ElectLeadersResponse { error_code: error.code().code(), ..Default::default() },
    }
}
