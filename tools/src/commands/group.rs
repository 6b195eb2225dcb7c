//! `weir group`: list, describe, reset offsets, delete, delete offsets.

use std::collections::BTreeMap;

use protocol::Str;
use protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use protocol::messages::{DeleteGroupsRequest, ListGroupsRequest, OffsetDeleteRequest};

use crate::cli::GroupCommand;
use crate::client::{Client, in_words, told, topic_and_partitions};
use crate::output::Output;

mod describe;
mod offsets;
mod reset;

/// Runs the command and returns what it shows.
pub async fn run(client: Client, command: GroupCommand) -> Result<Output, String> {
    match command {
        GroupCommand::List { types, states } => list(&client, &types, &states).await,
        GroupCommand::Describe { names, members, state } => {
            let names = if names.is_empty() { every_name(&client).await? } else { names };
            match (members, state) {
                (true, _) => describe::members(&client, &names).await,
                (_, true) => describe::states(&client, &names).await,
                _ => describe::offsets(&client, &names).await,
            }
        }
        GroupCommand::ResetOffsets(args) => reset::run(&client, args).await,
        GroupCommand::Delete { names } => delete(&client, &names).await,
        GroupCommand::DeleteOffsets { name, topics } => delete_offsets(&client, &name, &topics).await,
    }
}

/// A group as a broker lists it.
struct Listed {
    name: String,
    /// `classic`, `consumer` and so on; None from brokers that know only one kind.
    kind: Option<String>,
    protocol: String,
    state: Option<String>,
    coordinator: i32,
}

/// The groups of every broker, by name.
async fn listed(client: &Client, types: &[String], states: &[String]) -> Result<Vec<Listed>, String> {
    let brokers: Vec<i32> = client.metadata(Some(&[])).await?.brokers.iter().map(|b| b.node_id).collect();
    let texts = |all: &[String]| all.iter().map(|t| Str::from(t.as_str())).collect();
    let request =
        ListGroupsRequest { types_filter: texts(types), states_filter: texts(states), ..Default::default() };
    let mut found = Vec::new();
    for coordinator in brokers {
        let answer = client.call_broker(coordinator, &request).await?;
        told(&format!("the groups of broker {coordinator}"), answer.error_code, None)?;
        let known = |text: &Str| Some(text.to_string()).filter(|text| !text.is_empty());
        found.extend(answer.groups.iter().map(|g| Listed {
            name: g.group_id.to_string(),
            kind: known(&g.group_type),
            protocol: g.protocol_type.to_string(),
            state: known(&g.group_state),
            coordinator,
        }));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

async fn every_name(client: &Client) -> Result<Vec<String>, String> {
    Ok(listed(client, &[], &[]).await?.into_iter().map(|g| g.name).collect())
}

async fn list(client: &Client, types: &[String], states: &[String]) -> Result<Output, String> {
    let mut output = Output::new(&["group", "type", "protocol", "state", "coordinator"]);
    for g in listed(client, types, states).await? {
        output.row(vec![
            g.name.into(),
            g.kind.map(|kind| kind.to_lowercase()).into(),
            g.protocol.into(),
            g.state.into(),
            g.coordinator.into(),
        ]);
    }
    Ok(output)
}

async fn delete(client: &Client, names: &[String]) -> Result<Output, String> {
    let mut output = Output::new(&["group", "deleted"]);
    for name in names {
        let group = Str::from(name.as_str());
        let request = DeleteGroupsRequest { groups_names: vec![group.clone()], ..Default::default() };
        let code_of = |answer: &protocol::messages::DeleteGroupsResponse| {
            answer.results.first().map_or(0, |result| result.error_code)
        };
        let answer = client.cluster.call_coordinator(&group, &request, code_of).await.map_err(in_words)?;
        match told(&format!("group {name} was not deleted"), code_of(&answer), None) {
            Ok(()) => output.row(vec![name.as_str().into(), true.into()]),
            Err(why) => {
                output.row(vec![name.as_str().into(), false.into()]);
                output.failure(why);
            }
        }
    }
    Ok(output)
}

async fn delete_offsets(client: &Client, name: &str, topics: &[String]) -> Result<Output, String> {
    let mut wanted: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for text in topics {
        let (topic, partitions) = topic_and_partitions(text)?;
        let partitions = match partitions {
            Some(partitions) => partitions,
            None => client.topic(&topic).await?.partitions.iter().map(|p| p.partition_index).collect(),
        };
        wanted.entry(topic).or_default().extend(partitions);
    }
    let topic = |(name, partitions): (String, Vec<i32>)| OffsetDeleteRequestTopic {
        name: Str::from(name),
        partitions: partitions
            .into_iter()
            .map(|partition_index| OffsetDeleteRequestPartition { partition_index, ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let group = Str::from(name);
    let request = OffsetDeleteRequest {
        group_id: group.clone(),
        topics: wanted.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let answer = client.cluster.call_coordinator(&group, &request, |answer| answer.error_code).await;
    let answer = answer.map_err(in_words)?;
    told(&format!("group {name}"), answer.error_code, None)?;
    let mut output = Output::new(&["group", "topic", "partition", "deleted"]);
    for topic in &answer.topics {
        let mut partitions: Vec<_> = topic.partitions.iter().collect();
        partitions.sort_by_key(|p| p.partition_index);
        for p in partitions {
            let what = format!("the offset of {}-{}", topic.name, p.partition_index);
            let told = told(&what, p.error_code, None);
            let row =
                [name.into(), topic.name.as_str().into(), p.partition_index.into(), told.is_ok().into()];
            output.row(row.to_vec());
            if let Err(why) = told {
                output.failure(why);
            }
        }
    }
    Ok(output)
}
