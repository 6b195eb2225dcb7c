//! `weir controller`: who votes in the quorum, and changes of that (KIP-853).

use std::collections::BTreeMap;

use protocol::messages::add_raft_voter_request::Listener;
use protocol::messages::describe_quorum_response::{Listener as Listening, ReplicaState};
use protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use protocol::{Str, Uuid};

use super::cluster::ask_quorum;
use crate::cli::ControllerCommand;
use crate::client::{Client, told};
use crate::output::Output;

/// Runs the command and returns what it shows.
pub async fn run(client: Client, command: ControllerCommand) -> Result<Output, String> {
    match command {
        ControllerCommand::List => list(&client).await,
        ControllerCommand::Add { id, directory_id, address, no_wait } => {
            add(&client, id, directory_id, address, !no_wait).await
        }
        ControllerCommand::Remove { id, directory_id } => remove(&client, id, directory_id).await,
    }
}

/// The quorum as the active controller describes it.
struct Quorum {
    leader: i32,
    end_offset: i64,
    voters: Vec<ReplicaState>,
    observers: Vec<ReplicaState>,
    listeners: BTreeMap<i32, Vec<Listening>>,
}

impl Quorum {
    async fn ask(client: &Client) -> Result<Quorum, String> {
        let answer = ask_quorum(client).await?;
        let listeners = answer.nodes.into_iter().map(|node| (node.node_id, node.listeners)).collect();
        let partition =
            answer.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let partition = partition.ok_or("the broker did not answer for the quorum")?;
        Ok(Quorum {
            leader: partition.leader_id,
            end_offset: partition.high_watermark,
            voters: partition.current_voters,
            observers: partition.observers,
            listeners,
        })
    }

    fn listeners(&self, node: i32) -> &[Listening] {
        self.listeners.get(&node).map_or(&[], Vec::as_slice)
    }

    /// An observer that is a controller says where it listens; a broker does not.
    fn controllers(&self) -> impl Iterator<Item = (&ReplicaState, &'static str)> {
        let role = |voter: &ReplicaState| if voter.replica_id == self.leader { "leader" } else { "follower" };
        let voters = self.voters.iter().map(move |voter| (voter, role(voter)));
        let observers =
            self.observers.iter().filter(|observer| !self.listeners(observer.replica_id).is_empty());
        voters.chain(observers.map(|observer| (observer, "observer")))
    }
}

async fn list(client: &Client) -> Result<Output, String> {
    let quorum = Quorum::ask(client).await?;
    let facts = vec![("leader", quorum.leader.into()), ("voters", quorum.voters.len().into())];
    let columns = ["node", "votes", "role", "address", "directory_id", "lag"];
    let mut output = Output::about("controllers", facts, &columns);
    for (replica, role) in quorum.controllers() {
        let addresses = quorum.listeners(replica.replica_id).iter().map(|l| format!("{}:{}", l.host, l.port));
        // In a quorum of controller.quorum.voters nobody is told by it.
        let directory = Some(replica.replica_directory_id).filter(|id| *id != Uuid::ZERO);
        output.row(vec![
            replica.replica_id.into(),
            (role != "observer").into(),
            role.into(),
            addresses.collect::<Vec<_>>().into(),
            directory.map(|id| id.to_string()).into(),
            (quorum.end_offset - replica.log_end_offset).max(0).into(),
        ]);
    }
    Ok(output)
}

fn parsed(directory_id: Option<String>) -> Result<Option<Uuid>, String> {
    let parsed = directory_id.map(|text| text.parse::<Uuid>());
    parsed.transpose().map_err(|e| format!("--directory-id: {e}; `weir storage info` shows that of a node"))
}

/// The directory id of the one replica with a node id.
fn directory_of(replicas: &[ReplicaState], id: i32, what: &str) -> Result<Uuid, String> {
    let found: Vec<Uuid> =
        replicas.iter().filter(|r| r.replica_id == id).map(|r| r.replica_directory_id).collect();
    match found[..] {
        [Uuid::ZERO] => Err(format!(
            "node {id} votes by controller.quorum.voters; `kafka-features upgrade --feature kraft.version=1` lets voters change"
        )),
        [directory] => Ok(directory),
        [] => Err(format!("node {id} is no {what}; `weir controller list` shows who is")),
        _ => {
            Err(format!("there are several directories of node {id}; --directory-id says which one is meant"))
        }
    }
}

async fn add(
    client: &Client,
    id: i32,
    directory_id: Option<String>,
    address: Option<String>,
    ack_when_committed: bool,
) -> Result<Output, String> {
    let quorum = Quorum::ask(client).await?;
    let directory = match parsed(directory_id)? {
        Some(directory) => directory,
        None => directory_of(&quorum.observers, id, "observer")?,
    };
    let listeners: Vec<Listener> = match &address {
        Some(address) => {
            let (host, port) = address.rsplit_once(':').ok_or("--address: host:port is expected")?;
            let port = port.parse::<u16>().map_err(|_| "--address: host:port is expected")?;
            let host = Str::from(host.trim_start_matches('[').trim_end_matches(']'));
            // Named as those of the voters are: that is where they look for each other.
            let name = quorum.listeners(quorum.leader).first().map(|listener| listener.name.clone());
            let name = name.ok_or("the quorum does not say what its listeners are called")?;
            vec![Listener { name, host, port, ..Default::default() }]
        }
        None => {
            let known = quorum.listeners(id).iter();
            known
                .map(|l| Listener {
                    name: l.name.clone(),
                    host: l.host.clone(),
                    port: l.port,
                    ..Default::default()
                })
                .collect()
        }
    };
    if listeners.is_empty() {
        return Err(format!("it is not known where controller {id} listens; --address says it"));
    }
    let request = AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: client.timeout_ms(),
        voter_id: id,
        voter_directory_id: directory,
        listeners,
        ack_when_committed,
        ..Default::default()
    };
    let answer = client.call(&request).await?;
    told(&format!("controller {id}"), answer.error_code, answer.error_message.as_ref())?;
    let mut output = Output::new(&["added", "directory_id"]);
    output.row(vec![id.into(), directory.to_string().into()]);
    Ok(output)
}

async fn remove(client: &Client, id: i32, directory_id: Option<String>) -> Result<Output, String> {
    let directory = match parsed(directory_id)? {
        Some(directory) => directory,
        None => directory_of(&Quorum::ask(client).await?.voters, id, "voter")?,
    };
    let request = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: id,
        voter_directory_id: directory,
        ..Default::default()
    };
    let answer = client.call(&request).await?;
    told(&format!("controller {id}"), answer.error_code, answer.error_message.as_ref())?;
    let mut output = Output::new(&["removed", "directory_id"]);
    output.row(vec![id.into(), directory.to_string().into()]);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(replica_id: i32, directory: u128) -> ReplicaState {
        ReplicaState { replica_id, replica_directory_id: Uuid(directory), ..Default::default() }
    }

    #[test]
    fn a_directory_is_found_by_the_node_unless_there_are_none_or_several() {
        let replicas = [replica(1, 11), replica(2, 12), replica(2, 13), replica(3, 0)];
        assert_eq!(directory_of(&replicas, 1, "voter"), Ok(Uuid(11)));
        let refused = |id| directory_of(&replicas, id, "voter").expect_err("refused");
        assert!(refused(2).contains("--directory-id"), "{}", refused(2));
        assert!(refused(3).contains("kraft.version"), "{}", refused(3));
        assert!(refused(4).contains("weir controller list"), "{}", refused(4));
    }
}
