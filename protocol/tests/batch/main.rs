//! Record batches against what Kafka's own classes build, read, accept and refuse (`golden`), over random contents and
//! damage (`properties`), and one by one (`traps`).
#![allow(clippy::unwrap_used)]

mod golden;
mod properties;
mod traps;

use bytes::Bytes;
use protocol::batch::{Batch, BatchBuilder, BatchOptions, RecordHeader};

/// Enough for every batch that a test makes on purpose.
const CAP: usize = 16 << 20;

/// Key, value and headers of a record.
type Fields = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn build(options: BatchOptions, records: &[(i64, Fields)]) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for (timestamp, (key, value, headers)) in records {
        let header = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| RecordHeader {
            key: Bytes::copy_from_slice(key),
            value: value.as_deref().map(Bytes::copy_from_slice),
        };
        let headers: Vec<_> = headers.iter().map(header).collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder.finish()
}
