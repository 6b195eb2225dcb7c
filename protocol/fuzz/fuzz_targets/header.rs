//! Headers of requests and responses, at every version of every key.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::header::{RequestHeader, RequestPrefix, decode_response_header};
use protocol::{ApiKey, Decoder, Encoder};

fuzz_target!(|data: &[u8]| {
    let _ = RequestPrefix::peek(data);
    let [key, version, rest @ ..] = data else { return };
    let Some(key) = ApiKey::from_code(i16::from(*key)) else { return };
    let version = i16::from(*version as i8);
    let rest = Bytes::copy_from_slice(rest);
    let _ = decode_response_header(&mut Decoder::new(rest.clone()), key, version);
    if let Ok(header) = RequestHeader::decode(&mut Decoder::new(rest), key, version) {
        let mut out = Encoder::new();
        header.encode(&mut out).expect("what was read can be written");
        let mut again = Decoder::new(out.into_bytes().expect("all in memory"));
        assert_eq!(RequestHeader::decode(&mut again, key, version), Ok(header));
    }
});
