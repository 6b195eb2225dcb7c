//! Writes down now and then what a start after a crash begins with: recovery points, log starts, high watermarks, each at its
//! own interval. Before the recovery points, finished segments are flushed: recovery reads what is behind them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host::Instant;
use protocol::bounds;
use storage::{CheckpointKind, LogCheckpoint};

use crate::broker::Broker;

/// What the files of all log dirs say, log by log.
pub(crate) type Checkpoints = BTreeMap<PathBuf, BTreeMap<(String, i32), LogCheckpoint>>;

fn interval_config(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::RecoveryPoint => "log.flush.offset.checkpoint.interval.ms",
        CheckpointKind::LogStart => "log.flush.start.offset.checkpoint.interval.ms",
        CheckpointKind::HighWatermark => "replica.high.watermark.checkpoint.interval.ms",
    }
}

/// Runs as long as the broker.
pub(crate) async fn run(broker: Arc<Broker>) {
    let interval = |kind: CheckpointKind| {
        let millis = u64::try_from(broker.config.server.long(interval_config(kind))).unwrap_or(0);
        Duration::from_millis(millis).max(bounds::CHECKPOINT_INTERVAL_MIN)
    };
    let now = broker.host.clock().now();
    let mut due: Vec<(Instant, CheckpointKind)> =
        CheckpointKind::ALL.iter().map(|kind| (now + interval(*kind), *kind)).collect();
    let mut last = BTreeMap::new();
    loop {
        let next = due.iter().map(|(at, _)| *at).min().expect("there are three kinds");
        broker.host.clock().sleep_until(next).await;
        let now = broker.host.clock().now();
        for (at, kind) in due.iter_mut().filter(|(at, _)| *at <= now) {
            write(&broker, *kind, &mut last).await;
            *at = now + interval(*kind);
        }
    }
}

/// Writes the files of one kind, unless they say the same already.
async fn write(broker: &Broker, kind: CheckpointKind, last: &mut BTreeMap<CheckpointKind, Vec<i64>>) {
    if kind == CheckpointKind::RecoveryPoint {
        for partition in broker.replicas.all() {
            if let Err(error) = partition.flush_finished().await {
                broker.log_dirs.log_failed(&partition, &error.to_string());
            }
        }
    }
    let now = broker.replicas.checkpoints();
    let values: Vec<i64> = now.values().flat_map(|logs| logs.values().map(|log| kind.of(log))).collect();
    if last.get(&kind) != Some(&values) {
        broker.log_dirs.write_checkpoints(&now, &[kind]).await;
        last.insert(kind, values);
    }
}
