//! What a controller asks of the active one for itself: Kafka's own requests, as its tools send them.

use std::io;
use std::time::Duration;

use metadata::features::{KRAFT_VERSION, find};
use protocol::messages::update_raft_voter_request::KRaftVersionFeature;
use protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest, add_raft_voter_request,
    update_raft_voter_request,
};
use protocol::{ErrorCode, Str};

use crate::node::{Node, host_and_port};
use crate::peer::Peer;
use crate::raft::types::RaftId;

/// Longer than the active controller waits for a new voter.
const LIMIT: Duration = Duration::from_secs(30);

fn done(code: i16, message: Option<Str>) -> io::Result<()> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(io::Error::other(format!("{code}: {}", message.unwrap_or_default()))),
    }
}

fn cluster_id(node: &Node) -> Option<Str> {
    Some(Str::from(node.cluster_id.to_string()))
}

fn own_address(node: &Node) -> io::Result<(Str, u16)> {
    host_and_port(&node.advertised_address).ok_or_else(|| io::Error::other("it has no address of its own"))
}

pub(crate) async fn add_voter(node: &Node, leader: &str) -> io::Result<()> {
    let (host, port) = own_address(node)?;
    let name = node.listener_name.clone();
    let listener = add_raft_voter_request::Listener { name, host, port, ..Default::default() };
    let request = AddRaftVoterRequest {
        cluster_id: cluster_id(node),
        timeout_ms: LIMIT.as_millis() as i32,
        voter_id: node.id.node,
        voter_directory_id: node.id.directory,
        listeners: vec![listener],
        // Committed it is seen in the log.
        ack_when_committed: false,
        ..Default::default()
    };
    let answer = Peer::new(&node.host, leader.to_owned()).request(&request, LIMIT).await?;
    done(answer.error_code, answer.error_message)
}

pub(crate) async fn remove_voter(node: &Node, leader: &str, voter: RaftId) -> io::Result<()> {
    let request = RemoveRaftVoterRequest {
        cluster_id: cluster_id(node),
        voter_id: voter.node,
        voter_directory_id: voter.directory,
        ..Default::default()
    };
    let answer = Peer::new(&node.host, leader.to_owned()).request(&request, LIMIT).await?;
    done(answer.error_code, answer.error_message)
}

pub(crate) async fn update_voter(node: &Node, leader: &str) -> io::Result<()> {
    let (host, port) = own_address(node)?;
    let name = node.listener_name.clone();
    let listener = update_raft_voter_request::Listener { name, host, port, ..Default::default() };
    let supported = find(KRAFT_VERSION).expect("it is a feature of ours").supported;
    let request = UpdateRaftVoterRequest {
        cluster_id: cluster_id(node),
        current_leader_epoch: node.active().epoch,
        voter_id: node.id.node,
        voter_directory_id: node.id.directory,
        listeners: vec![listener],
        k_raft_version_feature: KRaftVersionFeature {
            min_supported_version: *supported.start(),
            max_supported_version: *supported.end(),
            ..Default::default()
        },
        ..Default::default()
    };
    let answer = Peer::new(&node.host, leader.to_owned()).request(&request, LIMIT).await?;
    done(answer.error_code, None)
}
