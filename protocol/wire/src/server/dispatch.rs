//! From a frame to a running handler.
//!
//! What is wrong with a request that cannot be answered ends the connection, as in Kafka: a key that the listener does
//! not serve, a version that is not served (but for ApiVersions), a header or body that does not decode.

use std::sync::Arc;

use protocol::header::RequestHeader;
use protocol::{ApiKey, Decoder, Str};

use super::Shared;
use crate::BoxFuture;
use crate::answer::Answer;
use crate::api_versions;
use crate::context::{Context, Principal};

/// A request on its way: the ordered part of its handler.
pub(super) struct Started {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) ordered: BoxFuture<'static, Answer>,
}

/// Why a frame is answered without a handler.
pub(super) enum Refused {
    /// Answered at once.
    Answer(ApiKey, i16, Answer),
    /// The connection ends.
    Close(String),
}

/// What a connection remembers from one request to the next.
pub(super) struct Session {
    pub(super) principal: Arc<Principal>,
    /// The last client id: requests share one copy of it, and none keeps its frame alive.
    client_id: Option<Str>,
}

impl Session {
    pub(super) fn new() -> Session {
        Session { principal: Arc::new(Principal::ANONYMOUS), client_id: None }
    }

    fn keep_client_id(&mut self, client_id: Option<Str>) -> Option<Str> {
        if self.client_id != client_id {
            self.client_id = client_id.map(|id| id.detached());
        }
        self.client_id.clone()
    }
}

/// Decodes the header and starts the handler.
pub(super) fn start(
    shared: &Arc<Shared>,
    session: &mut Session,
    frame: bytes::Bytes,
) -> Result<Started, Refused> {
    let Some(&[k0, k1, v0, v1]) = frame.first_chunk::<4>() else {
        return Err(Refused::Close(format!("a request of {} bytes", frame.len())));
    };
    let (code, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let service = &shared.server.service;
    let served = ApiKey::from_code(code).and_then(|key| Some((key, service.versions(key)?)));
    let Some((key, versions)) = served else {
        return Err(Refused::Close(format!("unknown api key {code}")));
    };
    if !versions.contains(&version) && key != ApiKey::ApiVersions {
        return Err(Refused::Close(format!("{key} has no version {version}")));
    }
    let mut input = Decoder::new(frame);
    let header = RequestHeader::decode(&mut input, key, version)
        .map_err(|e| Refused::Close(format!("the header of {key} v{version}: {e}")))?;
    if !versions.contains(&version) {
        let answer = api_versions::unsupported_version(header.correlation_id, &versions);
        return Err(Refused::Answer(key, version, Answer::Now(answer)));
    }
    let context = Context {
        key,
        version,
        correlation_id: header.correlation_id,
        client_id: session.keep_client_id(header.client_id),
        principal: Arc::clone(&session.principal),
        shared: Arc::clone(shared),
    };
    match service.dispatch(context, input) {
        Ok(ordered) => Ok(Started { key, version, ordered }),
        Err(e) => Err(Refused::Close(format!("the body of {key} v{version}: {e}"))),
    }
}
