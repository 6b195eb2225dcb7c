//! Where the records of topics begin and end, and the deletion of those before an offset.

use std::collections::BTreeMap;

use protocol::Str;
use protocol::messages::DeleteRecordsRequest;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use serde_json::Value;
use wire::client::{ClusterError, NamedPartition};

use crate::client::{Client, in_words, told};
use crate::moment;
use crate::output::Output;

/// Special timestamps of ListOffsets.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

/// DeleteRecords takes this for the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// Deletes what lies before an offset, in some partitions or in all.
pub(super) async fn delete(
    client: &Client,
    name: &str,
    before: &str,
    partitions: &[i32],
) -> Result<Output, String> {
    let offset = match (before, before.parse::<i64>()) {
        ("latest", _) => UP_TO_HIGH_WATERMARK,
        (_, Ok(offset)) if offset >= 0 => offset,
        _ => return Err(format!("--before {before:?} is no offset; 0, 42 and latest are")),
    };
    let topic = client.topic(name).await?;
    let all = || topic.partitions.iter().map(|p| p.partition_index).collect();
    let wanted: Vec<i32> = if partitions.is_empty() { all() } else { partitions.to_vec() };
    let keys: Vec<NamedPartition> = wanted.iter().map(|p| (Str::from(name), *p)).collect();
    let mut answers: BTreeMap<NamedPartition, Result<i64, ClusterError>> = BTreeMap::new();
    let by_leader = client.cluster.by_leader(keys, false, &mut answers).await;
    let mut output = Output::new(&["topic", "partition", "log_start_offset"]);
    for (leader, asked) in by_leader.into_values() {
        let partition = |(_, index): &NamedPartition| DeleteRecordsPartition {
            partition_index: *index,
            offset,
            ..Default::default()
        };
        let topic = DeleteRecordsTopic {
            name: Str::from(name),
            partitions: asked.iter().map(partition).collect(),
            ..Default::default()
        };
        let request = DeleteRecordsRequest {
            topics: vec![topic],
            timeout_ms: client.timeout_ms(),
            ..Default::default()
        };
        let answer = leader.node.call(&request).await.map_err(|e| in_words(e.into()))?;
        for p in answer.topics.iter().flat_map(|t| &t.partitions) {
            match told(&format!("{name}-{}", p.partition_index), p.error_code, None) {
                Ok(()) => output.row(vec![name.into(), p.partition_index.into(), p.low_watermark.into()]),
                Err(why) => output.failure(why),
            }
        }
    }
    for error in answers.into_values().filter_map(Result::err) {
        output.failure(in_words(error));
    }
    Ok(output)
}

/// The offsets of every partition; with `at`, where that place is too.
pub(super) async fn offsets(client: &Client, names: &[String], at: Option<&str>) -> Result<Output, String> {
    let at = at.map(timestamp).transpose()?;
    let topics = client.topics(names).await?;
    let keys: Vec<NamedPartition> = topics
        .iter()
        .flat_map(|t| {
            let name = t.name.clone().unwrap_or_default();
            t.partitions.iter().map(move |p| (name.clone(), p.partition_index))
        })
        .collect();
    let mut earliest = client.cluster.offsets_for(keys.clone(), EARLIEST).await;
    let mut latest = client.cluster.offsets_for(keys.clone(), LATEST).await;
    let mut there = match at {
        Some(timestamp) => client.cluster.offsets_for(keys.clone(), timestamp).await,
        None => BTreeMap::new(),
    };
    let mut columns = vec!["topic", "partition", "earliest", "latest", "offsets"];
    columns.extend(at.map(|_| "at"));
    let mut output = Output::new(&columns);
    for key in keys {
        let mut take =
            |from: &mut BTreeMap<NamedPartition, Result<i64, ClusterError>>| match from.remove(&key) {
                Some(Ok(offset)) => Some(offset),
                Some(Err(error)) => {
                    output.failure(in_words(error));
                    None
                }
                None => None,
            };
        let (first, end) = (take(&mut earliest), take(&mut latest));
        let there = at.map(|_| take(&mut there).filter(|offset| *offset >= 0));
        let count = first.zip(end).map(|(first, end)| end - first);
        let mut row: Vec<Value> =
            vec![key.0.as_str().into(), key.1.into(), first.into(), end.into(), count.into()];
        row.extend(there.map(Value::from));
        output.row(row);
    }
    Ok(output)
}

/// A place in a log as ListOffsets takes it.
pub fn timestamp(text: &str) -> Result<i64, String> {
    Ok(match text {
        "earliest" | "beginning" => EARLIEST,
        "latest" | "end" => LATEST,
        "max-timestamp" => MAX_TIMESTAMP,
        text => moment::time_ms(text)?,
    })
}
