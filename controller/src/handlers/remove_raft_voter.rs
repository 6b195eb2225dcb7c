//! A controller does not vote any more (81, KIP-853).

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use wire::Context;

use crate::node::Node;
use crate::voter_requests::{check_cluster, seat, told};
use crate::writer::Error;

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    let (error_code, error_message) = match remove(&node, &request).await {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => told(&error),
    };
    RemoveRaftVoterResponse { error_code, error_message, ..Default::default() }
}

async fn remove(node: &Node, request: &RemoveRaftVoterRequest) -> Result<(), Error> {
    check_cluster(node, request.cluster_id.as_ref())?;
    if !node.active().here {
        return Err(Error::NotController);
    }
    let invalid = "Remove voter request didn't include a valid voter";
    node.remove_voter(seat(request.voter_id, request.voter_directory_id, invalid)?).await
}
