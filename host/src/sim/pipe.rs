//! Streams in memory: what connects nodes of a simulation, and the parts of one process.
//!
//!     Side a                                             Side b
//!     writer --> [ in flight ] --deliver--> [ arrived ] --> reader
//!     reader <-- [ arrived ] <--deliver-- [ in flight ] <-- writer
//!
//! A direct pipe delivers at once. A pipe of the simulated network keeps what is written in flight until its world
//! delivers it; the bound counts both, so that a slow reader holds up the writer. All that a side learns of the other
//! one travels in flight, an end and a reset too: a cut network holds them like bytes.
//!
//! As TCP does it: a side closes when both its halves are gone; unread bytes make that a reset; bytes that reach a closed
//! side are answered with a reset; what arrived before a reset can still be read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::{Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use super::executor::fingerprint;
use crate::Chunk;

/// What a pipe holds at most, as the socket buffers of a machine do.
const PIPE_BYTES_MAX: usize = 256 << 10;
/// A large chunk is written in steps of this size.
const STEP_BYTES: usize = 64 << 10;

#[derive(Default)]
struct State {
    flight: VecDeque<Item>,
    arrived: VecDeque<Bytes>,
    /// Bytes in flight and arrived.
    held_bytes: usize,
    /// The reader has been told of the end.
    ended: bool,
    /// The reader has been told of a reset.
    reset: bool,
    /// The writer has been told of a reset.
    writer_reset: bool,
    /// The end, or a reset, has been sent.
    writer_closed: bool,
    /// The reading side is closed.
    reader_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
enum Item {
    Bytes(Bytes),
    End,
    Reset,
}

/// Called whenever something is put in flight.
type OnFlight = Arc<dyn Fn() + Send + Sync>;

/// One direction.
#[derive(Default)]
pub(crate) struct Pipe {
    state: Mutex<State>,
    /// Unset for a direct pipe.
    on_flight: OnceLock<OnFlight>,
    reverse: OnceLock<Weak<Pipe>>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn reverse(&self) -> Option<Arc<Pipe>> {
        self.reverse.get().and_then(Weak::upgrade)
    }

    /// Makes the pipe one of the network: what is written stays in flight until `deliver`.
    pub(crate) fn delay_by(&self, on_flight: OnFlight) {
        assert!(self.on_flight.set(on_flight).is_ok(), "a pipe is put on the network once");
    }

    /// Lets the oldest item in flight arrive. Returns a fingerprint of it; None if nothing is in flight.
    pub(crate) fn deliver(&self) -> Option<u64> {
        let mut state = self.lock();
        let item = state.flight.pop_front()?;
        let (print, answer_reset) = match item {
            Item::Bytes(bytes) => {
                let print = fingerprint(&bytes);
                if state.reader_closed {
                    state.held_bytes -= bytes.len();
                } else {
                    state.arrived.push_back(bytes);
                }
                (print, state.reader_closed)
            }
            Item::End => {
                state.ended = true;
                (u64::MAX, false)
            }
            Item::Reset => {
                state.reset = true;
                wake(&mut state.reader);
                drop(state);
                if let Some(reverse) = self.reverse() {
                    reverse.tell_writer_of_reset();
                }
                return Some(u64::MAX - 1);
            }
        };
        wake(&mut state.reader);
        drop(state);
        if answer_reset && let Some(reverse) = self.reverse() {
            reverse.send_reset();
        }
        Some(print)
    }

    fn tell_writer_of_reset(&self) {
        let mut state = self.lock();
        state.writer_reset = true;
        state.writer_closed = true;
        wake(&mut state.writer);
    }

    /// Sends a reset after what is in flight, whether or not the writer has said that it is done.
    fn send_reset(&self) {
        let mut state = self.lock();
        state.writer_reset = true;
        state.writer_closed = true;
        wake(&mut state.writer);
        self.put(state, Item::Reset);
    }

    /// Sends the end, if nothing of that kind was sent.
    fn send_end(&self) {
        let mut state = self.lock();
        if !state.writer_closed {
            state.writer_closed = true;
            self.put(state, Item::End);
        }
    }

    /// Both ends of this direction fail from now on, and what is in flight is lost.
    pub(crate) fn sever(&self) {
        let mut state = self.lock();
        let lost = std::mem::take(&mut state.flight);
        state.held_bytes -=
            lost.iter().map(|item| if let Item::Bytes(b) = item { b.len() } else { 0 }).sum::<usize>();
        state.reset = true;
        state.writer_reset = true;
        state.writer_closed = true;
        wake(&mut state.reader);
        wake(&mut state.writer);
    }

