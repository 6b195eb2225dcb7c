//! The frames around metadata records: what was read is written again as the same bytes, or as shorter ones.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::record_frame::{decode_metadata, encode_metadata};

fuzz_target!(|data: &[u8]| {
    let Ok((record, version)) = decode_metadata(Bytes::copy_from_slice(data)) else { return };
    let written = encode_metadata(&record, version).expect("what was read can be written");
    let (again, same) = decode_metadata(written.clone()).expect("what was written can be read");
    assert_eq!(same, version);
    assert_eq!(encode_metadata(&again, version).expect("what was read can be written"), written);
});
