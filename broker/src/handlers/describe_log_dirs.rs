//! DescribeLogDirs (key 35, KIP-113): what lies in each log dir, how large it is, and how much room is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::log_dirs::Dir;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DescribeLogDirsRequest,
) -> Reply<DescribeLogDirsResponse> {
    if !cx.allowed(Operation::Describe, Resource::CLUSTER) {
        let error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return Reply::Now(DescribeLogDirsResponse { error_code, ..Default::default() });
    }
    let mut response = DescribeLogDirsResponse::default();
    for dir in broker.log_dirs.all() {
        response.results.push(describe(&broker, &request, dir).await);
    }
    Reply::Now(response)
}

async fn describe(broker: &Broker, request: &DescribeLogDirsRequest, dir: &Dir) -> DescribeLogDirsResult {
    let mut result = DescribeLogDirsResult {
        log_dir: Str::from(dir.files.path().to_string_lossy().into_owned()),
        ..Default::default()
    };
    if dir.is_offline() {
        result.error_code = ErrorCode::KafkaStorageError.code();
        return result;
    }
    let path = dir.files.path().to_owned();
    // A dir that was removed under the process has no room; the next write tells.
    if let Ok(Ok((total, usable))) = dir.disk.read(move |fs| fs.room_bytes(&path)).await {
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        (result.total_bytes, result.usable_bytes) = (bytes(total), bytes(usable));
    }
    let is_asked = |topic: &str, partition: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|t| t.topic == *topic && t.partitions.contains(&partition)),
    };
    let mut topics: BTreeMap<Str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in broker.replicas.all() {
        if partition.log_dir != dir.files.path() || !is_asked(&partition.topic, partition.id.partition) {
            continue;
        }
        let offsets = partition.offsets();
        topics.entry(partition.topic.clone()).or_default().push(DescribeLogDirsPartition {
            partition_index: partition.id.partition,
            partition_size: i64::try_from(partition.measure().log.size_bytes).unwrap_or(i64::MAX),
            // How far this log is behind what is committed.
            offset_lag: (offsets.high_watermark.0 - offsets.log_end.0).max(0),
            is_future_key: false,
        });
    }
    let topic = |(name, mut partitions): (Str, Vec<DescribeLogDirsPartition>)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic { name, partitions }
    };
    result.topics = topics.into_iter().map(topic).collect();
    result
}
