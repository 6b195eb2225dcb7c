//! What a handler returns, typed (`Reply`) and on its way to the socket (`Answer`).

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::header::response_header_version;
use protocol::{ApiKey, EncodeError, Encoder, ErrorTally, Message};

use crate::BoxFuture;

/// A handler's reply. The future that returns it is the *ordered part* of the request: the connection's next request is
/// dispatched when it is done. What may overlap with later requests goes into `Later`.
pub enum Reply<T> {
    Now(T),
    /// The ordered part is done, the rest only waits. Answers still leave in the order of the requests.
    Later(BoxFuture<'static, Reply<T>>),
    /// The client expects no answer: Produce with acks=0.
    Nothing,
    /// The connection ends; the reason is logged.
    Close(&'static str),
}

impl<T: 'static> Reply<T> {
    /// Later, and then certainly an answer.
    pub fn later(answer: impl Future<Output = T> + Send + 'static) -> Reply<T> {
        Reply::Later(Box::pin(async move { Reply::Now(answer.await) }))
    }

    /// Later, and then whatever the future decides.
    pub fn later_reply(reply: impl Future<Output = Reply<T>> + Send + 'static) -> Reply<T> {
        Reply::Later(Box::pin(reply))
    }
}

impl<T> From<T> for Reply<T> {
    fn from(answer: T) -> Reply<T> {
        Reply::Now(answer)
    }
}

/// The body of a response, encoded elsewhere: what a forwarding handler passes on.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub chunks: Vec<protocol::Chunk>,
    /// The error codes in it, as far as whoever encoded it counted them.
    pub errors: ErrorTally,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body { chunks: vec![protocol::Chunk::Bytes(bytes)], errors: ErrorTally::default() }
    }
}

impl From<Encoder> for Body {
    fn from(mut out: Encoder) -> Body {
        let errors = out.take_errors();
        Body { chunks: out.into_chunks(), errors }
    }
}

/// An answer without its type.
pub enum Answer {
    Now(Encoded),
    Later(BoxFuture<'static, Answer>),
    Nothing,
    Close(String),
}

/// A whole frame: length, header, body.
#[derive(Debug, Default)]
pub struct Encoded {
    pub(crate) chunks: VecDeque<host::Chunk>,
    /// Bytes that lie in memory: file regions do not.
    pub(crate) memory_bytes: usize,
    pub(crate) errors: ErrorTally,
}

/// Which response it is that gets encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addressed {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
}

impl Addressed {
    pub(crate) fn message<T: Message>(self, message: &T) -> Result<Encoded, EncodeError> {
        // Starts with room for the frame's length, so that a small answer is one piece of memory.
        let mut out = Encoder::with_capacity(256);
        self.start(&mut out);
        message.encode(&mut out, self.version)?;
        let errors = out.take_errors();
        Ok(Encoded { errors, ..framed(out.into_chunks()) })
    }

    pub(crate) fn body(self, body: Body) -> Encoded {
        let mut out = Encoder::with_capacity(16);
        self.start(&mut out);
        let mut chunks = out.into_chunks();
        chunks.extend(body.chunks);
        Encoded { errors: body.errors, ..framed(chunks) }
    }

    fn start(self, out: &mut Encoder) {
        out.i32(0); // The length, known at the end.
        out.i32(self.correlation_id);
        if response_header_version(self.key, self.version) >= 1 {
            out.uvarint(0); // No tags.
        }
    }
}

/// Writes the length into the first four bytes, and makes file regions of regions.
pub(crate) fn framed(chunks: Vec<protocol::Chunk>) -> Encoded {
    let length: u64 = chunks.iter().map(protocol::Chunk::len).sum::<u64>() - 4;
    let length = i32::try_from(length).expect("an answer is bounded by what its request may ask for");
    let mut encoded = Encoded { chunks: VecDeque::with_capacity(chunks.len()), ..Encoded::default() };
    for (at, chunk) in chunks.into_iter().enumerate() {
        match chunk {
            protocol::Chunk::Bytes(bytes) => {
                let bytes = if at == 0 { with_length(bytes, length) } else { bytes };
                encoded.memory_bytes += bytes.len();
                encoded.chunks.push_back(host::Chunk::Bytes(bytes));
            }
            protocol::Chunk::Region(region) => {
                encoded.chunks.push_back(host::Chunk::File(file_region(&region)))
            }
        }
    }
    encoded
}

fn with_length(first: Bytes, length: i32) -> Bytes {
    // The encoder's own buffer has one owner, so this is no copy.
    let mut first = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    (&mut first[..4]).put_i32(length);
    first.freeze()
}

fn file_region(region: &protocol::Region) -> host::FileRegion {
    let file = region.source.downcast_ref::<host::File>().expect("only storage makes regions, of its files");
    host::FileRegion { file: file.clone(), position: region.position, length: region.length }
}