    /// The reading side closes: what arrived is thrown away. True if there was something.
    fn close_reader(&self) -> bool {
        let mut state = self.lock();
        state.reader_closed = true;
        let unread = std::mem::take(&mut state.arrived);
        state.held_bytes -= unread.iter().map(Bytes::len).sum::<usize>();
        state.reset = true;
        wake(&mut state.reader);
        wake(&mut state.writer);
        !unread.is_empty()
    }

    fn put(&self, mut state: MutexGuard<'_, State>, item: Item) {
        state.flight.push_back(item);
        drop(state);
        match self.on_flight.get() {
            Some(on_flight) => on_flight(),
            None => drop(self.deliver()),
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn reset_error() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// One end of a stream: a socket. It closes with the later of its two halves.
pub(crate) struct Side {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

impl Side {
    pub(crate) fn outgoing(&self) -> &Arc<Pipe> {
        &self.outgoing
    }

    /// What the kernel does when the last descriptor is closed. `rudely`: with a reset, whatever was read.
    pub(crate) fn close(&self, rudely: bool) {
        let unread = self.incoming.close_reader();
        if self.outgoing.lock().writer_reset {
            return; // The other side said so, or has been told.
        }
        if unread || rudely { self.outgoing.send_reset() } else { self.outgoing.send_end() }
    }

    /// The machine has lost its power: it says nothing, and what it had sent is lost.
    pub(crate) fn fall_silent(&self) {
        self.incoming.close_reader();
        let mut state = self.outgoing.lock();
        state.writer_reset = true;
        state.writer_closed = true;
        wake(&mut state.writer);
        let lost = std::mem::take(&mut state.flight);
        state.held_bytes -=
            lost.iter().map(|item| if let Item::Bytes(b) = item { b.len() } else { 0 }).sum::<usize>();
    }

    fn is_closed(&self) -> bool {
        self.incoming.lock().reader_closed
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.is_closed() {
            self.close(false);
        }
    }
}

/// The two ends of a stream: of each the reader and the writer.
pub(crate) fn pipe_pair() -> ((PipeReader, PipeWriter), (PipeReader, PipeWriter)) {
    let (a, b) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let linked = a.reverse.set(Arc::downgrade(&b)).is_ok() && b.reverse.set(Arc::downgrade(&a)).is_ok();
    assert!(linked, "both are new");
    let end = |incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>| {
        let side = Arc::new(Side { incoming: Arc::clone(incoming), outgoing: Arc::clone(outgoing) });
        (PipeReader { side: Arc::clone(&side) }, PipeWriter { side })
    };
    (end(&a, &b), end(&b, &a))
}

pub(crate) struct PipeReader {
    side: Arc<Side>,
}

impl PipeReader {
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let mut state = self.side.incoming.lock();
            if state.reset || !state.arrived.is_empty() || state.ended {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub(crate) async fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.readable().await?;
        let mut state = self.side.incoming.lock();
        if state.arrived.is_empty() {
            return if state.reset { Err(reset_error()) } else { Ok(0) };
        }
        let spare = buffer.capacity() - buffer.len();
        let mut read = 0;
        while read < spare {
            let Some(front) = state.arrived.front_mut() else { break };
            let n = front.len().min(spare - read);
            buffer.extend_from_slice(&front[..n]);
            front.advance(n);
            read += n;
            if front.is_empty() {
                state.arrived.pop_front();
            }
        }
        state.held_bytes -= read;
        wake(&mut state.writer);
        Ok(read)
    }
}

impl std::fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipeReader")
    }
}

pub(crate) struct PipeWriter {
    side: Arc<Side>,
}

impl PipeWriter {
    pub(crate) fn side(&self) -> &Arc<Side> {
        &self.side
    }

    pub(crate) async fn write_chunks(&mut self, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
        while let Some(front) = chunks.front_mut() {
            let bytes = match front {
                chunk if chunk.is_empty() => {
                    chunks.pop_front();
                    continue;
                }
                Chunk::Bytes(bytes) => bytes.split_to(bytes.len().min(STEP_BYTES)),
                Chunk::File(region) => {
                    let mut buffer = vec![0; region.length.min(STEP_BYTES as u64) as usize];
                    region.file.read_exact_at(&mut buffer, region.position)?;
                    region.position += buffer.len() as u64;
                    region.length -= buffer.len() as u64;
                    Bytes::from(buffer)
                }
            };
            self.write(bytes).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let pipe = &self.side.outgoing;
        std::future::poll_fn(|cx| {
            let mut state = pipe.lock();
            if state.writer_reset {
                return Poll::Ready(Err(reset_error()));
            }
            if state.writer_closed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if state.held_bytes >= PIPE_BYTES_MAX {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.held_bytes += bytes.len();
            pipe.put(state, Item::Bytes(bytes.clone()));
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Nothing more comes: the reader sees the end after what was written.
    pub(crate) fn close(&mut self) {
        self.side.outgoing.send_end();
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipeWriter")
    }
}
