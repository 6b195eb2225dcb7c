//! `weir topic`: create, list, describe, alter, delete; records deleted, offsets shown.

use std::collections::BTreeMap;

use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest,
};
use protocol::{ErrorCode, Str};
use serde_json::Value;
use wire::client::{CallError, ClusterError};

use crate::cli::TopicCommand;
use crate::client::{Client, in_words, told};
use crate::output::Output;

mod records;

pub use records::{EARLIEST, LATEST, timestamp};

/// Runs the command and returns what it shows.
pub async fn run(client: Client, command: TopicCommand) -> Result<Output, String> {
    match command {
        TopicCommand::Create { name, partitions, replication_factor, configs } => {
            create(&client, &name, partitions.unwrap_or(-1), replication_factor.unwrap_or(-1), &configs).await
        }
        TopicCommand::List { internal } => list(&client, internal).await,
        TopicCommand::Describe { names, under_replicated, unavailable } => {
            describe(&client, &names, Filter { under_replicated, unavailable }).await
        }
        TopicCommand::Alter { name, partitions } => alter(&client, &name, partitions).await,
        TopicCommand::Delete { names } => delete(&client, &names).await,
        TopicCommand::DeleteRecords { name, before, partitions } => {
            records::delete(&client, &name, &before, &partitions).await
        }
        TopicCommand::Offsets { names, at } => records::offsets(&client, &names, at.as_deref()).await,
    }
}

async fn create(
    client: &Client,
    name: &str,
    partitions: i32,
    replicas: i16,
    configs: &[String],
) -> Result<Output, String> {
    let config = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("--config wants name=value, not {text:?}"))?;
        Ok(CreatableTopicConfig {
            name: Str::from(name.trim()),
            value: Some(Str::from(value.trim())),
            ..Default::default()
        })
    };
    let topic = CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: replicas,
        configs: configs.iter().map(config).collect::<Result<_, String>>()?,
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: client.timeout_ms(), ..Default::default() };
    let response = client.call(&request).await?;
    let mut output = Output::new(&["topic", "id", "partitions", "replication_factor"]);
    for t in &response.topics {
        told(&format!("topic {} was not created", t.name), t.error_code, t.error_message.as_ref())?;
        output.row(vec![
            t.name.to_string().into(),
            t.topic_id.to_string().into(),
            t.num_partitions.into(),
            t.replication_factor.into(),
        ]);
    }
    Ok(output)
}

async fn list(client: &Client, internal: bool) -> Result<Output, String> {
    let metadata = client.metadata(None).await?;
    let mut topics: Vec<_> = metadata.topics.iter().filter(|t| internal || !t.is_internal).collect();
    topics.sort_by_key(|t| t.name.clone());
    let mut output = Output::new(&["topic", "id", "partitions", "replication_factor"]);
    for t in topics {
        let replicas = t.partitions.iter().map(|p| p.replica_nodes.len()).max().unwrap_or(0);
        output.row(vec![
            t.name.as_deref().unwrap_or_default().into(),
            t.topic_id.to_string().into(),
            t.partitions.len().into(),
            replicas.into(),
        ]);
    }
    Ok(output)
}

/// Which partitions are shown. Without a mark: all.
#[derive(Clone, Copy)]
struct Filter {
    under_replicated: bool,
    unavailable: bool,
}

