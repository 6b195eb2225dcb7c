//! The headers in front of every request and response.
//!
//!     request   [key i16][version i16][correlation id i32][client id, nullable string][tags, if flexible] body
//!     response  [correlation id i32][tags, if flexible] body
//!
//! Two traps, both from compatibility with old brokers: the client id is never compact, and the response to ApiVersions has
//! header version 0 at every version, because the client does not yet know what the broker speaks.

use crate::codec::{DecodeError, Decoder, EncodeError, Encoder, Message};
use crate::messages;
use crate::{ApiKey, Str};

/// The header of a request whose key and version are known.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHeader {
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

/// The first eight bytes of every request, readable whatever the key and version are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPrefix {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
}

/// 2 for flexible versions of a request, 1 for the others.
pub fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if is_flexible(key, version) { 2 } else { 1 }
}

/// 1 for flexible versions, 0 for the others and for ApiVersions always.
pub fn response_header_version(key: ApiKey, version: i16) -> i16 {
    if key != ApiKey::ApiVersions && is_flexible(key, version) { 1 } else { 0 }
}

fn is_flexible(key: ApiKey, version: i16) -> bool {
    key.flexible_from().is_some_and(|first| version >= first)
}

impl RequestPrefix {
    /// Reads the prefix of a frame.
    pub fn peek(frame: &[u8]) -> Result<RequestPrefix, DecodeError> {
        let Some([k0, k1, v0, v1, correlation_id @ ..]) = frame.first_chunk::<8>() else {
            return Err(DecodeError::TooShort { missing: 8 - frame.len() });
        };
        Ok(RequestPrefix {
            key: i16::from_be_bytes([*k0, *k1]),
            version: i16::from_be_bytes([*v0, *v1]),
            correlation_id: i32::from_be_bytes(*correlation_id),
        })
    }
}

impl RequestHeader {
    /// Reads the header of a request of a known `key`; the body follows in `input`.
    pub fn decode(input: &mut Decoder, key: ApiKey, version: i16) -> Result<RequestHeader, DecodeError> {
        let header = messages::RequestHeader::decode(input, request_header_version(key, version))?;
        Ok(RequestHeader { key, version, correlation_id: header.correlation_id, client_id: header.client_id })
    }

    pub fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        let header = messages::RequestHeader {
            request_api_key: self.key.code(),
            request_api_version: self.version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.clone(),
        };
        header.encode(out, request_header_version(self.key, self.version))
    }
}

/// Writes the header of the answer to a request.
pub fn encode_response_header(out: &mut Encoder, key: ApiKey, version: i16, correlation_id: i32) {
    let header = messages::ResponseHeader { correlation_id };
    let written = header.encode(out, response_header_version(key, version));
    assert!(written.is_ok(), "a response header has nothing that could be refused");
}

/// Reads the header of an answer and returns its correlation id; the body follows in `input`.
pub fn decode_response_header(input: &mut Decoder, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    Ok(messages::ResponseHeader::decode(input, response_header_version(key, version))?.correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_id_is_not_compact_in_flexible_headers() {
        let header = RequestHeader {
            key: ApiKey::Metadata,
            version: 12,
            correlation_id: 5,
            client_id: Some(Str::from("ab")),
        };
        let mut out = Encoder::new();
        header.encode(&mut out).expect("encoded");
        let bytes = out.into_bytes().expect("in memory");
        assert_eq!(&bytes[..], [0, 3, 0, 12, 0, 0, 0, 5, 0, 2, b'a', b'b', 0]);
        let mut d = Decoder::new(bytes);
        assert_eq!(RequestHeader::decode(&mut d, ApiKey::Metadata, 12), Ok(header));
        assert_eq!(d.remaining(), 0);
    }

    #[test]
    fn the_answer_to_api_versions_has_header_version_0_always() {
        for version in 0..=4 {
            assert_eq!(response_header_version(ApiKey::ApiVersions, version), 0);
        }
        assert_eq!(request_header_version(ApiKey::ApiVersions, 3), 2);
        assert_eq!(response_header_version(ApiKey::Metadata, 9), 1);
        assert_eq!(response_header_version(ApiKey::Metadata, 8), 0);
    }

    #[test]
    fn a_frame_of_three_bytes_has_no_prefix() {
        for length in 0..8 {
            assert!(RequestPrefix::peek(&[0; 8][..length]).is_err());
        }
        let prefix = RequestPrefix { key: 1, version: 2, correlation_id: 3 };
        assert_eq!(RequestPrefix::peek(&[0, 1, 0, 2, 0, 0, 0, 3, 99]), Ok(prefix));
    }
}
