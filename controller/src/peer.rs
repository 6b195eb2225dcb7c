//! A connection to another controller, for one private request at a time.
//!
//! ```text
//!   Envelope (58), version 0:  request_data = private request     response_data = private answer
//! ```
//! **Invariant:** any failure, a time-out too, drops the connection: what may still come on it answers nobody.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use host::Host;
use protocol::messages::EnvelopeRequest;
use protocol::{ErrorCode, Request, Str, bounds};
use wire::client::{Connection, ConnectionOptions};

const VERSION: i16 = 0;

/// A client of one address, which connects when it is used.
pub struct Peer {
    host: Host,
    address: String,
    connection: Option<Connection>,
}

impl Peer {
    pub fn new(host: &Host, address: String) -> Peer {
        Peer { host: host.clone(), address, connection: None }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends `request` and waits for its answer, no longer than `limit`.
    pub async fn call(&mut self, request: Bytes, limit: Duration) -> io::Result<Bytes> {
        // Taken out here and put back after success only: when this future is dropped half-way, the connection goes too.
        let connection = self.connection.take().filter(|connection| !connection.is_closed());
        let clock = self.host.clock().clone();
        let called = clock.timeout(limit, self.call_on(connection, request)).await;
        let (connection, answer) = called.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn call_on(
        &self,
        connection: Option<Connection>,
        request: Bytes,
    ) -> io::Result<(Connection, Bytes)> {
        let connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let envelope = EnvelopeRequest { request_data: request, ..EnvelopeRequest::default() };
        let answer = connection.call(VERSION, &envelope).await.map_err(io::Error::other)?;
        match (ErrorCode::from_code(answer.error_code), answer.response_data) {
            (ErrorCode::None, Some(data)) => Ok((connection, data)),
            (code, _) => Err(io::Error::other(format!("the other controller answered {code}"))),
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = self.host.net().connect(&self.address).await?;
        let options = ConnectionOptions {
            client_id: Some(Str::from_static("controller")),
            response_bytes_max: bounds::CONTROLLER_RAFT_FRAME_BYTES_MAX,
            ..ConnectionOptions::default()
        };
        Ok(Connection::start(&self.host, stream, &self.address, options))
    }

    /// Sends one of Kafka's own requests, on a connection of its own.
    pub async fn request<R: Request>(&self, request: &R, limit: Duration) -> io::Result<R::Response> {
        let called = async {
            let connection = self.connect().await?;
            connection.call(*R::VERSIONS.end(), request).await.map_err(io::Error::other)
        };
        self.host
            .clock()
            .timeout(limit, called)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}
