//! Every other message at each version: responses, which our clients read, and the records of internal logs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| protocol_fuzz::chosen(data, |m| m.category != "request"));
