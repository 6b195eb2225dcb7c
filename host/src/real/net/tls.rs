//! TLS over the machine's TCP.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::region::{self, Buffers};
use super::{RealRead, RealWrite, RealWriteKind, advance, gather, shutdown_write};
use crate::net::{ReadKind, WriteKind};
use crate::{Chunk, ReadHalf, Stream, WriteHalf};

type TlsStream = tokio_rustls::TlsStream<SharedTcp>;

/// Takes a plaintext stream that was accepted, and shakes hands as a TLS server. Use a time-out.
pub async fn accept_tls(stream: Stream, config: Arc<rustls::ServerConfig>) -> io::Result<Stream> {
    let below = Below::take(stream)?;
    let tcp = SharedTcp(Arc::clone(&below.socket));
    let tls = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await?;
    Ok(below.encrypted(tls.into()))
}

/// Takes a plaintext stream that was connected, and shakes hands as a TLS client. Use a time-out.
pub async fn connect_tls(
    stream: Stream,
    config: Arc<rustls::ClientConfig>,
    name: rustls::pki_types::ServerName<'static>,
) -> io::Result<Stream> {
    let below = Below::take(stream)?;
    let tcp = SharedTcp(Arc::clone(&below.socket));
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
    Ok(below.encrypted(tls.into()))
}

/// What stands below a TLS stream.
struct Below {
    socket: Arc<TcpStream>,
    buffers: Arc<Buffers>,
    peer: std::net::SocketAddr,
    local: std::net::SocketAddr,
}

impl Below {
    fn take(stream: Stream) -> io::Result<Below> {
        match stream.write.0 {
            WriteKind::Real(mut write) if matches!(write.kind, RealWriteKind::Plain) => {
                write.ends_stream = false;
                let (socket, buffers) = (Arc::clone(&write.socket), Arc::clone(&write.buffers));
                Ok(Below { socket, buffers, peer: stream.peer, local: stream.local })
            }
            _ => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS needs a plaintext TCP stream below it"))
            }
        }
    }

    fn encrypted(self, tls: TlsStream) -> Stream {
        let certificates = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        let (read, write) = tokio::io::split(tls);
        let read = TlsRead { read, ahead: None, failed: None };
        let write = RealWrite {
            kind: RealWriteKind::Tls(Box::new(TlsWrite { write })),
            socket: self.socket,
            buffers: self.buffers,
            ends_stream: true,
        };
        Stream {
            read: ReadHalf(ReadKind::Real(RealRead::Tls(Box::new(read)))),
            write: WriteHalf(WriteKind::Real(write)),
            peer: self.peer,
            local: self.local,
            peer_certificates: certificates.unwrap_or_default(),
        }
    }
}

/// A TCP stream that several owners can use: tokio's readiness works through a shared reference.
#[derive(Debug)]
struct SharedTcp(Arc<TcpStream>);

impl tokio::io::AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(n) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl tokio::io::AsyncWrite for SharedTcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(slices) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown_write(&self.0))
    }
}

#[derive(Debug)]
pub(crate) struct TlsRead {
    read: tokio::io::ReadHalf<TlsStream>,
    /// The byte that `readable` had to decrypt in order to know.
    ahead: Option<u8>,
    /// What went wrong right after that byte.
    failed: Option<io::Error>,
}

impl TlsRead {
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        if self.ahead.is_none() && self.failed.is_none() {
            // One byte says that there is something; none is the end, which a TLS stream says again when asked again.
            let mut one = [0u8; 1];
            if self.read.read(&mut one).await? == 1 {
                self.ahead = Some(one[0]);
            }
        }
        Ok(())
    }

    pub(super) async fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let Some(ahead) = self.ahead.take() else {
            return match self.failed.take() {
                Some(error) => Err(error),
                None => self.read.read_buf(buffer).await,
            };
        };
        buffer.extend_from_slice(&[ahead]);
        if buffer.capacity() == buffer.len() {
            return Ok(1);
        }
        // What else is there already comes along; nothing is waited for.
        let mut more = pin!(self.read.read_buf(buffer));
        let more = std::future::poll_fn(|cx| Poll::Ready(more.as_mut().poll(cx))).await;
        match more {
            Poll::Pending => Ok(1),
            Poll::Ready(Ok(n)) => Ok(1 + n),
            Poll::Ready(Err(error)) => {
                self.failed = Some(error);
                Ok(1)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct TlsWrite {
    write: tokio::io::WriteHalf<TlsStream>,
}

impl TlsWrite {
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.write.shutdown().await
    }

    pub(super) async fn write_chunks(
        &mut self,
        chunks: &mut VecDeque<Chunk>,
        buffers: &Buffers,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(front) = chunks.front_mut() {
            match front {
                chunk if chunk.is_empty() => drop(chunks.pop_front()),
                Chunk::Bytes(_) => {
                    let written = {
                        let (slices, count, _) = gather(chunks);
                        self.write.write_vectored(&slices[..count]).await?
                    };
                    advance(chunks, written)?;
                }
                Chunk::File(region) => {
                    if buffer.is_empty() {
                        buffer = buffers.take();
                    }
                    let n = region::read(region, &mut buffer).await?;
                    self.write.write_all(&buffer[..n]).await?;
                }
            }
        }
        buffers.give_back(buffer);
        self.write.flush().await
    }
}
