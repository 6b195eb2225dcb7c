//! Frames: `[length i32][payload]`, read from a stream without believing the length.
//!
//!     buffer:  [ length | payload ....... received so far |  room to read  ]
//!                                                         '-- doubles with what was received, up to the frame's end
//!
//! **Invariant:** a frame reader owns at most twice the bytes that its peer has sent (and 4 KiB), and nothing at all
//! between frames. What is over 4 KiB is held against the budget.

use std::io;

use bytes::{Bytes, BytesMut};
use host::ReadHalf;
use protocol::bounds::FRAME_BUFFER_BYTES_FIRST;

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
        FrameReader { read, buffer: BytesMut::new(), is_shared: false, bytes_max }
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
        let mut hold = FrameHold::default();
        // What `hold` covers; the first buffer is not counted.
        let mut covered = FRAME_BUFFER_BYTES_FIRST;
        loop {
            if let Some(payload) = self.cut()? {
                return Ok(Some(Frame { payload, hold }));
            }
            if self.buffer.is_empty() {
                // Between frames nothing is owned.
                self.buffer = BytesMut::new();
                self.is_shared = false;
                self.read.readable().await?;
            }
            if self.is_shared || self.buffer.len() == self.buffer.capacity() {
                let wanted = self.wanted_capacity();
                if wanted > covered {
                    if !hold.try_grow(budget, wanted - covered) {
                        progress.waits_for_memory();
                        // On the heap: it is rare, and an idle connection would carry its size.
                        Box::pin(hold.grow(budget, wanted - covered)).await;
                    }
                    covered = wanted;
                }
                self.make_room(wanted);
            }
            if self.read.read_into(&mut self.buffer).await? == 0 {
                return self.ended();
            }
            progress.received(self.buffer.len());
        }
    }

    /// Makes the buffer take `capacity` bytes in all.
    fn make_room(&mut self, capacity: usize) {
        if self.is_shared {
            // `reserve` would take as much again as the frame before had.
            let mut own = BytesMut::with_capacity(capacity);
            own.extend_from_slice(&self.buffer);
            self.buffer = own;
            self.is_shared = false;
        } else {
            self.buffer.reserve(capacity - self.buffer.len());
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

    /// Room for twice what has come: what the allocator would grow it to anyway.
    fn wanted_capacity(&self) -> usize {
        (self.buffer.len() * 2).max(FRAME_BUFFER_BYTES_FIRST)
    }

    fn ended(&self) -> Result<Option<Frame>, FrameError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let length = self.announced().map_or(4, |length| 4 + length.max(0) as usize);
        Err(FrameError::EndedWithin { received: self.buffer.len(), length })
    }
}
