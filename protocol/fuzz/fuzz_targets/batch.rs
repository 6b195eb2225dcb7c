//! Record batches, as they come in a produce request and as they lie in a log. The second round mends magic, length and CRC, or
//! nothing would get past them.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::batch::{AppendRules, Batch, batches, validate_for_append};

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fn feed(bytes: &Bytes) {
    for batch in batches(bytes.clone()) {
        let Ok(batch) = batch else { break };
        assert_eq!(batch.to_bytes().len(), batch.size_bytes());
        let _ = batch.check_crc();
        if let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) {
            // A count that lies ends in an error, not in an endless iteration.
            assert!(records.take(1 << 21).count() < 1 << 21);
        }
    }
    let rules = AppendRules { decompressed_bytes_max: DECOMPRESSED_BYTES_MAX, ..AppendRules::default() };
    if let Ok(batch) = validate_for_append(bytes, &rules) {
        assert_eq!(batch.check_crc(), Ok(()));
        let records = batch.records(DECOMPRESSED_BYTES_MAX).expect("what is stored can be read");
        let read = records.map(|r| r.expect("what is stored can be read")).count();
        assert_eq!(read as i32, batch.header.record_count);
    }
}

fuzz_target!(|data: &[u8]| {
    feed(&Bytes::copy_from_slice(data));
    let mut mended = data.to_vec();
    if mended.len() >= 61 {
        let length = (mended.len() - 12) as i32;
        mended[8..12].copy_from_slice(&length.to_be_bytes());
        mended[16] = 2;
        let bytes = Bytes::from(mended);
        if let Ok(mut batch) = Batch::read(&bytes) {
            batch.header.crc = protocol::batch::crc_of(&batch.header, &batch.payload);
            feed(&batch.to_bytes());
        }
    }
});
