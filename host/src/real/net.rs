//! The machine's network: TCP, with `writev` and `sendfile`; TLS over it.
//!
//! A file region of a plaintext connection goes from the page cache to the socket without a copy. A page that is not in
//! the cache would stall the whole reactor inside `sendfile`, so a region is probed first, and what is cold is read
//! ahead on another thread.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // This is where the seam is.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

use crate::fs::FileKind;
use crate::net::{BoxFuture, ListenerKind, NetSource, ReadKind, WriteKind};
use crate::{Abort, Chunk, FileRegion, Listener, ReadHalf, Stream, WriteHalf};

/// Bytes of a region that are probed and sent in one go.
const REGION_STEP_BYTES: u64 = 1 << 20;
/// Slices handed to one `writev`.
const SLICES_MAX: usize = 64;

#[derive(Default)]
pub(crate) struct RealNet {}

impl NetSource for RealNet {
    fn listen(&self, address: String) -> BoxFuture<'_, io::Result<Listener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(&address).await?;
            let local = listener.local_addr()?;
            Ok(Listener(ListenerKind::Real(RealListener { listener, local })))
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move { plain(TcpStream::connect(&address).await?) })
    }
}

#[derive(Debug)]
pub(crate) struct RealListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl RealListener {
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (tcp, peer) = self.listener.accept().await?;
        Ok((plain(tcp)?, peer))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

fn plain(tcp: TcpStream) -> io::Result<Stream> {
    tcp.set_nodelay(true)?;
    let (peer, local) = (tcp.peer_addr()?, tcp.local_addr()?);
    let tcp = Arc::new(tcp);
    Ok(Stream {
        read: ReadHalf(ReadKind::Real(RealRead::Plain(Arc::clone(&tcp)))),
        write: WriteHalf(WriteKind::Real(RealWrite { kind: RealWriteKind::Plain(Arc::clone(&tcp)), socket: tcp })),
        peer,
        local,
    })
}

type TlsStream = tokio_rustls::TlsStream<SharedTcp>;

/// Takes a plaintext stream that was accepted, and shakes hands as a TLS server.
pub async fn accept_tls(stream: Stream, config: Arc<rustls::ServerConfig>) -> io::Result<Stream> {
    let (socket, peer, local) = unwrap_plain(stream)?;
    let tls = tokio_rustls::TlsAcceptor::from(config).accept(SharedTcp(Arc::clone(&socket))).await?;
    Ok(encrypted(tls.into(), socket, peer, local))
}

/// Takes a plaintext stream that was connected, and shakes hands as a TLS client.
pub async fn connect_tls(
    stream: Stream,
    config: Arc<rustls::ClientConfig>,
    name: rustls::pki_types::ServerName<'static>,
) -> io::Result<Stream> {
    let (socket, peer, local) = unwrap_plain(stream)?;
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, SharedTcp(Arc::clone(&socket))).await?;
    Ok(encrypted(tls.into(), socket, peer, local))
}

fn unwrap_plain(stream: Stream) -> io::Result<(Arc<TcpStream>, SocketAddr, SocketAddr)> {
    match stream.write.0 {
        WriteKind::Real(RealWrite { kind: RealWriteKind::Plain(tcp), .. }) => Ok((tcp, stream.peer, stream.local)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS needs a plaintext TCP stream below it")),
    }
}

fn encrypted(tls: TlsStream, socket: Arc<TcpStream>, peer: SocketAddr, local: SocketAddr) -> Stream {
    let (read, write) = tokio::io::split(tls);
    Stream {
        read: ReadHalf(ReadKind::Real(RealRead::Tls(Box::new(TlsRead { read, ahead: BytesMut::new() })))),
        write: WriteHalf(WriteKind::Real(RealWrite { kind: RealWriteKind::Tls(Box::new(write)), socket })),
        peer,
        local,
    }
}

/// A TCP stream that several owners can use: tokio's readiness works through a shared reference.
#[derive(Debug)]
pub(crate) struct SharedTcp(Arc<TcpStream>);

impl tokio::io::AsyncRead for SharedTcp {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        loop {
            std::task::ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(n) => {
                    buffer.advance(n);
                    return std::task::Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return std::task::Poll::Ready(Err(e)),
            }
        }
    }
}

impl tokio::io::AsyncWrite for SharedTcp {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return std::task::Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(shutdown_write(&self.0))
    }
}

