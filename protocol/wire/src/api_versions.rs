//! ApiVersions: the one request whose answer must be understood before anything is agreed on.
//!
//! Its response header is always version 0, and a version that is not served is answered, in version 0, with
//! UNSUPPORTED_VERSION and the range of ApiVersions itself (KIP-511); any other key would close the connection.

use std::ops::RangeInclusive;

use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, ErrorCode, Str};

use crate::answer::{Addressed, Encoded};
use crate::{Context, Table};

/// The client's name and version, told by ApiVersions 3 and later (KIP-511).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    pub name: Str,
    pub version: Str,
}

/// The answer to ApiVersions: exactly what the table serves. Remembers the client's software in its connection.
/// Features are for the caller to fill in.
pub fn api_versions_response<S: Send + Sync + 'static>(
    table: &Table<S>,
    context: &Context,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    let mut response = ApiVersionsResponse::default();
    if context.version >= 3 {
        let (name, version) = (&request.client_software_name, &request.client_software_version);
        if !is_software_word(name) || !is_software_word(version) {
            response.error_code = ErrorCode::InvalidRequest.code();
            return response;
        }
        // The first one counts: a connection does not change hands.
        let _ = context
            .shared
            .peer
            .software
            .set(ClientSoftware { name: name.detached(), version: version.detached() });
    }
    response.api_keys = table.ranges().into_iter().map(|(key, versions)| entry(key, &versions)).collect();
    response
}

fn entry(key: ApiKey, versions: &RangeInclusive<i16>) -> ApiVersion {
    ApiVersion { api_key: key.code(), min_version: *versions.start(), max_version: *versions.end() }
}

/// Letters, digits, `-` and `.`, beginning and ending with a letter or digit, as Kafka demands.
fn is_software_word(word: &str) -> bool {
    let is_end = |c: u8| c.is_ascii_alphanumeric();
    let bytes = word.as_bytes();
    bytes.first().is_some_and(|c| is_end(*c))
        && bytes.last().is_some_and(|c| is_end(*c))
        && bytes.iter().all(|c| is_end(*c) || matches!(c, b'-' | b'.'))
}

/// The answer to a version of ApiVersions that is not served.
pub(crate) fn unsupported_version(correlation_id: i32, served: &RangeInclusive<i16>) -> Encoded {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![entry(ApiKey::ApiVersions, served)],
        ..ApiVersionsResponse::default()
    };
    let to = Addressed { key: ApiKey::ApiVersions, version: 0, correlation_id };
    to.message(&response).expect("version 0 carries an error and a range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unsupported_version_answer_is_kafkas_bytes() {
        let encoded = unsupported_version(7, &(0..=4));
        let host::Chunk::Bytes(bytes) = &encoded.chunks[0] else { panic!("bytes") };
        assert_eq!(&bytes[..], [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }

    #[test]
    fn software_words_are_kafkas() {
        for good in ["a", "apache-kafka-java", "4.3.1", "0", "A-b.c9"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "\u{e9}"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
