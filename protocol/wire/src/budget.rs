//! The memory of all frames that are being received or handled, under one bound for all listeners of a node.
//!
//!     frame buffer grows --cover(capacity)--> bytes of the budget, or wait
//!                                             exhausted? one frame at a time may go on without it (the overdraft)
//!
//! Without the overdraft, half-received frames could hold the whole budget and wait for each other for ever.
//! **Invariant:** held bytes <= the bound + one frame of the largest size.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use protocol::bounds::{FRAME_BUFFER_BYTES_FIRST, READ_BUFFER_BYTES, READ_BUFFERS_POOLED_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes for frames in flight. One is shared by all servers of a node.
#[derive(Debug)]
pub struct FrameBudget {
    bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    bytes_max: usize,
    /// Buffers for one read each: as many as threads read at the same moment.
    read_buffers: Mutex<Vec<BytesMut>>,
}

impl FrameBudget {
    pub fn new(bytes_max: usize) -> Arc<FrameBudget> {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        let bytes = Arc::new(Semaphore::new(bytes_max));
        Arc::new(FrameBudget {
            bytes,
            overdraft: Arc::new(Semaphore::new(1)),
            bytes_max,
            read_buffers: Mutex::default(),
        })
    }

    /// An empty buffer for one read; a small one when memory is short.
    pub(crate) fn take_read_buffer(&self) -> BytesMut {
        if self.bytes.available_permits() < READ_BUFFER_BYTES {
            return BytesMut::with_capacity(FRAME_BUFFER_BYTES_FIRST);
        }
        let pooled = self.read_buffers.lock().expect("nobody panics while holding it").pop();
        pooled.unwrap_or_else(|| BytesMut::with_capacity(READ_BUFFER_BYTES))
    }

    pub(crate) fn give_read_buffer(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut pooled = self.read_buffers.lock().expect("nobody panics while holding it");
        if buffer.capacity() >= READ_BUFFER_BYTES && pooled.len() < READ_BUFFERS_POOLED_MAX {
            pooled.push(buffer);
        }
    }

    /// Bytes held now, those of the overdraft not counted.
    pub fn held_bytes(&self) -> usize {
        self.bytes_max - self.bytes.available_permits()
    }
}

/// What one frame holds of the budget; given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct FrameHold {
    bytes: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl FrameHold {
    /// Takes what a buffer of `capacity` needs and is not held yet; false if the caller must `wait_for` it. The first few
    /// KiB of a frame are free.
    pub(crate) fn try_cover(&mut self, budget: &FrameBudget, capacity: usize) -> bool {
        let more = self.missing(capacity);
        if more == 0 || self.overdraft.is_some() {
            return true;
        }
        match Arc::clone(&budget.bytes).try_acquire_many_owned(more) {
            Ok(permit) => {
                self.add(permit);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until a buffer of `capacity` is covered, or for the overdraft. Cancellation is safe: what was waited for goes
    /// back.
    pub(crate) async fn wait_for(&mut self, budget: &FrameBudget, capacity: usize) {
        tokio::select! {
            biased;
            permit = Arc::clone(&budget.bytes).acquire_many_owned(self.missing(capacity)) => {
                self.add(permit.expect("it is never closed"));
            }
            permit = Arc::clone(&budget.overdraft).acquire_owned() => {
                self.overdraft = Some(permit.expect("it is never closed"));
            }
        }
    }

    fn missing(&self, capacity: usize) -> u32 {
        let held = self.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = capacity.saturating_sub(FRAME_BUFFER_BYTES_FIRST + held);
        u32::try_from(missing).expect("a frame is smaller than 4 GiB")
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.bytes {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_goes_on_when_the_budget_is_exhausted() {
        let world = host::sim::World::new(1);
        let done = world.block_on(std::time::Duration::from_secs(1), async {
            const FREE: usize = FRAME_BUFFER_BYTES_FIRST;
            let budget = FrameBudget::new(100);
            let (mut a, mut b) = (FrameHold::default(), FrameHold::default());
            assert!(a.try_cover(&budget, FREE) && budget.held_bytes() == 0, "the first bytes are free");
            assert!(a.try_cover(&budget, FREE + 60));
            assert!(b.try_cover(&budget, FREE + 40));
            assert!(!a.try_cover(&budget, FREE + 61), "exhausted");
            a.wait_for(&budget, FREE + 120).await;
            assert!(a.try_cover(&budget, 1_000_000), "the overdraft's holder goes on to its end");
            assert_eq!(budget.held_bytes(), 100);
            let mut waits = Box::pin(b.wait_for(&budget, FREE + 50));
            assert!(crate::testing::is_waiting(waits.as_mut()).await, "there is one overdraft");
            drop(a);
            waits.await;
            assert_eq!(budget.held_bytes(), 50);
            drop(b);
            assert_eq!(budget.held_bytes(), 0);
        });
        assert_eq!(done, Ok(()));
    }
}
