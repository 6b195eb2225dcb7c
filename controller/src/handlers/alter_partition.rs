//! A leader changes its ISR (56).

use std::sync::Arc;

use protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use wire::Context;

use crate::decide;
use crate::node::Node;

pub async fn handle(node: Arc<Node>, cx: Context, request: AlterPartitionRequest) -> AlterPartitionResponse {
    let version = cx.version;
    match node.perform(move |context, _| decide::alter_partition(context, &request, version)).await {
        Ok(answer) => answer,
        Err(error) => AlterPartitionResponse { error_code: error.code().code(), ..Default::default() },
    }
}
