//! Another controller votes from now on (80, KIP-853).

use std::sync::Arc;
use std::time::Duration;

use protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use protocol::{ErrorCode, Str};
use wire::Context;

use crate::node::Node;
use crate::voter_requests::{address_of, check_cluster, seat, told};
use crate::writer::Error;

pub async fn handle(node: Arc<Node>, _cx: Context, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let (error_code, error_message) = match add(&node, &request).await {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => told(&error),
    };
    AddRaftVoterResponse { error_code, error_message, ..Default::default() }
}

async fn add(node: &Arc<Node>, request: &AddRaftVoterRequest) -> Result<(), Error> {
    check_cluster(node, request.cluster_id.as_ref())?;
    if !node.active().here {
        return Err(Error::NotController);
    }
    let invalid = "Add voter request didn't include a valid voter";
    let new = seat(request.voter_id, request.voter_directory_id, invalid)?;
    let listeners: Vec<(&Str, &Str, u16)> =
        request.listeners.iter().map(|l| (&l.name, &l.host, l.port)).collect();
    let address = address_of(node, &listeners, "Add voter request didn't include the endpoint")?;
    let limit = Duration::from_millis(request.timeout_ms.max(0).unsigned_abs().into());
    node.add_voter(new, address, limit, request.ack_when_committed).await
}
