//! Who waits at a partition: producers for their records to be committed, fetches for something to read.
//!
//! ```text
//!   committed:  [offset 7]   [offset 9]      [offset 12]        woken in the order of offsets, up to the high watermark
//!                                 ^ high watermark 10
//!   fetches:    beyond 10 at least 1 byte    beyond 10 at least 64 KiB
//! ```
//! **Invariant:** only who can go on is woken; whoever waits here is looked at again under the same lock that moves the
//! high watermark, so that no wake-up is lost. Nobody waits at a partition that cannot reach what it waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use protocol::ids::Offset;
use tokio::sync::{Notify, oneshot};

use crate::partition::Offsets;

/// How a wait for a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    Reached,
    /// This broker does not lead the partition any more; whether the records survive is not known here.
    Lost,
}

/// Up to where somebody reads (Kafka's `FetchIsolation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    /// A follower.
    LogEnd,
}

/// A fetch that waits at several partitions for a number of bytes in all.
#[derive(Debug)]
pub struct Parked {
    missing_bytes: AtomicI64,
    notify: Notify,
    /// The places whose partition has changed since it was read. Only these are read again.
    moved: Mutex<Vec<usize>>,
}

impl Parked {
    pub fn new(missing_bytes: i64) -> Arc<Parked> {
        let missing_bytes = AtomicI64::new(missing_bytes);
        Arc::new(Parked { missing_bytes, notify: Notify::new(), moved: Mutex::default() })
    }

    /// Bytes have become readable; wakes the fetch when they are enough.
    fn credit(&self, bytes: i64) -> bool {
        let before = self.missing_bytes.fetch_sub(bytes, Ordering::AcqRel);
        let is_enough = before <= bytes;
        if is_enough {
            self.notify.notify_one();
        }
        is_enough
    }

    /// Wakes the fetch whatever it misses.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Until it was woken; a wake-up before the call counts.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Notes that the partition at a place of the fetch is not any more as it was read.
    pub fn note(&self, place: usize) {
        self.moved.lock().expect("no code that holds this lock panics").push(place);
    }

    /// The places that were noted, each once.
    pub fn take_moved(&self) -> Vec<usize> {
        let mut moved = std::mem::take(&mut *self.moved.lock().expect("no code that holds this lock panics"));
        moved.sort_unstable();
        moved.dedup();
        moved
    }
}

/// A fetch at one of its partitions.
#[derive(Debug)]
struct Fetch {
    parked: Arc<Parked>,
    /// Which of the fetch's partitions this one is.
    place: usize,
    is_noted: bool,
    isolation: Isolation,
    /// The end of what it could read when it began to wait.
    beyond: Offset,
}

