//! `weir partition`: list, elect, reassign.

use std::collections::BTreeSet;

use protocol::Str;
use protocol::messages::ElectLeadersRequest;
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::{ErrorCode, messages::elect_leaders_response::PartitionResult};
use wire::client::NamedPartition;

use crate::cli::{ElectArgs, ElectionType, PartitionCommand, PartitionListArgs};
use crate::client::{Client, in_words, told, topic_and_partitions};
use crate::cluster_state::{ClusterState, PartitionState};
use crate::output::Output;
use crate::patience::Patience;

mod reassign;

/// Runs the command and returns what it shows.
pub async fn run(client: Client, patience: Patience, command: PartitionCommand) -> Result<Output, String> {
    match command {
        PartitionCommand::List(args) => list(&client, &args).await,
        PartitionCommand::Elect(args) => elect(&client, &args).await,
        PartitionCommand::Reassign(args) => reassign::run(&client, patience, &args).await,
    }
}

/// The partitions that are named, of these topics only; all of them if none is named.
async fn read(client: &Client, named: &[String]) -> Result<ClusterState, String> {
    let wanted: Vec<(String, Option<Vec<i32>>)> =
        named.iter().map(|text| topic_and_partitions(text)).collect::<Result<_, _>>()?;
    let topics: BTreeSet<&String> = wanted.iter().map(|(topic, _)| topic).collect();
    let topics: Vec<String> = topics.into_iter().cloned().collect();
    let names = (!named.is_empty()).then_some(topics.as_slice());
    let mut state = ClusterState::read(client, names, None).await?;
    for (topic, partitions) in &wanted {
        let absent = partitions.iter().flatten().find(|index| state.partition(topic, **index).is_none());
        if let Some(absent) = absent {
            return Err(format!(
                "topic {topic} has no partition {absent}; `weir topic describe {topic}` shows those that it has"
            ));
        }
    }
    let is_wanted = |p: &PartitionState| {
        let names = |(topic, partitions): &(String, Option<Vec<i32>>)| {
            p.topic == *topic.as_str() && partitions.as_ref().is_none_or(|all| all.contains(&p.index))
        };
        wanted.is_empty() || wanted.iter().any(names)
    };
    state.partitions.retain(is_wanted);
    Ok(state)
}

async fn list(client: &Client, args: &PartitionListArgs) -> Result<Output, String> {
    let mut state = read(client, &args.topics).await?;
    state.add_reassignments(client).await?;
    let columns = [
        "topic",
        "partition",
        "leader",
        "replicas",
        "isr",
        "min_insync_replicas",
        "state",
        "adding_replicas",
        "removing_replicas",
    ];
    let mut output = Output::new(&columns).only_in_json(2);
    for p in state.partitions.iter().filter(|p| is_shown(args, p)) {
        let moving = if p.adding.is_empty() && p.removing.is_empty() { "" } else { ",reassigning" };
        output.row(vec![
            p.topic.as_str().into(),
            p.index.into(),
            p.leader.into(),
            p.replicas.clone().into(),
            p.isr.clone().into(),
            p.min_isr.into(),
            format!("{}{moving}", p.word()).into(),
            p.adding.clone().into(),
            p.removing.clone().into(),
        ]);
    }
    Ok(output)
}

fn is_shown(args: &PartitionListArgs, p: &PartitionState) -> bool {
    match args {
        PartitionListArgs { under_replicated: true, .. } => p.is_under_replicated(),
        PartitionListArgs { under_min_isr: true, .. } => p.is_under_min_isr(),
        PartitionListArgs { at_min_isr: true, .. } => p.is_at_min_isr(),
        PartitionListArgs { unavailable: true, .. } => !p.is_available(),
        _ => true,
    }
}

async fn elect(client: &Client, args: &ElectArgs) -> Result<Output, String> {
    let wanted: Option<Vec<NamedPartition>> = match (&args.file, args.all) {
        (Some(path), _) => Some(reassign::file::partitions(&reassign::file::read(client, path).await?)?),
        (None, true) => None,
        (None, false) => {
            Some(read(client, &args.topics).await?.partitions.iter().map(PartitionState::key).collect())
        }
    };
    let election_type = match args.election {
        ElectionType::Preferred => 0,
        ElectionType::Unclean => 1,
    };
    let request = ElectLeadersRequest {
        election_type,
        topic_partitions: wanted.map(|wanted| by_topic(&wanted)),
        timeout_ms: client.timeout_ms(),
        ..Default::default()
    };
    // Whoever is elected twice leads once.
    let answer = client.cluster.call_any(&request, true).await.map_err(in_words)?;
    told("no leader was elected", answer.error_code, None)?;
    let mut output = Output::new(&["topic", "partition", "result"]);
    for topic in &answer.replica_election_results {
        let mut partitions: Vec<_> = topic.partition_result.iter().collect();
        partitions.sort_by_key(|p| p.partition_id);
        for p in partitions {
            let (word, failure) = election_result(&topic.topic, p);
            output.row(vec![topic.topic.as_str().into(), p.partition_id.into(), word.into()]);
            failure.into_iter().for_each(|failure| output.failure(failure));
        }
    }
    if output.is_empty() {
        output.note("every partition has the leader that it should have");
    }
    Ok(output)
}

fn election_result(topic: &str, result: &PartitionResult) -> (&'static str, Option<String>) {
    match ErrorCode::from_code(result.error_code) {
        ErrorCode::None => ("elected", None),
        ErrorCode::ElectionNotNeeded => ("not needed", None),
        _ => {
            let what = format!("partition {topic}-{}", result.partition_id);
            ("failed", told(&what, result.error_code, result.error_message.as_ref()).err())
        }
    }
}

fn by_topic(wanted: &[NamedPartition]) -> Vec<TopicPartitions> {
    let mut topics: std::collections::BTreeMap<Str, Vec<i32>> = Default::default();
    for (topic, index) in wanted {
        topics.entry(topic.clone()).or_default().push(*index);
    }
    let topic = |(topic, partitions)| TopicPartitions { topic, partitions, ..Default::default() };
    topics.into_iter().map(topic).collect()
}
