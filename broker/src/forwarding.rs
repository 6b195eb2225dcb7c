//! Requests that the controller decides: sent on in an envelope, with the principal of the client.
//!
//! **Invariant:** the controller sees the request as the client sent it. The answer is the controller's, and by the time
//! that the client has it this broker knows its effect, or half a second has passed: create-then-use works.

use std::sync::Arc;

use bytes::Bytes;
use metadata::Image;
use protocol::header::{RequestHeader, decode_response_header};
use protocol::messages::{DefaultPrincipalData, EnvelopeRequest};
use protocol::{Decoder, EncodeError, Encoder, ErrorCode, Message, Request, bounds};
use wire::{Body, Context, Reply};

use crate::broker::Broker;
use crate::controller_link::ForwardError;

/// What a forwarded API has of its own.
#[derive(Clone, Copy)]
pub struct Forwarded<R: Request> {
    /// The answer when the controller gave none.
    pub refuse: fn(&R, ErrorCode, i16) -> R::Response,
    /// Whether an image shows what the answer tells.
    pub is_visible: fn(&R, &R::Response, &Image) -> bool,
}

/// Sends a request on; its answer comes later.
pub fn forward<R: Request>(
    broker: Arc<Broker>,
    cx: Context,
    body: Decoder,
    api: Forwarded<R>,
) -> Reply<Body> {
    let body = body.into_rest();
    let request = match R::decode(&mut Decoder::new(body.clone()), cx.version) {
        Ok(request) => request,
        Err(_) => return Reply::Close("the request cannot be decoded"),
    };
    Reply::later_reply(async move {
        match answer(&broker, &cx, body, &request, api).await {
            Some(body) => Reply::Now(body),
            None => Reply::Close("the controller's answer is not one"),
        }
    })
}

/// Answers a request without asking the controller.
pub fn refused<R: Request>(
    cx: &Context,
    body: Decoder,
    refuse: fn(&R, ErrorCode, i16) -> R::Response,
    error: ErrorCode,
) -> Reply<Body> {
    let mut body = body;
    match R::decode(&mut body, cx.version) {
        Ok(request) => match encoded(&refuse(&request, error, cx.version), cx.version) {
            Some(body) => Reply::Now(body),
            None => Reply::Close("the answer cannot be encoded"),
        },
        Err(_) => Reply::Close("the request cannot be decoded"),
    }
}

async fn answer<R: Request>(
    broker: &Broker,
    cx: &Context,
    body: Bytes,
    request: &R,
    api: Forwarded<R>,
) -> Option<Body> {
    let version = cx.version;
    let deadline = broker.host.clock().now() + bounds::FORWARD_TIMEOUT;
    let envelope = envelope(cx, R::KEY, version, body).ok()?;
    let frame = match broker.link.forward(&envelope, deadline).await {
        Ok(frame) => frame,
        Err(ForwardError::TimedOut) => {
            return encoded(&(api.refuse)(request, ErrorCode::RequestTimedOut, version), version);
        }
        // The controller does not know this version of the request: neither should the client have been told of it.
        Err(ForwardError::Refused(ErrorCode::UnsupportedVersion)) => return None,
        Err(ForwardError::Refused(error)) => return encoded(&(api.refuse)(request, error, version), version),
    };
    let mut input = Decoder::new(frame);
    decode_response_header(&mut input, R::KEY, version).ok()?;
    let body = input.clone().into_rest();
    let response = R::Response::decode(&mut input, version).ok()?;
    // Written once more for its error codes alone: the client gets the controller's bytes.
    let mut counted = Encoder::new();
    response.encode(&mut counted, version).ok()?;
    let clock = broker.host.clock();
    let visible_by = clock.now() + bounds::FORWARD_VISIBLE_WAIT;
    // Not there in time: the client may have to try again, as with Kafka.
    broker.metadata.wait_for(clock, visible_by, |image| (api.is_visible)(request, &response, image)).await;
    Some(Body { errors: counted.take_errors(), ..Body::from(body) })
}

/// The request as it came, and whose it is.
pub fn envelope(
    cx: &Context,
    key: protocol::ApiKey,
    version: i16,
    body: Bytes,
) -> Result<EnvelopeRequest, EncodeError> {
    let header =
        RequestHeader { key, version, correlation_id: cx.correlation_id, client_id: cx.client_id.clone() };
    let mut request = Encoder::with_capacity(64 + body.len());
    header.encode(&mut request)?;
    request.raw(&body);
    let mut principal = Encoder::new();
    let data = DefaultPrincipalData {
        type_: cx.principal.kind.clone(),
        name: cx.principal.name.clone(),
        ..Default::default()
    };
    principal.i16(0);
    data.encode(&mut principal, 0)?;
    let address = match cx.address().ip() {
        std::net::IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        std::net::IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    };
    Ok(EnvelopeRequest {
        request_data: request.into_bytes().expect("it has no file regions"),
        request_principal: principal.into_bytes(),
        client_host_address: address,
        ..Default::default()
    })
}

fn encoded<M: Message>(message: &M, version: i16) -> Option<Body> {
    let mut out = Encoder::new();
    message.encode(&mut out, version).ok()?;
    Some(Body::from(out))
}