fn shutdown_write(tcp: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(tcp, rustix::net::Shutdown::Write) {
        Err(rustix::io::Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[derive(Debug)]
pub(crate) enum RealRead {
    Plain(Arc<TcpStream>),
    Tls(Box<TlsRead>),
}

#[derive(Debug)]
pub(crate) struct TlsRead {
    read: tokio::io::ReadHalf<TlsStream>,
    /// What `readable` had to decrypt in order to know.
    ahead: BytesMut,
}

impl RealRead {
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match self {
            RealRead::Plain(tcp) => tcp.readable().await,
            RealRead::Tls(tls) => {
                if tls.ahead.is_empty() {
                    // One byte says that there is something, or that it is the end.
                    let mut one = [0u8; 1];
                    let n = tls.read.read(&mut one).await?;
                    tls.ahead.extend_from_slice(&one[..n]);
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            RealRead::Plain(tcp) => {
                // Exactly the spare capacity: `try_read_buf` alone would let the buffer grow.
                loop {
                    match tcp.try_read_buf(buffer) {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => tcp.readable().await?,
                        result => return result,
                    }
                }
            }
            RealRead::Tls(tls) => {
                if !tls.ahead.is_empty() {
                    let n = tls.ahead.len().min(buffer.capacity() - buffer.len());
                    buffer.extend_from_slice(&tls.ahead.split_to(n));
                    return Ok(n);
                }
                tls.read.read_buf(buffer).await
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct RealWrite {
    kind: RealWriteKind,
    socket: Arc<TcpStream>,
}

#[derive(Debug)]
enum RealWriteKind {
    Plain(Arc<TcpStream>),
    Tls(Box<tokio::io::WriteHalf<TlsStream>>),
}

impl RealWrite {
    pub(crate) fn abort_handle(&self) -> Abort {
        let socket = Arc::clone(&self.socket);
        Abort(Arc::new(move || {
            // The peer shall see a reset, not an orderly end: what was promised is not coming.
            let _ = rustix::net::sockopt::set_socket_linger(&*socket, Some(std::time::Duration::ZERO));
            let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
        }))
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.kind {
            RealWriteKind::Plain(tcp) => shutdown_write(tcp),
            RealWriteKind::Tls(tls) => tls.shutdown().await,
        }
    }

    pub(crate) async fn write_chunks(&mut self, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
        while let Some(front) = chunks.front_mut() {
            match (&mut self.kind, front) {
                (_, chunk) if chunk.is_empty() => drop(chunks.pop_front()),
                (RealWriteKind::Plain(tcp), Chunk::Bytes(_)) => write_bytes(tcp, chunks).await?,
                (RealWriteKind::Plain(tcp), Chunk::File(region)) => {
                    send_region(tcp, region).await?;
                    chunks.pop_front();
                }
                (RealWriteKind::Tls(tls), Chunk::Bytes(bytes)) => {
                    tls.write_all(bytes).await?;
                    chunks.pop_front();
                }
                (RealWriteKind::Tls(tls), Chunk::File(region)) => {
                    encrypt_region(tls, region).await?;
                    chunks.pop_front();
                }
            }
        }
        if let RealWriteKind::Tls(tls) = &mut self.kind {
            tls.flush().await?;
        }
        Ok(())
    }
}

/// Writes the bytes at the front of the queue, many chunks a system call.
async fn write_bytes(tcp: &TcpStream, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
    let written = loop {
        let result = {
            let bytes = chunks.iter().map_while(|c| match c {
                Chunk::Bytes(bytes) => Some(IoSlice::new(bytes)),
                Chunk::File(_) => None,
            });
            let slices: Vec<IoSlice<'_>> = bytes.take(SLICES_MAX).collect();
            tcp.try_write_vectored(&slices)
        };
        match result {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
            result => break result?,
        }
    };
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut left = written;
    while left > 0 {
        let Some(Chunk::Bytes(bytes)) = chunks.front_mut() else { unreachable!("only bytes were written") };
        let n = left.min(bytes.len());
        bytes.advance(n);
        left -= n;
        if bytes.is_empty() {
            chunks.pop_front();
        }
    }
    Ok(())
}

async fn send_region(tcp: &TcpStream, region: &mut FileRegion) -> io::Result<()> {
    let FileKind::Real(fd) = &region.file.0 else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a simulated file on a real socket"));
    };
    let fd = Arc::clone(fd);
    while region.length > 0 {
        let step = region.length.min(REGION_STEP_BYTES);
        warm(&fd, region.position, step).await?;
        let end = region.position + step;
        while region.position < end {
            let mut position = region.position;
            let most = (end - position) as usize;
            let sent = tcp
                .async_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(tcp, &*fd, Some(&mut position), most)?))
                .await?;
            if sent == 0 {
                // The length is on the wire already: the file was cut under us, and only a reset is honest.
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file region ended early"));
            }
            region.position += sent as u64;
            region.length -= sent as u64;
        }
    }
    Ok(())
}

/// Makes sure that a region is in the page cache, off the reactor if it has to be read.
async fn warm(fd: &Arc<OwnedFd>, position: u64, length: u64) -> io::Result<()> {
    // The first and the last page tell: the log is written and read in order.
    if is_cached(fd, position) && is_cached(fd, position + length - 1) {
        return Ok(());
    }
    let fd = Arc::clone(fd);
    let read = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut buffer = vec![0u8; 256 << 10];
        let (mut at, end) = (position, position + length);
        while at < end {
            let most = ((end - at) as usize).min(buffer.len());
            match rustix::io::pread(&*fd, &mut buffer[..most], at) {
                Ok(0) => return Ok(()), // Shorter than promised: the send will say so.
                Ok(n) => at += n as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    });
    read.await.map_err(io::Error::other)?
}

/// One byte, only if no disk is needed for it.
fn is_cached(fd: &OwnedFd, position: u64) -> bool {
    let mut one = [0u8; 1];
    let mut slices = [io::IoSliceMut::new(&mut one)];
    match rustix::io::preadv2(fd, &mut slices, position, rustix::io::ReadWriteFlags::NOWAIT) {
        Err(rustix::io::Errno::AGAIN) => false,
        // File systems that cannot tell (EOPNOTSUPP) are taken as warm.
        _ => true,
    }
}

async fn encrypt_region(tls: &mut tokio::io::WriteHalf<TlsStream>, region: &mut FileRegion) -> io::Result<()> {
    while region.length > 0 {
        let (file, position) = (region.file.clone(), region.position);
        let mut buffer = vec![0u8; region.length.min(256 << 10) as usize];
        let bytes = tokio::task::spawn_blocking(move || -> io::Result<Bytes> {
            file.read_exact_at(&mut buffer, position)?;
            Ok(Bytes::from(buffer))
        });
        let bytes = bytes.await.map_err(io::Error::other)??;
        tls.write_all(&bytes).await?;
        region.position += bytes.len() as u64;
        region.length -= bytes.len() as u64;
    }
    Ok(())
}
