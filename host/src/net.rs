//! Connections: streams of bytes that can also carry regions of files.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::File;
use crate::real::net::{RealListener, RealRead, RealWrite};
use crate::sim::{PipeReader, PipeWriter, SimListener, pipe_pair};

/// A region of a file on its way to a socket. It keeps the file open.
#[derive(Clone, Debug)]
pub struct FileRegion {
    pub file: File,
    pub position: u64,
    pub length: u64,
}

/// What is written to a stream.
#[derive(Clone, Debug)]
pub enum Chunk {
    Bytes(Bytes),
    File(FileRegion),
}

impl Chunk {
    pub fn len(&self) -> u64 {
        match self {
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::File(region) => region.length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a listener's sockets are given beyond the kernel's own choice; None leaves it that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections that may wait to be accepted.
    pub backlog: Option<u32>,
    pub send_buffer_bytes: Option<u32>,
    pub receive_buffer_bytes: Option<u32>,
}

pub(crate) trait NetSource: Send + Sync {
    fn listen(&self, address: String, options: SocketOptions) -> BoxFuture<'_, io::Result<Listener>>;
    fn connect(&self, address: String) -> BoxFuture<'_, io::Result<Stream>>;
}

/// The host's network.
#[derive(Clone)]
pub struct Net {
    source: Arc<dyn NetSource>,
}

impl Net {
    pub(crate) fn new(source: Arc<dyn NetSource>) -> Net {
        Net { source }
    }

    /// Listens on `host:port`; port 0 takes any free one.
    pub async fn listen(&self, address: &str) -> io::Result<Listener> {
        self.listen_with(address, SocketOptions::default()).await
    }

    /// The same, with sockets of one's own making. In simulation the options do nothing.
    pub async fn listen_with(&self, address: &str, options: SocketOptions) -> io::Result<Listener> {
        self.source.listen(address.to_owned(), options).await
    }

    /// Connects to `host:port`. Waits as long as the network makes it wait: use a time-out.
    pub async fn connect(&self, address: &str) -> io::Result<Stream> {
        self.source.connect(address.to_owned()).await
    }

    /// Two ends of one stream in memory.
    pub fn pair(&self) -> (Stream, Stream) {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let ((near_read, near_write), (far_read, far_write)) = pipe_pair();
        let stream = |read, write| Stream {
            read: ReadHalf(ReadKind::Pipe(read)),
            write: WriteHalf(WriteKind::Pipe(write)),
            peer: local,
            local,
            peer_certificates: Vec::new(),
        };
        (stream(near_read, near_write), stream(far_read, far_write))
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Net")
    }
}

/// Accepts connections.
#[derive(Debug)]
pub struct Listener(pub(crate) ListenerKind);

#[derive(Debug)]
pub(crate) enum ListenerKind {
    Real(RealListener),
    Sim(SimListener),
}

impl Listener {
    /// The next connection and who made it. Cancelling loses no connection. An error is the listener's own, such as too many
    /// open files: wait a little and go on.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match &mut self.0 {
            ListenerKind::Real(listener) => listener.accept().await,
            ListenerKind::Sim(listener) => listener.accept().await,
        }
    }

    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            ListenerKind::Real(listener) => listener.local_addr(),
            ListenerKind::Sim(listener) => listener.local_addr(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Stream {
    pub(crate) read: ReadHalf,
    pub(crate) write: WriteHalf,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Of a TLS stream whose peer showed them: its own certificate first, in DER.
    pub(crate) peer_certificates: Vec<rustls::pki_types::CertificateDer<'static>>,
}

impl Stream {
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The certificates that a TLS peer showed, its own first; empty without TLS or if none was asked for.
    pub fn peer_certificates(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// The two directions, for two tasks. Dropping the write half ends the stream; the connection closes with the later one.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// A handle that resets the connection from elsewhere.
    pub fn abort_handle(&self) -> Abort {
        match &self.write.0 {
            WriteKind::Real(write) => write.abort_handle(),
            WriteKind::Pipe(pipe) => {
                // Weak: an abort handle that is kept must not keep the connection open.
                let side = Arc::downgrade(pipe.side());
                Abort(Arc::new(move || {
                    if let Some(side) = side.upgrade() {
                        side.close(true);
                    }
                }))
            }
        }
    }
}

/// Resets a connection: both sides see an error, and what was not yet sent is lost. Does nothing to one that is closed, and
/// does not keep it open.
#[derive(Clone)]
pub struct Abort(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl Abort {
    pub fn abort(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Abort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Abort")
    }
}

/// What comes in.
#[derive(Debug)]
pub struct ReadHalf(pub(crate) ReadKind);

#[derive(Debug)]
pub(crate) enum ReadKind {
    Real(RealRead),
    Pipe(PipeReader),
}

impl ReadHalf {
    /// Waits until bytes, the end or an error can be read. An idle connection waits here and owns no buffer.
    pub async fn readable(&mut self) -> io::Result<()> {
        match &mut self.0 {
            ReadKind::Real(read) => read.readable().await,
            ReadKind::Pipe(pipe) => pipe.readable().await,
        }
    }

    /// Appends what is there to `buffer`, at most its spare capacity, which must not be zero. Returns the number of bytes; 0 is the
    /// end of the stream. Cancelling loses nothing.
    pub async fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        assert!(buffer.capacity() > buffer.len(), "the caller says how much it will take");
        match &mut self.0 {
            ReadKind::Real(read) => read.read_into(buffer).await,
            ReadKind::Pipe(pipe) => pipe.read_into(buffer).await,
        }
    }
}

/// What goes out.
#[derive(Debug)]
pub struct WriteHalf(pub(crate) WriteKind);

#[derive(Debug)]
pub(crate) enum WriteKind {
    Real(RealWrite),
    Pipe(PipeWriter),
}

impl WriteHalf {
    /// Writes all chunks and takes them off the queue as they go. If it is cancelled or fails, the stream is useless:
    /// part of a chunk may be on its way.
    pub async fn write_chunks(&mut self, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
        match &mut self.0 {
            WriteKind::Real(write) => write.write_chunks(chunks).await,
            WriteKind::Pipe(pipe) => pipe.write_chunks(chunks).await,
        }
    }

    /// Tells the other side that nothing more comes.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.0 {
            WriteKind::Real(write) => write.shutdown().await,
            WriteKind::Pipe(pipe) => {
                pipe.close();
                Ok(())
            }
        }
    }
}
