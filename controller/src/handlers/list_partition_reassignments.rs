//! Reassignments that are under way (46). Reads only, but on the active controller, after what it has proposed.

use std::sync::Arc;

use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
use wire::Context;

use crate::decide::{self, Decision};
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let listed = node.perform(move |context, _| {
        let answer = decide::list_partition_reassignments(context, &request);
        Ok(Decision { records: Vec::new(), answer })
    });
    match listed.await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            ListPartitionReassignmentsResponse { error_code, error_message, ..Default::default() }
        }
    }
}
