//! A connection to another controller, for one private request at a time.
//!
//! ```text
//!   | length i32 | request header v2 (Envelope 58, version 0) | EnvelopeRequest{request_data = private request} |
//!   | length i32 | response header v1                         | EnvelopeResponse{response_data = private answer} |
//! ```
//! **Invariant:** any failure, a time-out too, drops the connection: what may still come on it answers nobody.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use host::{Chunk, Host, ReadHalf, WriteHalf};
use protocol::header::{RequestHeader, decode_response_header};
use protocol::messages::{EnvelopeRequest, EnvelopeResponse};
use protocol::{ApiKey, Decoder, Encoder, ErrorCode, Message, Str, bounds};

const VERSION: i16 = 0;

/// A client of one address, which connects when it is used.
pub struct Peer {
    host: Host,
    address: String,
    connection: Option<Connection>,
    next_correlation_id: i32,
}

struct Connection {
    read: ReadHalf,
    write: WriteHalf,
}

impl Peer {
    pub fn new(host: &Host, address: String) -> Peer {
        Peer { host: host.clone(), address, connection: None, next_correlation_id: 0 }
    }

    /// Sends `request` and waits for its answer, no longer than `limit`.
    pub async fn call(&mut self, request: Bytes, limit: Duration) -> io::Result<Bytes> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        // Taken out here and put back after success only: when this future is dropped half-way, the connection goes too.
        let connection = self.connection.take();
        let clock = self.host.clock().clone();
        let called = clock.timeout(limit, self.call_on(connection, correlation_id, request)).await;
        let (connection, answer) = called.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn call_on(
        &self,
        connection: Option<Connection>,
        correlation_id: i32,
        request: Bytes,
    ) -> io::Result<(Connection, Bytes)> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let (read, write) = self.host.net().connect(&self.address).await?.split();
                Connection { read, write }
            }
        };
        connection.write.write_chunks(&mut frame(correlation_id, request)?).await?;
        let answer = connection.read_frame().await?;
        Ok((connection, decode(answer, correlation_id)?))
    }
}

impl Connection {
    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut buffer = BytesMut::with_capacity(bounds::FRAME_BUFFER_BYTES_FIRST);
        let mut length = None;
        loop {
            if length.is_none() && buffer.len() >= 4 {
                let announced = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
                if announced > bounds::CONTROLLER_RAFT_FRAME_BYTES_MAX {
                    return Err(io::Error::other(format!("an answer of {announced} bytes")));
                }
                length = Some(announced);
            }
            if let Some(length) = length.filter(|length| buffer.len() >= 4 + length) {
                let mut frame = buffer.split_to(4 + length).freeze();
                return Ok(frame.split_off(4));
            }
            buffer.reserve(bounds::FRAME_BUFFER_BYTES_FIRST);
            if self.read.read_into(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn frame(correlation_id: i32, request: Bytes) -> io::Result<VecDeque<Chunk>> {
    let mut out = Encoder::new();
    let client_id = Some(Str::from_static("controller"));
    let header = RequestHeader { key: ApiKey::Envelope, version: VERSION, correlation_id, client_id };
    header.encode(&mut out).map_err(io::Error::other)?;
    let envelope = EnvelopeRequest { request_data: request, ..EnvelopeRequest::default() };
    envelope.encode(&mut out, VERSION).map_err(io::Error::other)?;
    let body = out.into_bytes().expect("only bytes were encoded");
    let length = i32::try_from(body.len()).map_err(io::Error::other)?;
    Ok(VecDeque::from([Chunk::Bytes(Bytes::copy_from_slice(&length.to_be_bytes())), Chunk::Bytes(body)]))
}

fn decode(answer: Bytes, correlation_id: i32) -> io::Result<Bytes> {
    let mut input = Decoder::new(answer);
    let echoed = decode_response_header(&mut input, ApiKey::Envelope, VERSION).map_err(io::Error::other)?;
    if echoed != correlation_id {
        return Err(io::Error::other("an answer to another request"));
    }
    let envelope = EnvelopeResponse::decode(&mut input, VERSION).map_err(io::Error::other)?;
    match (ErrorCode::from_code(envelope.error_code), envelope.response_data) {
        (ErrorCode::None, Some(data)) => Ok(data),
        (code, _) => Err(io::Error::other(format!("the other controller answered {code}"))),
    }
}
