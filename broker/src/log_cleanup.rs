//! Deletes what logs need not keep any more: every `log.retention.check.interval.ms`, and at once when room becomes short in
//! a log dir; one log after another.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::deleted_files;

/// Runs as long as the broker.
pub(crate) async fn run(broker: Arc<Broker>) {
    let server = &broker.config.server;
    let pause = |name: &str| Duration::from_millis(u64::try_from(server.long(name)).unwrap_or(0));
    broker.host.clock().sleep(pause("log.initial.task.delay.ms")).await;
    loop {
        clean_up(&broker).await;
        // Cancellation is safe: what is waited for is only a reason to come earlier.
        let wait = pause("log.retention.check.interval.ms");
        let _ = broker.host.clock().timeout(wait, broker.log_dirs.became_short.notified()).await;
    }
}

async fn clean_up(broker: &Broker) {
    let image = broker.metadata.current();
    for partition in broker.replicas.all() {
        let settings = partition.settings(&image, &broker.config.server, broker.config.node_id);
        let delay = settings.file_delete_delay;
        let cleaned = partition.clean_up(settings, broker.host.clock().wall_ms()).await;
        deleted_files::remove_later(&broker.host, &broker.log_dirs, &partition, delay);
        match cleaned {
            Ok(0) => {}
            Ok(segments) => {
                let log_start = partition.offsets().log_start;
                let (topic, index) = (&partition.topic, partition.id.partition);
                tracing::info!(%topic, partition = index, segments, %log_start, "old segments deleted");
            }
            Err(error) => broker.log_dirs.log_failed(&partition, &error.to_string()),
        }
    }
}
