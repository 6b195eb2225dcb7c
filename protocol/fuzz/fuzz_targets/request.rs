//! The body of each request at each version.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| protocol_fuzz::chosen(data, |m| m.category == "request"));
