//! The memory of all frames that are being received or handled, under one bound for all listeners of a node.
//!
//!     frame buffer grows --grow(n)--> n bytes of the budget, or wait
//!                                     budget exhausted? one frame at a time may go on without it (the overdraft)
//!
//! Without the overdraft, half-received frames could hold the whole budget and wait for each other for ever.
//! **Invariant:** held bytes <= the bound + one frame of the largest size.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes for frames in flight. One is shared by all servers of a node.
#[derive(Debug)]
pub struct FrameBudget {
    bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    bytes_max: usize,
}

impl FrameBudget {
    pub fn new(bytes_max: usize) -> Arc<FrameBudget> {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        let bytes = Arc::new(Semaphore::new(bytes_max));
        Arc::new(FrameBudget { bytes, overdraft: Arc::new(Semaphore::new(1)), bytes_max })
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
    /// Takes more bytes at once; false if the caller must wait with `grow`.
    pub(crate) fn try_grow(&mut self, budget: &FrameBudget, more: usize) -> bool {
        if self.overdraft.is_some() {
            return true;
        }
        let more = u32::try_from(more).expect("a frame is smaller than 4 GiB");
        match Arc::clone(&budget.bytes).try_acquire_many_owned(more) {
            Ok(permit) => {
                self.add(permit);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for more bytes, or for the overdraft. Cancellation is safe: what was waited for goes back.
    pub(crate) async fn grow(&mut self, budget: &FrameBudget, more: usize) {
        let more = u32::try_from(more).expect("a frame is smaller than 4 GiB");
        tokio::select! {
            biased;
            permit = Arc::clone(&budget.bytes).acquire_many_owned(more) => {
                self.add(permit.expect("it is never closed"));
            }
            permit = Arc::clone(&budget.overdraft).acquire_owned() => {
                self.overdraft = Some(permit.expect("it is never closed"));
            }
        }
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
            let budget = FrameBudget::new(100);
            let (mut a, mut b) = (FrameHold::default(), FrameHold::default());
            assert!(a.try_grow(&budget, 60));
            assert!(b.try_grow(&budget, 40));
            assert!(!a.try_grow(&budget, 1), "exhausted");
            a.grow(&budget, 60).await;
            assert!(a.try_grow(&budget, 1_000_000), "the overdraft's holder goes on to its end");
            assert_eq!(budget.held_bytes(), 100);
            let mut waits = Box::pin(b.grow(&budget, 10));
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
