//! Loading a shard: its whole log is replayed, batch by batch.

use coordinator::{Entry, Machine};
use protocol::batch::{Batch, batches};
use protocol::batch::{ControlRecord, ControlRecordType};
use protocol::bounds;
use protocol::ids::Offset;

use super::shard::Shard;

/// Why a shard's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Read(#[from] crate::partition::ReplayError),
    #[error("a batch cannot be read: {0}")]
    Batch(#[from] protocol::batch::BatchError),
    #[error("a control record cannot be read: {0}")]
    Control(#[from] protocol::DecodeError),
}

/// Replays everything, `buffer_bytes` at a time but at least a batch, and returns the end of it.
pub(super) async fn load(
    shard: &Shard,
    machine: &mut impl Machine,
    buffer_bytes: u64,
) -> Result<Offset, LoadError> {
    let mut position = shard.partition.offsets().log_start;
    loop {
        let bytes = shard.partition.replay_from(position, buffer_bytes).await?;
        let before = position;
        for batch in batches(bytes) {
            // The last one may be cut off: it comes whole with the next read.
            let Ok(batch) = batch else { break };
            if batch.header.last_offset() >= position {
                replay(machine, &batch)?;
            }
            position = position.max(batch.header.next_offset());
        }
        if position == before {
            return Ok(position);
        }
    }
}

fn replay(machine: &mut impl Machine, batch: &Batch) -> Result<(), LoadError> {
    let header = &batch.header;
    let producer_id = header.producer_id.0;
    if header.is_control() {
        for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX)? {
            let kind = ControlRecord::read(&record?)?.map(|control| control.kind());
            match kind {
                Some(ControlRecordType::Commit) => machine.replay_end_of_transaction(producer_id, true),
                Some(ControlRecordType::Abort) => machine.replay_end_of_transaction(producer_id, false),
                _ => {}
            }
        }
        return Ok(());
    }
    let transaction = header.is_transactional().then_some(producer_id);
    for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX)? {
        let record = record?;
        // Kafka writes none without a key.
        if let Some(key) = record.key {
            machine.replay(&Entry { key, value: record.value }, transaction);
        }
    }
    Ok(())
}
