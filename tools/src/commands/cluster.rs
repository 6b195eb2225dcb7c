//! `weir cluster`: describe, quorum, features, log directories, and the metadata log as Kafka's files.

use std::collections::BTreeMap;

use metadata::MetadataVersion;
use metadata::features::METADATA_VERSION;
use protocol::ids::METADATA_TOPIC;
use protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use protocol::messages::describe_quorum_response::ReplicaState;
use protocol::messages::{
    ApiVersionsResponse, DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest,
    DescribeQuorumResponse,
};
use protocol::{ErrorCode, Str};
use serde_json::Value;

use crate::advice;
use crate::cli::ClusterCommand;
use crate::client::{Client, in_words, told};
use crate::output::Output;
use crate::patience::Patience;

mod dump_metadata;
mod rolling_restart;

/// Runs the command and returns what it shows.
pub async fn run(client: Client, patience: Patience, command: ClusterCommand) -> Result<Output, String> {
    match command {
        ClusterCommand::Describe => describe(&client).await,
        ClusterCommand::Quorum => quorum(&client).await,
        ClusterCommand::Features => features(&client).await,
        ClusterCommand::LogDirs { brokers, partitions, topics } => {
            log_dirs(&client, &brokers, partitions, &topics).await
        }
        ClusterCommand::RollingRestart(args) => rolling_restart::run(&client, patience, &args).await,
        ClusterCommand::DumpMetadata { directory, controller } => {
            dump_metadata::run(&client, directory, controller).await
        }
    }
}

async fn describe(client: &Client) -> Result<Output, String> {
    client.metadata(Some(&[])).await?; // Where the brokers are.
    let request = DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() };
    let answer = client.call(&request).await?;
    told("the cluster", answer.error_code, answer.error_message.as_ref())?;
    let mut rows = Vec::new();
    let mut finalized = Value::Null;
    let mut unreached = Vec::new();
    for b in &answer.brokers {
        let mut supported = Value::Null;
        if !b.is_fenced {
            match versions_of(client, b.broker_id).await {
                Ok(versions) => {
                    supported = newest_version(&versions);
                    let level = versions.finalized_features.iter().find(|f| f.name == *METADATA_VERSION);
                    finalized = level.map_or(finalized, |f| metadata_version(f.max_version_level));
                }
                Err(why) => unreached.push(why),
            }
        }
        rows.push(vec![
            b.broker_id.into(),
            format!("{}:{}", b.host, b.port).into(),
            b.rack.as_deref().into(),
            b.is_fenced.into(),
            supported,
        ]);
    }
    let controller = if answer.controller_id < 0 { Value::Null } else { answer.controller_id.into() };
    let facts = vec![
        ("cluster_id", answer.cluster_id.as_str().into()),
        ("controller", controller),
        ("metadata_version", finalized),
    ];
    let mut output =
        Output::about("brokers", facts, &["broker", "address", "rack", "fenced", "newest_version"]);
    rows.into_iter().for_each(|row| output.row(row));
    unreached.into_iter().for_each(|why| output.failure(why));
    Ok(output)
}

/// The newest metadata version that a broker supports.
pub(super) fn newest_version(versions: &ApiVersionsResponse) -> Value {
    let feature = versions.supported_features.iter().find(|f| f.name == *METADATA_VERSION);
    feature.map_or(Value::Null, |f| metadata_version(f.max_version))
}

pub(super) async fn versions_of(client: &Client, broker: i32) -> Result<ApiVersionsResponse, String> {
    let session = client.broker(broker)?.session().await.map_err(|e| in_words(e.into()))?;
    Ok(session.api_versions().clone())
}

/// `4.3-IV0`, or the number of a level that we do not know.
fn metadata_version(level: i16) -> Value {
    match MetadataVersion::from_level(level) {
        Some(version) => version.name().into(),
        None => level.into(),
    }
}

