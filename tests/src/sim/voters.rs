//! Voters of the quorum that come and go while the cluster runs, asked for through brokers as `weir controller` does.
//!
//! Never fewer than three stay: who takes one of three away bets on both others. One whose disk was lost votes no more, though the
//! quorum counts it; it is taken out when there is a fourth, and comes back with the directory that it has now.

use std::time::Duration;

use protocol::ids::METADATA_TOPIC;
use protocol::messages::add_raft_voter_request::Listener;
use protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use protocol::messages::describe_quorum_response::ReplicaState;
use protocol::messages::{AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest};
use protocol::{Str, Uuid};

use super::client::Client;

/// The fewest that are ever to vote.
const VOTERS_MIN: usize = 3;

/// A controller of the cluster and its directory.
pub type Id = (i32, Uuid);

/// Adds and removes voters among `controllers` until the client is stopped.
pub async fn change_for_ever(client: Client, controllers: Vec<i32>) {
    while !client.is_stopped() {
        client.pause(Duration::from_millis(500 + client.below(2000))).await;
        let Some((voters, observers)) = describe(&client).await else { continue };
        let is_controller = |id: &&Id| controllers.contains(&id.0);
        let observers: Vec<Id> = observers.iter().filter(is_controller).copied().collect();
        // A node that votes with one directory and observes with another has lost the first.
        let is_lost = |voter: &&Id| observers.iter().any(|(node, _)| *node == voter.0);
        if voters.len() > VOTERS_MIN {
            let chosen = voters[client.below(voters.len() as u64) as usize];
            remove(&client, *voters.iter().find(is_lost).unwrap_or(&chosen)).await;
        } else if let Some(new) = observers.iter().find(|(node, _)| voters.iter().all(|(v, _)| v != node)) {
            add(&client, *new).await;
        }
    }
}

/// Voters and observers as a broker tells them; None if it does not.
async fn describe(client: &Client) -> Option<(Vec<Id>, Vec<Id>)> {
    let answer = client.any().call(&describe_request()).await.ok()?;
    let quorum = answer.topics.first()?.partitions.first().filter(|quorum| quorum.error_code == 0)?;
    let ids = |states: &[ReplicaState]| -> Vec<Id> {
        states.iter().map(|state| (state.replica_id, state.replica_directory_id)).collect()
    };
    let (mut voters, observers) = (ids(&quorum.current_voters), ids(&quorum.observers));
    voters.sort_unstable();
    client.promises().voters.insert(voters.clone());
    Some((voters, observers))
}

/// Asks for the only quorum that there is.
pub fn describe_request() -> DescribeQuorumRequest {
    let partitions = vec![PartitionData::default()];
    let topic = TopicData { topic_name: Str::from_static(METADATA_TOPIC), partitions, ..Default::default() };
    DescribeQuorumRequest { topics: vec![topic], ..Default::default() }
}

async fn add(client: &Client, (node, directory): Id) {
    let (name, host) = (Str::from_static("CONTROLLER"), Str::from(format!("c{node}")));
    let request = AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: 2000,
        voter_id: node,
        voter_directory_id: directory,
        listeners: vec![Listener { name, host, port: 9093, ..Default::default() }],
        ..Default::default()
    };
    // A refusal is as good: the next one may be heard.
    drop(client.any().call(&request).await);
}

async fn remove(client: &Client, (node, directory): Id) {
    let request = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: node,
        voter_directory_id: directory,
        ..Default::default()
    };
    // As above.
    drop(client.any().call(&request).await);
}
