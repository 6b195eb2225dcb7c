//! Elections that are asked for (43).

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(node: Arc<Node>, cx: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let partitions = request.topic_partitions.clone().unwrap_or_default();
    let elected = node.perform(move |context, _| {
        if !request.topic_partitions.as_ref().is_some_and(Vec::is_empty) {
            decide::in_time(request.timeout_ms)?;
        }
        decide::elect_leaders(context, &request)
    });
    match elected.await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            let refused = |topic: &TopicPartitions| {
                let one = |id: &i32| PartitionResult {
                    partition_id: *id,
                    error_code,
                    error_message: error_message.clone(),
                };
                let partition_result = topic.partitions.iter().map(one).collect();
                ReplicaElectionResult { topic: topic.topic.clone(), partition_result }
            };
            let replica_election_results = partitions.iter().map(refused).collect();
            // Version 0 has no place for it.
            let error_code = if cx.version >= 1 { error_code } else { ErrorCode::None.code() };
            ElectLeadersResponse { error_code, replica_election_results, ..Default::default() }
        }
    }
}
