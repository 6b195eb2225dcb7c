//! Frames: `[length i32][payload]`, read from a stream without believing the length.
//!
//!     socket --> read buffer (64 KiB, borrowed for one read) --copy--> own buffer --> payload
//!     socket --------------- once 64 KiB of a frame have come -------> own buffer, which doubles with what came
//!
//! The copy costs less than the system calls and the growing that it saves, and small requests, which may be held for long
//! (a fetch that waits), hold no more memory than they need.
//!
//! **Invariant:** a frame reader owns at most twice the bytes of the frame that its peer has sent, and nothing at all
//! between frames. What is over 4 KiB is held against the budget.

use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use host::ReadHalf;
use protocol::bounds::READ_BUFFER_BYTES;

use crate::budget::{FrameBudget, FrameHold};

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame with the length {0}")]
    Negative(i32),
    #[error("a frame of {length} bytes, where at most {max} are taken")]
    TooLarge { length: usize, max: usize },
    #[error("the stream ended within a frame: {received} of {length} bytes came")]
    EndedWithin { received: usize, length: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Told about the progress of a frame, for those who watch over time-outs.
pub(crate) trait Progress {
    /// Bytes of a frame that is not complete yet came; so many in all.
    fn received(&self, frame_bytes: usize);
    /// The peer is not to blame for what follows: we wait for memory.
    fn waits_for_memory(&self);
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    read: ReadHalf,
    buffer: BytesMut,
    /// The buffer's memory belongs to a frame that was cut off its front.
    is_shared: bool,
    /// What the buffer holds of the budget; goes with the next frame.
    hold: FrameHold,
    bytes_max: usize,
}

/// A frame, and its share of the budget: kept until the request has been taken over by its handler.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) payload: Bytes,
    pub(crate) hold: FrameHold,
}

impl FrameReader {
    pub(crate) fn new(read: ReadHalf, bytes_max: usize) -> FrameReader {
        FrameReader { read, buffer: BytesMut::new(), is_shared: false, hold: FrameHold::default(), bytes_max }
    }

    #[cfg(test)]
    pub(crate) fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next frame; None at the end of the stream between two frames.
    ///
    /// Cancelled, it loses nothing but its place in the queue for memory.
    pub(crate) async fn next(
        &mut self,
        budget: &FrameBudget,
        progress: &impl Progress,
    ) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(payload) = self.cut()? {
                return Ok(Some(Frame { payload, hold: std::mem::take(&mut self.hold) }));
            }
            if self.buffer.is_empty() {
                // Between frames nothing is owned.
                self.buffer = BytesMut::new();
            }
            let received = if self.buffer.len() < READ_BUFFER_BYTES {
                self.read_through(budget).await?
            } else {
                if self.is_shared || self.buffer.len() == self.buffer.capacity() {
                    self.cover(budget, progress, 2 * self.buffer.len()).await;
                    self.make_room();
                }
                self.read.read_into(&mut self.buffer).await?
            };
            if received == 0 {
                return self.ended();
            }
            progress.received(self.buffer.len());
            self.cover(budget, progress, self.buffer.len()).await;
        }
    }

    /// Reads what is there through a buffer of the pool. The buffer is never held while waiting: a stream may turn out not
    /// to be readable after all, because tokio forgets its readiness only when a read finds nothing.
    async fn read_through(&mut self, budget: &FrameBudget) -> io::Result<usize> {
        loop {
            self.read.readable().await?;
            let mut borrowed = budget.take_read_buffer();
            let read = {
                let mut reading = pin!(self.read.read_into(&mut borrowed));
                // Cancellation is safe: a read that waits has taken nothing.
                std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await
            };
            self.append(&borrowed);
            budget.give_read_buffer(borrowed);
            if let Poll::Ready(read) = read {
                return read;
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.is_shared || self.buffer.is_empty() {
            // Exactly what is needed: `extend` would take as much again as the frame before had.
            let mut own = BytesMut::with_capacity(self.buffer.len() + bytes.len());
            own.extend_from_slice(&self.buffer);
            self.buffer = own;
            self.is_shared = false;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Room for twice what has come, which is what the allocator would grow it to anyway.
    fn make_room(&mut self) {
        if self.is_shared {
            let mut own = BytesMut::with_capacity(2 * self.buffer.len());
            own.extend_from_slice(&self.buffer);
            self.buffer = own;
            self.is_shared = false;
        } else {
            self.buffer.reserve(self.buffer.len());
        }
    }

    async fn cover(&mut self, budget: &FrameBudget, progress: &impl Progress, capacity: usize) {
        if !self.hold.try_cover(budget, capacity) {
            progress.waits_for_memory();
            // On the heap: it is rare, and an idle connection would carry its size.
            Box::pin(self.hold.wait_for(budget, capacity)).await;
        }
    }

    /// The length of the frame at the front; None if that has not come.
    fn announced(&self) -> Option<i32> {
        self.buffer.first_chunk::<4>().map(|length| i32::from_be_bytes(*length))
    }

    /// Takes a complete frame off the front.
    fn cut(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.announced() else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
        if length > self.bytes_max {
            return Err(FrameError::TooLarge { length, max: self.bytes_max });
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + length);
        self.is_shared = true;
        bytes::Buf::advance(&mut frame, 4);
        Ok(Some(frame.freeze()))
    }

    fn ended(&self) -> Result<Option<Frame>, FrameError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let length = self.announced().map_or(4, |length| 4 + length.max(0) as usize);
        Err(FrameError::EndedWithin { received: self.buffer.len(), length })
    }
}
