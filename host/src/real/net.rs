//! The machine's network: TCP, with `writev` and `sendfile`; TLS over it.
//!
//!     Stream = ReadHalf + WriteHalf, both over one socket; the socket closes with the later of the two
//!     dropping the WriteHalf ends the stream (FIN); Abort resets it (RST), from wherever
//!
//! An idle connection waits in `readable` and owns no buffer.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // This is where the seam is.

mod region;
mod tls;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use self::region::Buffers;
use self::tls::{TlsRead, TlsWrite};
use crate::net::{BoxFuture, ListenerKind, NetSource, ReadKind, WriteKind};
use crate::{Abort, Chunk, Listener, ReadHalf, SocketOptions, Stream, WriteHalf};

pub use tls::{accept_tls, connect_tls};

/// Connections that may wait to be accepted, if nothing else is said: tokio's own number.
const BACKLOG: u32 = 1024;
/// Slices handed to one system call.
const SLICES_MAX: usize = 64;

#[derive(Default)]
pub(crate) struct RealNet {
    buffers: Arc<Buffers>,
}

impl NetSource for RealNet {
    fn listen(&self, address: String, options: SocketOptions) -> BoxFuture<'_, io::Result<Listener>> {
        Box::pin(async move {
            let listener = bind(&address, options).await?;
            let local = listener.local_addr()?;
            let buffers = Arc::clone(&self.buffers);
            Ok(Listener(ListenerKind::Real(RealListener { listener, local, buffers })))
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let tcp = TcpStream::connect(&address).await?;
            let peer = tcp.peer_addr()?;
            plain(tcp, peer, &self.buffers)
        })
    }
}

/// The first of the addresses that can be listened on.
async fn bind(address: &str, options: SocketOptions) -> io::Result<TcpListener> {
    if options == SocketOptions::default() {
        return TcpListener::bind(address).await;
    }
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for resolved in tokio::net::lookup_host(address).await? {
        match bind_one(resolved, options) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_one(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit the sizes; that of the receive buffer must be known before the handshake.
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(options.backlog.unwrap_or(BACKLOG))
}

#[derive(Debug)]
pub(crate) struct RealListener {
    listener: TcpListener,
    local: SocketAddr,
    buffers: Arc<Buffers>,
}

impl RealListener {
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        loop {
            let (tcp, peer) = self.listener.accept().await?;
            // A client that is gone again already is none: an error here would be taken for the listener's.
            if let Ok(stream) = plain(tcp, peer, &self.buffers) {
                return Ok((stream, peer));
            }
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

fn plain(tcp: TcpStream, peer: SocketAddr, buffers: &Arc<Buffers>) -> io::Result<Stream> {
    tcp.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&tcp, true)?;
    let local = tcp.local_addr()?;
    let socket = Arc::new(tcp);
    let read = RealRead::Plain(Arc::clone(&socket));
    let buffers = Arc::clone(buffers);
    let write = RealWrite { kind: RealWriteKind::Plain, socket, buffers, ends_stream: true };
    Ok(Stream {
        read: ReadHalf(ReadKind::Real(read)),
        write: WriteHalf(WriteKind::Real(write)),
        peer,
        local,
        peer_certificates: Vec::new(),
    })
}

fn shutdown_write(tcp: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(tcp, rustix::net::Shutdown::Write) {
        Err(Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[derive(Debug)]
pub(crate) enum RealRead {
    Plain(Arc<TcpStream>),
    Tls(Box<TlsRead>),
}

impl RealRead {
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match self {
            RealRead::Plain(tcp) => tcp.readable().await,
            RealRead::Tls(tls) => tls.readable().await,
        }
    }

    pub(crate) async fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            RealRead::Plain(tcp) => loop {
                match tcp.try_read_buf(buffer) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => tcp.readable().await?,
                    result => return result,
                }
            },
            RealRead::Tls(tls) => tls.read_into(buffer).await,
        }
    }
}

#[derive(Debug)]
pub(crate) struct RealWrite {
    kind: RealWriteKind,
    socket: Arc<TcpStream>,
    buffers: Arc<Buffers>,
    /// False once a TLS stream has taken the socket over.
    ends_stream: bool,
}

#[derive(Debug)]
enum RealWriteKind {
    Plain,
    Tls(Box<TlsWrite>),
}

impl Drop for RealWrite {
    fn drop(&mut self) {
        if self.ends_stream {
            // The reader may live on; the peer shall know all the same. An error says that it knows already.
            let _ = shutdown_write(&self.socket);
        }
    }
}

impl RealWrite {
    pub(crate) fn abort_handle(&self) -> Abort {
        // Weak: an abort handle that is kept must not keep the socket open.
        let socket = Arc::downgrade(&self.socket);
        Abort(Arc::new(move || {
            let Some(socket) = socket.upgrade() else { return };
            // Dissolving the association sends a reset at once; the peer must not take this for an orderly end, since what
            // was promised is not coming. The rest is for kernels that refuse.
            if rustix::net::connect_unspec(&*socket).is_err() {
                let _ = rustix::net::sockopt::set_socket_linger(&*socket, Some(std::time::Duration::ZERO));
                let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
            }
        }))
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.kind {
            RealWriteKind::Plain => shutdown_write(&self.socket),
            RealWriteKind::Tls(tls) => tls.shutdown().await,
        }
    }

    pub(crate) async fn write_chunks(&mut self, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
        if let RealWriteKind::Tls(tls) = &mut self.kind {
            return tls.write_chunks(chunks, &self.buffers).await;
        }
        loop {
            region::copy_small(chunks, SLICES_MAX);
            let Some(front) = chunks.front_mut() else { return Ok(()) };
            match front {
                chunk if chunk.is_empty() => drop(chunks.pop_front()),
                Chunk::Bytes(_) => write_bytes(&self.socket, chunks).await?,
                Chunk::File(region) => region::send(&self.socket, region).await?,
            }
        }
    }
}

/// Writes the bytes at the front of the queue, many chunks a system call.
async fn write_bytes(tcp: &TcpStream, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
    let written = tcp
        .async_io(Interest::WRITABLE, || {
            let (slices, count, more) = gather(chunks);
            // A head that is followed by a file region leaves with the region, not as a packet of its own.
            let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
            loop {
                let mut nothing = SendAncillaryBuffer::default();
                match rustix::net::sendmsg(tcp, &slices[..count], &mut nothing, flags) {
                    Err(Errno::INTR) => {}
                    result => return Ok(result?),
                }
            }
        })
        .await?;
    advance(chunks, written)
}

/// The bytes at the front of the queue: the slices, how many they are, and whether more follows in the queue.
fn gather(chunks: &VecDeque<Chunk>) -> ([IoSlice<'_>; SLICES_MAX], usize, bool) {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut count = 0;
    for chunk in chunks {
        match chunk {
            chunk if chunk.is_empty() => {}
            Chunk::Bytes(bytes) if count < SLICES_MAX => {
                slices[count] = IoSlice::new(bytes);
                count += 1;
            }
            _ => return (slices, count, true),
        }
    }
    (slices, count, false)
}

/// Takes bytes that were written off the front of the queue.
fn advance(chunks: &mut VecDeque<Chunk>, written: usize) -> io::Result<()> {
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut left = written;
    while left > 0 {
        match chunks.front_mut() {
            Some(Chunk::Bytes(bytes)) => {
                let n = left.min(bytes.len());
                bytes.advance(n);
                left -= n;
            }
            Some(Chunk::File(region)) if region.length == 0 => {}
            _ => unreachable!("only bytes were written"),
        }
        chunks.pop_front_if(|front| front.is_empty());
    }
    Ok(())
}
