//! A whole request frame, as it comes from a socket: prefix, header by key and version, body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::header::{RequestHeader, RequestPrefix};
use protocol::{ApiKey, Decoder, value};

fuzz_target!(|data: &[u8]| {
    let Ok(prefix) = RequestPrefix::peek(data) else { return };
    let Some(key) = ApiKey::from_code(prefix.key) else { return };
    let mut input = Decoder::new(Bytes::copy_from_slice(data));
    if RequestHeader::decode(&mut input, key, prefix.version).is_ok()
        && key.known_versions().contains(&prefix.version)
    {
        let m = value::of_key(key, "request").expect("every key has a request");
        protocol_fuzz::message(m, prefix.version, input.into_rest());
    }
});
