//! `weir broker`: list, describe, unregister, wait.

use protocol::Str;
use protocol::messages::UnregisterBrokerRequest;
use serde_json::Value;

use super::cluster::{LOG_DIR_COLUMNS, ask_quorum, log_dirs_of, newest_version, sums, versions_of};
use crate::cli::BrokerCommand;
use crate::client::{Client, in_words, told};
use crate::cluster_state::{BrokerState, ClusterState};
use crate::output::Output;
use crate::patience::Patience;
use crate::progress::Progress;

pub mod wait;

/// Runs the command and returns what it shows.
pub async fn run(client: Client, patience: Patience, command: BrokerCommand) -> Result<Output, String> {
    match command {
        BrokerCommand::List => list(&client).await,
        BrokerCommand::Describe { id } => describe(&client, id).await,
        BrokerCommand::Unregister { id, force } => unregister(&client, id, force).await,
        BrokerCommand::Wait { id } => {
            let clock = client.host.clock();
            let mut progress = Progress::new(clock, format!("broker {id}, replicas in sync"), None);
            let begun = clock.now();
            let in_sync = wait::until_in_sync(&client, id, &patience.deadline(begun), &mut progress).await?;
            let mut output = Output::new(&["broker", "replicas", "in_sync", "seconds"]);
            let seconds = (clock.now() - begun).as_millis() as f64 / 1000.0;
            output.row(vec![id.into(), in_sync.into(), in_sync.into(), seconds.into()]);
            Ok(output)
        }
    }
}

/// What a broker does for the partitions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Share {
    leaders: usize,
    /// Partitions that name it first among their replicas.
    preferred_leaders: usize,
    replicas: usize,
    out_of_sync: usize,
}

fn share(state: &ClusterState, broker: i32) -> Share {
    let mut share = Share::default();
    for p in state.replicas_of(broker) {
        share.replicas += 1;
        share.leaders += usize::from(p.leader == Some(broker));
        share.preferred_leaders += usize::from(p.replicas.first() == Some(&broker));
        share.out_of_sync += usize::from(!p.isr.contains(&broker));
    }
    share
}

async fn list(client: &Client) -> Result<Output, String> {
    let state = ClusterState::read(client, None, None).await?;
    let columns = ["broker", "address", "rack", "fenced", "leaders", "replicas", "out_of_sync"];
    let mut output = Output::new(&columns);
    for (id, broker) in &state.brokers {
        let share = share(&state, *id);
        output.row(vec![
            (*id).into(),
            broker.address().into(),
            broker.rack.clone().into(),
            broker.is_fenced.into(),
            share.leaders.into(),
            share.replicas.into(),
            share.out_of_sync.into(),
        ]);
    }
    Ok(output)
}

fn registered(state: &ClusterState, id: i32) -> Result<&BrokerState, String> {
    let unknown = || format!("broker {id} is not registered; `weir broker list` shows those that are");
    state.brokers.get(&id).ok_or_else(unknown)
}

async fn describe(client: &Client, id: i32) -> Result<Output, String> {
    let state = ClusterState::read(client, None, None).await?;
    let broker = registered(&state, id)?;
    let share = share(&state, id);
    let mut facts = vec![
        ("broker", id.into()),
        ("address", broker.address().into()),
        ("rack", broker.rack.clone().into()),
        ("fenced", broker.is_fenced.into()),
        ("roles", roles(client, id).await.into()),
        ("leaders", share.leaders.into()),
        ("preferred_leaders", share.preferred_leaders.into()),
        ("replicas", share.replicas.into()),
        ("out_of_sync", share.out_of_sync.into()),
    ];
    if broker.is_fenced {
        facts.push(("newest_version", Value::Null));
        let mut output = Output::about("log_dirs", facts, LOG_DIR_COLUMNS);
        output.note(format!("broker {id} is fenced: it is down, or was not heard of yet"));
        return Ok(output);
    }
    facts.push(("newest_version", newest_version(&versions_of(client, id).await?)));
    let mut output = Output::about("log_dirs", facts, LOG_DIR_COLUMNS);
    for dir in log_dirs_of(client, id).await? {
        output.row(sums(id, &dir));
    }
    Ok(output)
}

/// What the quorum says of the node beside its being a broker. Without an active controller nobody knows.
async fn roles(client: &Client, id: i32) -> Vec<&'static str> {
    let mut roles = vec!["broker"];
    if let Ok(answer) = ask_quorum(client).await
        && let Some(quorum) = answer.topics.iter().flat_map(|t| &t.partitions).next()
        && quorum.current_voters.iter().any(|voter| voter.replica_id == id)
    {
        roles.push(if quorum.leader_id == id { "active controller" } else { "controller" });
    }
    roles
}

async fn unregister(client: &Client, id: i32, force: bool) -> Result<Output, String> {
    if !force {
        let state = ClusterState::read(client, None, None).await?;
        refuse_in_use(&state, id)?;
    }
    let request = UnregisterBrokerRequest { broker_id: id, ..Default::default() };
    let answer = client.cluster.call_any(&request, false).await.map_err(in_words)?;
    told(&format!("broker {id} was not unregistered"), answer.error_code, answer.error_message.as_ref())?;
    let mut output = Output::new(&["broker", "unregistered"]);
    output.row(vec![id.into(), true.into()]);
    Ok(output)
}

/// A broker that lives would register again, or go on without being known; replicas on one that is gone never come back.
fn refuse_in_use(state: &ClusterState, id: i32) -> Result<(), String> {
    if !registered(state, id)?.is_fenced {
        return Err(format!("broker {id} is alive: stop it first; --force unregisters it all the same"));
    }
    let held: Vec<_> = state.replicas_of(id).collect();
    let Some(first) = held.first() else { return Ok(()) };
    let topic: &Str = &first.topic;
    Err(format!(
        "broker {id} still has {} replicas ({first} is one): `weir partition reassign {topic} --brokers ... --execute` moves \
         them to other brokers; --force leaves them behind",
        held.len()
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster_state::PartitionState;

    fn state(is_fenced: bool, replicas: &[i32]) -> ClusterState {
        let broker = BrokerState { host: "h".to_owned(), port: 9092, rack: None, is_fenced };
        let partition = PartitionState {
            topic: Str::from_static("t"),
            leader: Some(2),
            replicas: replicas.to_vec(),
            isr: vec![2],
            ..Default::default()
        };
        ClusterState { brokers: BTreeMap::from([(1, broker)]), partitions: vec![partition] }
    }

    #[test]
    fn a_broker_is_unregistered_when_it_is_down_and_holds_nothing() {
        assert_eq!(refuse_in_use(&state(true, &[2]), 1), Ok(()));
        let alive = refuse_in_use(&state(false, &[2]), 1).expect_err("refused");
        assert!(alive.contains("alive") && alive.contains("stop it first"), "{alive}");
        let holds = refuse_in_use(&state(true, &[2, 1]), 1).expect_err("refused");
        assert!(holds.contains("t-0") && holds.contains("weir partition reassign t"), "{holds}");
        let unknown = refuse_in_use(&state(true, &[2]), 7).expect_err("refused");
        assert!(unknown.contains("weir broker list"), "{unknown}");
    }

    #[test]
    fn the_share_of_a_broker_is_counted() {
        let expected = Share { leaders: 0, preferred_leaders: 1, replicas: 1, out_of_sync: 1 };
        assert_eq!(share(&state(false, &[1, 2]), 1), expected);
        assert_eq!(share(&state(false, &[2]), 1), Share::default());
    }
}
