//! Moves replicas to other brokers, or takes that back (45).

use std::sync::Arc;

use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let topics = request.topics.clone();
    let altered = node.perform(move |context, _| {
        if !request.topics.is_empty() {
            decide::in_time(request.timeout_ms)?;
        }
        Ok(decide::alter_partition_reassignments(context, &request))
    });
    match altered.await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let one = |partition: &ReassignablePartition| ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                error_message: error_message.clone(),
            };
            let refused = |topic: &ReassignableTopic| ReassignableTopicResponse {
                name: topic.name.clone(),
                partitions: topic.partitions.iter().map(one).collect(),
            };
            let responses = topics.iter().map(refused).collect();
            AlterPartitionReassignmentsResponse { error_code, error_message, responses, ..Default::default() }
        }
    }
}
