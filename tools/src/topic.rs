//! `weir topic`: create, list, describe, delete.

use std::time::Duration;

use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use protocol::{ErrorCode, Str};
use serde_json::Value;

use crate::cli::{TopicArgs, TopicCommand};
use crate::cluster::{Cluster, told};
use crate::output::Output;

/// Runs the command and returns what it shows.
pub async fn run(cluster: Cluster, args: TopicArgs) -> Result<Output, String> {
    match args.command {
        TopicCommand::Create { name, partitions, replication_factor, configs } => {
            create(&cluster, &name, partitions.unwrap_or(-1), replication_factor.unwrap_or(-1), &configs)
                .await
        }
        TopicCommand::List { internal } => list(&cluster, internal).await,
        TopicCommand::Describe { names } => describe(&cluster, &names).await,
        TopicCommand::Delete { names } => delete(&cluster, &names).await,
    }
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

async fn create(
    cluster: &Cluster,
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
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: millis(cluster.timeout),
        ..Default::default()
    };
    let response = cluster.call(&request).await?;
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

async fn list(cluster: &Cluster, internal: bool) -> Result<Output, String> {
    let metadata = cluster.metadata(None).await?;
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

async fn describe(cluster: &Cluster, names: &[String]) -> Result<Output, String> {
    let metadata = cluster.metadata(if names.is_empty() { None } else { Some(names) }).await?;
    let mut topics = metadata.topics;
    topics.sort_by_key(|t| t.name.clone());
    let mut output = Output::new(&["topic", "partition", "leader", "leader_epoch", "replicas", "isr"]);
    for t in &topics {
        let name = t.name.as_deref().unwrap_or_default();
        if ErrorCode::from_code(t.error_code) == ErrorCode::UnknownTopicOrPartition {
            return Err(format!("topic {name} does not exist; `weir topic list` shows those that do"));
        }
        told(&format!("topic {name}"), t.error_code, None)?;
        let mut partitions: Vec<_> = t.partitions.iter().collect();
        partitions.sort_by_key(|p| p.partition_index);
        for p in partitions {
            let leader = if p.leader_id < 0 { Value::Null } else { p.leader_id.into() };
            output.row(vec![
                name.into(),
                p.partition_index.into(),
                leader,
                p.leader_epoch.into(),
                p.replica_nodes.clone().into(),
                p.isr_nodes.clone().into(),
            ]);
        }
    }
    Ok(output)
}

async fn delete(cluster: &Cluster, names: &[String]) -> Result<Output, String> {
    let state =
        |name: &String| DeleteTopicState { name: Some(Str::from(name.as_str())), ..Default::default() };
    let request = DeleteTopicsRequest {
        topics: names.iter().map(state).collect(),
        topic_names: names.iter().map(|n| Str::from(n.as_str())).collect(),
        timeout_ms: millis(cluster.timeout),
        ..Default::default()
    };
    let response = cluster.call(&request).await?;
    let mut output = Output::new(&["topic", "deleted"]);
    for t in &response.responses {
        let name = t.name.as_deref().unwrap_or_default();
        told(&format!("topic {name} was not deleted"), t.error_code, t.error_message.as_ref())?;
        output.row(vec![name.into(), true.into()]);
    }
    Ok(output)
}
