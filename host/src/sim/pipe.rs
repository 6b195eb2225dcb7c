//! One direction of a stream in memory: what streams between nodes of a simulation, and within a process, are made of.
//!
//!     writer --> [ in flight ] --deliver--> [ arrived ] --> reader
//!
//! A direct pipe delivers at once. A pipe of the simulated network keeps what is written in flight until its world
//! delivers it; the bound counts both, so that a slow reader holds up the writer.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

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
    ended: bool,
    reset: bool,
    writer_closed: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Item {
    Bytes(Bytes),
    End,
}

/// Called whenever something is put in flight; None for a direct pipe.
type OnFlight = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Pipe {
    state: Mutex<State>,
    on_flight: Mutex<Option<OnFlight>>,
}

impl Pipe {
    fn new() -> Arc<Pipe> {
        Arc::new(Pipe { state: Mutex::default(), on_flight: Mutex::new(None) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Turns the pipe into one of the network: what is written stays in flight until `deliver`.
    pub(crate) fn delay_by(&self, on_flight: OnFlight) {
        *self.on_flight.lock().expect("nobody panics while holding it") = Some(on_flight);
    }

    /// Lets the oldest item in flight arrive. Returns how many bytes that were; None if nothing is in flight.
    pub(crate) fn deliver(&self) -> Option<usize> {
        let mut state = self.lock();
        let delivered = match state.flight.pop_front()? {
            Item::Bytes(bytes) => {
                let n = bytes.len();
                state.arrived.push_back(bytes);
                n
            }
            Item::End => {
                state.ended = true;
                0
            }
        };
        wake(&mut state.reader);
        Some(delivered)
    }

    /// Both sides fail from now on, and nothing more is delivered.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.reset = true;
        state.flight.clear();
        state.arrived.clear();
        wake(&mut state.reader);
        wake(&mut state.writer);
    }

    fn put(&self, mut state: MutexGuard<'_, State>, item: Item) {
        let on_flight = self.on_flight.lock().expect("nobody panics while holding it").clone();
        state.flight.push_back(item);
        drop(state);
        match on_flight {
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

/// The two ends of a stream: each a reader of one pipe and a writer of the other.
pub(crate) fn pipe_pair() -> ((PipeReader, PipeWriter), (PipeReader, PipeWriter)) {
    let (a, b) = (Pipe::new(), Pipe::new());
    let reader = |pipe: &Arc<Pipe>| PipeReader { pipe: Arc::clone(pipe) };
    let writer = |pipe: &Arc<Pipe>, back: &Arc<Pipe>| PipeWriter { pipe: Arc::clone(pipe), back: Arc::clone(back), owns: true };
    ((reader(&a), writer(&b, &a)), (reader(&b), writer(&a, &b)))
}

pub(crate) struct PipeReader {
    pipe: Arc<Pipe>,
}

impl PipeReader {
    pub(crate) fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let mut state = self.pipe.lock();
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
        let mut state = self.pipe.lock();
        if state.reset {
            return Err(reset_error());
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

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.pipe.lock();
        state.reader_gone = true;
        wake(&mut state.writer);
    }
}

impl std::fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipeReader")
    }
}

pub(crate) struct PipeWriter {
    pipe: Arc<Pipe>,
    back: Arc<Pipe>,
    /// False for the copy that an abort handle holds: dropping it ends nothing.
    owns: bool,
}

impl PipeWriter {
    pub(crate) fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    pub(crate) fn clone_for_abort(&self) -> PipeWriter {
        PipeWriter { pipe: Arc::clone(&self.pipe), back: Arc::clone(&self.back), owns: false }
    }

    pub(crate) fn reset(&self) {
        self.pipe.reset();
        self.back.reset();
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
        std::future::poll_fn(|cx| {
            let mut state = self.pipe.lock();
            if state.reset {
                return Poll::Ready(Err(reset_error()));
            }
            if state.reader_gone || state.writer_closed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if state.held_bytes >= PIPE_BYTES_MAX {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.held_bytes += bytes.len();
            self.pipe.put(state, Item::Bytes(bytes.clone()));
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Nothing more comes: the reader sees the end after what was written.
    pub(crate) fn close(&mut self) {
        let mut state = self.pipe.lock();
        if !state.writer_closed && !state.reset {
            state.writer_closed = true;
            self.pipe.put(state, Item::End);
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        if self.owns {
            self.close();
        }
    }
}

impl std::fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipeWriter")
    }
}
