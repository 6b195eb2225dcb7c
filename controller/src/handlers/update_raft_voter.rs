//! A voter tells that it listens elsewhere (82, KIP-853).

use std::sync::Arc;

use protocol::messages::update_raft_voter_response::CurrentLeader;
use protocol::messages::{UpdateRaftVoterRequest, UpdateRaftVoterResponse};
use protocol::{ErrorCode, Str};
use wire::Context;

use crate::decide::Refusal;
use crate::node::Node;
use crate::voter_requests::{address_of, check_cluster, seat, told};
use crate::writer::Error;

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: UpdateRaftVoterRequest,
) -> UpdateRaftVoterResponse {
    let error_code = match update(&node, &request).await {
        Ok(()) => ErrorCode::None.code(),
        Err(error) => told(&error).0,
    };
    let active = node.active();
    let leader_id = active.node_id.unwrap_or(-1);
    let (host, port) = node.address(leader_id).unwrap_or_default();
    let current_leader = CurrentLeader {
        leader_id,
        leader_epoch: active.epoch,
        host,
        port: port.into(),
        ..Default::default()
    };
    UpdateRaftVoterResponse { error_code, current_leader, ..Default::default() }
}

async fn update(node: &Node, request: &UpdateRaftVoterRequest) -> Result<(), Error> {
    check_cluster(node, request.cluster_id.as_ref())?;
    let active = node.active();
    if !active.here {
        return Err(Error::NotController);
    }
    let refused = |code| Err(Refusal::new(code, "").into());
    match request.current_leader_epoch {
        known if known < active.epoch => return refused(ErrorCode::FencedLeaderEpoch),
        known if known > active.epoch => return refused(ErrorCode::UnknownLeaderEpoch),
        _ => {}
    }
    let voter = seat(request.voter_id, request.voter_directory_id, "")?;
    let listeners: Vec<(&Str, &Str, u16)> =
        request.listeners.iter().map(|l| (&l.name, &l.host, l.port)).collect();
    let address = address_of(node, &listeners, "")?;
    let levels = &request.k_raft_version_feature;
    let (min, max) = (levels.min_supported_version, levels.max_supported_version);
    if min < 0 || max < min {
        return refused(ErrorCode::InvalidRequest);
    }
    node.update_voter(voter, address, min..=max).await
}
