//! The server configs that groups follow.

use protocol::config::Configs;

use crate::consumer::ConsumerSettings;
use crate::consumer::assignor::Assignor;

/// See the module. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    pub size_max: usize,
    pub initial_rebalance_delay_ms: i64,
    pub metadata_bytes_max: usize,
    pub retention_ms: i64,
    pub retention_check_interval_ms: i64,
    /// What the entries of one operation may take: they stand in one batch.
    pub batch_bytes_max: usize,
    /// Of consumer groups without settings of their own.
    pub consumer: ConsumerSettings,
    pub consumer_size_max: usize,
    /// The first is the default.
    pub consumer_assignors: Vec<Assignor>,
}

impl GroupConfig {
    /// `batch_bytes_max`: what the internal topic takes as one batch.
    pub fn new(server: &Configs, batch_bytes_max: usize) -> GroupConfig {
        const BATCH_OVERHEAD_BYTES: usize = 128;
        GroupConfig {
            session_timeout_ms_min: server.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: server.int("group.max.session.timeout.ms"),
            size_max: usize::try_from(server.int("group.max.size")).unwrap_or(usize::MAX),
            initial_rebalance_delay_ms: i64::from(server.int("group.initial.rebalance.delay.ms")),
            metadata_bytes_max: usize::try_from(server.int("offset.metadata.max.bytes"))
                .unwrap_or(usize::MAX),
            retention_ms: i64::from(server.int("offsets.retention.minutes")) * 60_000,
            retention_check_interval_ms: server.long("offsets.retention.check.interval.ms"),
            batch_bytes_max: batch_bytes_max.saturating_sub(BATCH_OVERHEAD_BYTES),
            consumer: ConsumerSettings {
                session_timeout_ms: server.int("group.consumer.session.timeout.ms"),
                heartbeat_interval_ms: server.int("group.consumer.heartbeat.interval.ms"),
                assignment_interval_ms: server.int("group.consumer.assignment.interval.ms"),
            },
            consumer_size_max: usize::try_from(server.int("group.consumer.max.size")).unwrap_or(usize::MAX),
            consumer_assignors: server
                .list("group.consumer.assignors")
                .iter()
                .filter_map(|name| Assignor::named(name))
                .collect(),
        }
    }
}
