//! Moves replicas to other brokers, or takes that back (45).

use std::sync::Arc;

use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    match node.perform(move |context, _| Ok(decide::alter_partition_reassignments(context, &request))).await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            AlterPartitionReassignmentsResponse { error_code, error_message, ..Default::default() }
        }
    }
}