impl Fetch {
    fn note(&mut self) {
        if !std::mem::replace(&mut self.is_noted, true) {
            self.parked.note(self.place);
        }
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub struct Waiters {
    next_id: u64,
    commits: BTreeMap<(Offset, u64), oneshot::Sender<Commit>>,
    fetches: BTreeMap<u64, Fetch>,
}

impl Waiters {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Waits until the high watermark has passed `last_offset`.
    pub fn wait_for_commit(&mut self, last_offset: Offset) -> oneshot::Receiver<Commit> {
        let (sender, receiver) = oneshot::channel();
        let id = self.id();
        // Producers that gave up leave their entry behind until the offset is reached: swept when they pile up.
        if self.commits.len().is_power_of_two() {
            self.commits.retain(|_, waiting| !waiting.is_closed());
        }
        self.commits.insert((last_offset, id), sender);
        receiver
    }

    /// Parks a fetch until more than `beyond` is readable; the number takes it away again.
    pub fn park(
        &mut self,
        (parked, place): (&Arc<Parked>, usize),
        isolation: Isolation,
        beyond: Offset,
    ) -> u64 {
        let id = self.id();
        let fetch = Fetch { parked: Arc::clone(parked), place, is_noted: false, isolation, beyond };
        self.fetches.insert(id, fetch);
        id
    }

    pub fn unpark(&mut self, id: u64) {
        self.fetches.remove(&id);
    }

    /// Some of the offsets moved, and `bytes` became readable with the high watermark.
    pub fn advance(&mut self, offsets: &Offsets, bytes: u64) {
        while let Some(first) = self.commits.first_entry()
            && first.key().0 < offsets.high_watermark
        {
            // Whoever gave up waiting does not care.
            let _ = first.remove().send(Commit::Reached);
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.fetches.retain(|_, fetch| {
            fetch.note();
            if offsets.readable_end(fetch.isolation) <= fetch.beyond {
                return true;
            }
            if fetch.isolation == Isolation::ReadUncommitted {
                return !fetch.parked.credit(bytes);
            }
            // How much the end of a transaction makes readable, or a follower misses, is not counted: it looks for itself.
            fetch.parked.wake();
            false
        });
    }

    /// This broker does not lead the partition any more.
    pub fn lose(&mut self) {
        for (_, waiting) in std::mem::take(&mut self.commits) {
            let _ = waiting.send(Commit::Lost);
        }
        for (_, mut fetch) in std::mem::take(&mut self.fetches) {
            fetch.note();
            fetch.parked.wake();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.commits.len() + self.fetches.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(waiters: &mut Waiters, high_watermark: i64, last_stable: i64, bytes: u64) {
        let (high_watermark, last_stable) = (Offset(high_watermark), Offset(last_stable));
        let offsets = Offsets { log_start: Offset(0), last_stable, high_watermark, log_end: high_watermark };
        waiters.advance(&offsets, bytes);
    }

    fn is_woken(parked: &Parked) -> bool {
        let mut woken = std::pin::pin!(parked.woken());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        woken.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn a_commit_wakes_those_below_the_high_watermark_and_nobody_else() {
        let mut waiters = Waiters::default();
        let mut at: Vec<_> = [9, 7, 12].into_iter().map(|o| waiters.wait_for_commit(Offset(o))).collect();
        advance(&mut waiters, 10, 10, 1);
        assert_eq!(at[0].try_recv(), Ok(Commit::Reached));
        assert_eq!(at[1].try_recv(), Ok(Commit::Reached));
        assert!(at[2].try_recv().is_err(), "12 is not below 10");
        waiters.lose();
        assert_eq!(at[2].try_recv(), Ok(Commit::Lost));
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn a_fetch_is_woken_when_its_bytes_are_there() {
        let mut waiters = Waiters::default();
        let parked = Parked::new(100);
        waiters.park((&parked, 0), Isolation::ReadUncommitted, Offset(5));
        advance(&mut waiters, 5, 5, 1000);
        assert!(!is_woken(&parked), "nothing beyond 5 is readable");
        advance(&mut waiters, 6, 5, 60);
        assert!(!is_woken(&parked), "60 of 100 bytes");
        advance(&mut waiters, 7, 5, 60);
        assert!(is_woken(&parked));
        assert_eq!(waiters.len(), 0, "who is woken is not kept");
    }

    #[test]
    fn a_fetch_is_told_which_of_its_partitions_have_moved() {
        let (mut one, mut two) = (Waiters::default(), Waiters::default());
        let parked = Parked::new(100);
        one.park((&parked, 7), Isolation::ReadUncommitted, Offset(5));
        two.park((&parked, 8), Isolation::ReadUncommitted, Offset(5));
        advance(&mut one, 6, 6, 60);
        advance(&mut one, 7, 7, 30);
        assert!(!is_woken(&parked), "90 of 100 bytes");
        assert_eq!(parked.take_moved(), [7]);
        two.lose();
        assert!(is_woken(&parked), "it cannot be waited for any more");
        assert_eq!(parked.take_moved(), [8]);
    }

    #[test]
    fn a_follower_waits_for_the_log_end() {
        let mut waiters = Waiters::default();
        let parked = Parked::new(1);
        waiters.park((&parked, 0), Isolation::LogEnd, Offset(5));
        let mut offsets = Offsets {
            log_start: Offset(0),
            last_stable: Offset(5),
            high_watermark: Offset(5),
            log_end: Offset(5),
        };
        waiters.advance(&offsets, 0);
        assert!(!is_woken(&parked));
        offsets.log_end = Offset(6);
        waiters.advance(&offsets, 0);
        assert!(is_woken(&parked), "though nothing of it is committed");
    }

    #[test]
    fn a_read_committed_fetch_waits_for_the_last_stable_offset() {
        let mut waiters = Waiters::default();
        let parked = Parked::new(1);
        waiters.park((&parked, 0), Isolation::ReadCommitted, Offset(5));
        advance(&mut waiters, 9, 5, 100);
        assert!(!is_woken(&parked), "the transaction is still open");
        advance(&mut waiters, 10, 10, 10);
        assert!(is_woken(&parked));
    }

    #[test]
    fn producers_that_gave_up_do_not_pile_up() {
        let mut waiters = Waiters::default();
        for offset in 0..10_000 {
            drop(waiters.wait_for_commit(Offset(offset)));
        }
        assert!(waiters.len() <= 4, "{}", waiters.len());
    }
}