async fn describe(client: &Client, names: &[String], filter: Filter) -> Result<Output, String> {
    let metadata = client.metadata(if names.is_empty() { None } else { Some(names) }).await?;
    let mut topics = metadata.topics;
    topics.sort_by_key(|t| t.name.clone());
    for t in &topics {
        let name = t.name.as_deref().unwrap_or_default();
        if ErrorCode::from_code(t.error_code) == ErrorCode::UnknownTopicOrPartition {
            return Err(format!("topic {name} does not exist; `weir topic list` shows those that do"));
        }
        told(&format!("topic {name}"), t.error_code, None)?;
    }
    let elrs = eligible_leaders(client, topics.iter().filter_map(|t| t.name.clone()).collect()).await?;
    let columns = [
        "topic",
        "partition",
        "leader",
        "leader_epoch",
        "replicas",
        "isr",
        "elr",
        "last_known_elr",
        "offline",
    ];
    let mut output = Output::new(&columns);
    for t in &topics {
        let name = t.name.clone().unwrap_or_default();
        let mut partitions: Vec<_> = t.partitions.iter().collect();
        partitions.sort_by_key(|p| p.partition_index);
        for p in partitions {
            let is_under_replicated = p.isr_nodes.len() < p.replica_nodes.len();
            if filter.under_replicated && !is_under_replicated || filter.unavailable && p.leader_id >= 0 {
                continue;
            }
            let (elr, last_known) = elrs.get(&(name.clone(), p.partition_index)).cloned().unwrap_or_default();
            output.row(vec![
                name.as_str().into(),
                p.partition_index.into(),
                if p.leader_id < 0 { Value::Null } else { p.leader_id.into() },
                p.leader_epoch.into(),
                p.replica_nodes.clone().into(),
                p.isr_nodes.clone().into(),
                elr.into(),
                last_known.into(),
                p.offline_replicas.clone().into(),
            ]);
        }
    }
    Ok(output)
}

type EligibleLeaders = BTreeMap<(Str, i32), (Vec<i32>, Vec<i32>)>;

/// Who may lead a partition whose ISR is empty (KIP-966), and who led it last. Nothing where the brokers do not tell.
async fn eligible_leaders(client: &Client, mut names: Vec<Str>) -> Result<EligibleLeaders, String> {
    names.sort_unstable();
    let mut found = BTreeMap::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        // What lies before the cursor is not asked for again, as Kafka's own client does.
        let from = cursor.as_ref().map_or(0, |c| names.partition_point(|name| *name < c.topic_name));
        let topics =
            names[from..].iter().map(|name| TopicRequest { name: name.clone(), ..Default::default() });
        let request = DescribeTopicPartitionsRequest {
            topics: topics.collect(),
            cursor: cursor.take(),
            ..Default::default()
        };
        let answer = match client.cluster.call_any(&request, true).await {
            Err(ClusterError::Call(CallError::NoVersion { .. })) => return Ok(found),
            answer => answer.map_err(in_words)?,
        };
        for topic in answer.topics {
            let name = topic.name.unwrap_or_default().detached();
            for p in topic.partitions {
                let elr = p.eligible_leader_replicas.unwrap_or_default();
                found.insert((name.clone(), p.partition_index), (elr, p.last_known_elr.unwrap_or_default()));
            }
        }
        let Some(next) = answer.next_cursor else { return Ok(found) };
        cursor = Some(Cursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
            ..Default::default()
        });
    }
}

async fn alter(client: &Client, name: &str, partitions: i32) -> Result<Output, String> {
    let topic = CreatePartitionsTopic { name: Str::from(name), count: partitions, ..Default::default() };
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { assignments: None, ..topic }],
        timeout_ms: client.timeout_ms(),
        ..Default::default()
    };
    let response = client.call(&request).await?;
    let mut output = Output::new(&["topic", "partitions"]);
    for t in &response.results {
        told(&format!("topic {} was not altered", t.name), t.error_code, t.error_message.as_ref())?;
        output.row(vec![t.name.as_str().into(), partitions.into()]);
    }
    Ok(output)
}

async fn delete(client: &Client, names: &[String]) -> Result<Output, String> {
    let state =
        |name: &String| DeleteTopicState { name: Some(Str::from(name.as_str())), ..Default::default() };
    let request = DeleteTopicsRequest {
        topics: names.iter().map(state).collect(),
        topic_names: names.iter().map(|n| Str::from(n.as_str())).collect(),
        timeout_ms: client.timeout_ms(),
        ..Default::default()
    };
    let response = client.call(&request).await?;
    let mut output = Output::new(&["topic", "deleted"]);
    for t in &response.responses {
        let name = t.name.as_deref().unwrap_or_default();
        let what = format!("topic {name} was not deleted");
        match told(&what, t.error_code, t.error_message.as_ref()) {
            Ok(()) => output.row(vec![name.into(), true.into()]),
            Err(why) => {
                output.row(vec![name.into(), false.into()]);
                output.failure(why);
            }
        }
    }
    Ok(output)
}
