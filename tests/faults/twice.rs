//! Records that stand in a log twice: how the cluster was given them.
//!
//! A client numbers its records. One number twice is the cluster's doing. Two epochs of one producer are the client's, which begins
//! a new one when it is told of a gap that it cannot explain; why it was told so is the question then.

use bytes::Bytes;
use protocol::batch::batches;
use protocol::bounds::DECOMPRESSED_BATCH_BYTES_MAX;

/// The copies of a value: producer, epoch and number.
pub(crate) fn copies(log: Bytes, value: &str) -> Vec<(i64, i16, i32)> {
    let mut found = Vec::new();
    for batch in batches(log).map_while(Result::ok) {
        let records = batch.records(DECOMPRESSED_BATCH_BYTES_MAX).into_iter().flatten().map_while(Result::ok);
        for record in records.filter(|record| record.value.as_deref() == Some(value.as_bytes())) {
            found.push((batch.header.producer_id.0, batch.header.producer_epoch, record.sequence));
        }
    }
    found
}