/// What the active controller says of the quorum.
pub(super) async fn ask_quorum(client: &Client) -> Result<DescribeQuorumResponse, String> {
    let partition = PartitionData { partition_index: 0, ..Default::default() };
    let topic = TopicData {
        topic_name: Str::from_static(METADATA_TOPIC),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let answer = client.cluster.call_any(&request, true).await.map_err(in_words)?;
    told("the quorum", answer.error_code, answer.error_message.as_ref())?;
    let partition = answer.topics.first().and_then(|t| t.partitions.first());
    let partition = partition.ok_or("the broker did not answer for the quorum")?;
    told("the quorum", partition.error_code, partition.error_message.as_ref())?;
    Ok(answer)
}

async fn quorum(client: &Client) -> Result<Output, String> {
    let answer = ask_quorum(client).await?;
    let partition = answer.topics.first().and_then(|t| t.partitions.first());
    let partition = partition.ok_or("the broker did not answer for the quorum")?;
    let addresses: BTreeMap<i32, Vec<String>> = answer
        .nodes
        .iter()
        .map(|n| (n.node_id, n.listeners.iter().map(|l| format!("{}:{}", l.host, l.port)).collect()))
        .collect();
    let end = partition.current_voters.iter().map(|v| v.log_end_offset).max().unwrap_or(-1);
    let facts = vec![
        ("leader", partition.leader_id.into()),
        ("leader_epoch", partition.leader_epoch.into()),
        ("high_watermark", partition.high_watermark.into()),
        ("voters", partition.current_voters.len().into()),
    ];
    let columns = [
        "node",
        "role",
        "address",
        "log_end_offset",
        "lag",
        "caught_up_ms_ago",
        "directory_id",
        "last_fetch_ms",
    ];
    let mut output = Output::about("nodes", facts, &columns).only_in_json(2);
    let now_ms = client.host.clock().wall_ms();
    let mut add = |replica: &ReplicaState, role: &str| {
        let known = |ms: i64| (ms >= 0).then_some(ms);
        let caught_up = known(replica.last_caught_up_timestamp).map(|ms| (now_ms - ms).max(0));
        output.row(vec![
            replica.replica_id.into(),
            role.into(),
            addresses.get(&replica.replica_id).cloned().unwrap_or_default().into(),
            replica.log_end_offset.into(),
            (end - replica.log_end_offset).max(0).into(),
            caught_up.into(),
            replica.replica_directory_id.to_string().into(),
            known(replica.last_fetch_timestamp).into(),
        ]);
    };
    for voter in &partition.current_voters {
        add(voter, if voter.replica_id == partition.leader_id { "leader" } else { "follower" });
    }
    partition.observers.iter().for_each(|observer| add(observer, "observer"));
    Ok(output)
}

async fn features(client: &Client) -> Result<Output, String> {
    let brokers: Vec<i32> = client.metadata(Some(&[])).await?.brokers.iter().map(|b| b.node_id).collect();
    let broker = *brokers.first().ok_or("no broker is alive")?;
    let versions = versions_of(client, broker).await?;
    let facts = vec![("epoch", versions.finalized_features_epoch.into())];
    let columns = ["feature", "finalized", "supported_min", "supported_max"];
    let mut output = Output::about("features", facts, &columns);
    let mut supported: Vec<_> = versions.supported_features.iter().collect();
    supported.sort_by(|a, b| a.name.cmp(&b.name));
    for f in supported {
        let finalized = versions.finalized_features.iter().find(|level| level.name == f.name);
        // What is supported and not finalized is at level 0: off.
        let level = finalized.map_or(0, |level| level.max_version_level);
        let shown = |level: i16| match &f.name {
            name if **name == *METADATA_VERSION => metadata_version(level),
            _ => level.into(),
        };
        output.row(vec![f.name.as_str().into(), shown(level), shown(f.min_version), shown(f.max_version)]);
    }
    Ok(output)
}

async fn log_dirs(
    client: &Client,
    only: &[i32],
    partitions: bool,
    topics: &[String],
) -> Result<Output, String> {
    let known: Vec<i32> = client.metadata(Some(&[])).await?.brokers.iter().map(|b| b.node_id).collect();
    let brokers = if only.is_empty() { known } else { only.to_vec() };
    let mut output = if partitions {
        Output::new(&["broker", "log_dir", "topic", "partition", "size_bytes", "offset_lag", "future"])
    } else {
        Output::new(LOG_DIR_COLUMNS)
    };
    for broker in brokers {
        for dir in log_dirs_of(client, broker).await? {
            let error = ErrorCode::from_code(dir.error_code);
            if error != ErrorCode::None {
                output.failure(advice::sentence(&format!("{} of broker {broker}", dir.log_dir), error, None));
            }
            if partitions {
                add_partitions(&mut output, broker, &dir, topics);
            } else {
                output.row(sums(broker, &dir));
            }
        }
    }
    Ok(output)
}

pub(super) const LOG_DIR_COLUMNS: &[&str] =
    &["broker", "log_dir", "partitions", "size_bytes", "usable_bytes", "total_bytes", "error"];

pub(super) async fn log_dirs_of(client: &Client, broker: i32) -> Result<Vec<DescribeLogDirsResult>, String> {
    let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
    let answer = client.call_broker(broker, &request).await?;
    told(&format!("the log directories of broker {broker}"), answer.error_code, None)?;
    Ok(answer.results)
}

/// A row of `LOG_DIR_COLUMNS`.
pub(super) fn sums(broker: i32, dir: &DescribeLogDirsResult) -> Vec<Value> {
    let error = ErrorCode::from_code(dir.error_code);
    let all = || dir.topics.iter().flat_map(|t| &t.partitions);
    let known = |bytes: i64| (bytes >= 0).then_some(bytes);
    vec![
        broker.into(),
        dir.log_dir.as_str().into(),
        all().count().into(),
        all().map(|p| p.partition_size).sum::<i64>().into(),
        known(dir.usable_bytes).into(),
        known(dir.total_bytes).into(),
        (error != ErrorCode::None).then(|| error.to_string()).into(),
    ]
}

fn add_partitions(output: &mut Output, broker: i32, dir: &DescribeLogDirsResult, topics: &[String]) {
    let mut shown: Vec<_> = dir
        .topics
        .iter()
        .filter(|t| topics.is_empty() || topics.iter().any(|name| t.name == *name.as_str()))
        .flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)))
        .collect();
    shown.sort_by_key(|(topic, p)| ((*topic).clone(), p.partition_index));
    for (topic, p) in shown {
        output.row(vec![
            broker.into(),
            dir.log_dir.as_str().into(),
            topic.as_str().into(),
            p.partition_index.into(),
            p.partition_size.into(),
            p.offset_lag.into(),
            p.is_future_key.into(),
        ]);
    }
}
