//! Requests that a broker forwards for its clients, with their principal (58); and the private requests of voters.
//!
//! **Invariant:** a forwarded request is handled as the principal in the envelope, never as the broker that forwards it.

use std::sync::Arc;

use bytes::Bytes;
use protocol::header::{RequestHeader, RequestPrefix};
use protocol::messages::{DefaultPrincipalData, EnvelopeRequest, EnvelopeResponse};
use protocol::{ApiKey, DecodeError, Decoder, ErrorCode, Message};
use wire::{Context, Principal};

use crate::dispatch;
use crate::node::Node;
use crate::raft::rpc;

pub async fn handle(node: Arc<Node>, cx: Context, request: EnvelopeRequest) -> EnvelopeResponse {
    if rpc::is_request(&request.request_data) {
        let observe = async |id, voter| node.admit_observer(id, voter).await;
        return answered(node.service.serve(request.request_data, observe).await);
    }
    if !node.active().here {
        return refused(ErrorCode::NotController);
    }
    let Ok(principal) = principal(request.request_principal.as_ref()) else {
        return refused(ErrorCode::PrincipalDeserializationFailure);
    };
    match open(request.request_data) {
        Ok((header, body)) => forward(node, &cx, principal, header, body).await,
        Err(Unopened::Unsupported) => refused(ErrorCode::UnsupportedVersion),
        Err(Unopened::Malformed(error)) => {
            tracing::warn!(%error, "a forwarded request cannot be read");
            refused(ErrorCode::InvalidRequest)
        }
    }
}

fn refused(code: ErrorCode) -> EnvelopeResponse {
    EnvelopeResponse { error_code: code.code(), ..Default::default() }
}

fn answered(data: Bytes) -> EnvelopeResponse {
    EnvelopeResponse { response_data: Some(data), ..Default::default() }
}

/// The principal's data begin with their version.
fn principal(data: Option<&Bytes>) -> Result<Principal, DecodeError> {
    let mut input = Decoder::new(data.cloned().ok_or(DecodeError::Null)?);
    let version = input.i16()?;
    let data = DefaultPrincipalData::decode(&mut input, version)?;
    Ok(Principal { kind: data.type_, name: data.name })
}

enum Unopened {
    Unsupported,
    Malformed(DecodeError),
}

impl From<DecodeError> for Unopened {
    fn from(error: DecodeError) -> Self {
        Unopened::Malformed(error)
    }
}

fn open(frame: Bytes) -> Result<(RequestHeader, Bytes), Unopened> {
    let prefix = RequestPrefix::peek(&frame)?;
    let key = ApiKey::from_code(prefix.key).ok_or(Unopened::Unsupported)?;
    if !key.known_versions().contains(&prefix.version) {
        return Err(Unopened::Unsupported);
    }
    let mut input = Decoder::new(frame);
    let header = RequestHeader::decode(&mut input, key, prefix.version)?;
    Ok((header, input.into_rest()))
}

async fn forward(
    node: Arc<Node>,
    cx: &Context,
    principal: Principal,
    header: RequestHeader,
    body: Bytes,
) -> EnvelopeResponse {
    let mut inner = cx.clone();
    (inner.key, inner.version, inner.correlation_id) = (header.key, header.version, header.correlation_id);
    (inner.principal, inner.client_id) = (Arc::new(principal), header.client_id.clone());
    match dispatch::forwarded(node, inner, &header, body).await {
        Some(Ok(answer)) => answered(answer),
        Some(Err(error)) => {
            tracing::warn!(key = header.key.name(), %error, "a forwarded request cannot be read");
            refused(ErrorCode::InvalidRequest)
        }
        None => refused(ErrorCode::InvalidRequest),
    }
}
