//! The server configs that groups follow.

use protocol::config::Configs;

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
        }
    }
}
