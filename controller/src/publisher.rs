//! Committed metadata, for those who follow it: brokers by Fetch and FetchSnapshot, this process by a watch.
//!
//! ```text
//!        checkpoint                 batches in memory
//!   [0 ............ 512) [512 ....................... 840)
//!                   ^ log_start_offset                ^ high watermark = end of the committed image
//!   fetch below 512: "take the checkpoint 512-3"      fetch at 840: wait
//! ```
//!
//! **Invariant:** only committed records are ever published, in order, without a gap; the image of `committed` and the
//! end of the batches are the same offset.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use metadata::Image;
use protocol::bounds;
use tokio::sync::watch;

/// The state up to which everything is committed.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    pub image: Image,
    /// Epoch of the last record.
    pub epoch: i32,
    /// Index of the last applied Raft entry.
    pub applied: Option<u64>,
}

/// A checkpoint as brokers fetch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Offset after the last record in it.
    pub end_offset: i64,
    /// Epoch of that record.
    pub epoch: i32,
    pub bytes: Bytes,
}

/// What a fetch at an offset gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Whole batches; none at the end of the log.
    Batches(Vec<Bytes>),
    /// The offset lies before the log: take this checkpoint (end offset, epoch).
    Checkpoint { end_offset: i64, epoch: i32 },
    /// The log of whoever asks is another one after (epoch, end offset).
    Diverging { epoch: i32, end_offset: i64 },
    /// The offset lies behind the end, and nothing is known of its epoch.
    OutOfRange,
}

pub struct Publisher {
    log: Mutex<Log>,
    committed: watch::Sender<Committed>,
}

#[derive(Default)]
struct Log {
    batches: VecDeque<Published>,
    bytes: usize,
    start_offset: i64,
    end_offset: i64,
    /// Start offset of each epoch that is known.
    epochs: BTreeMap<i32, i64>,
    checkpoint: Option<Checkpoint>,
}

/// The batches of one entry.
struct Published {
    end_offset: i64,
    /// Index of the Raft entry.
    index: u64,
    bytes: Bytes,
}

impl Default for Publisher {
    fn default() -> Self {
        Publisher { log: Mutex::new(Log::default()), committed: watch::Sender::new(Committed::default()) }
    }
}

impl Publisher {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no code that holds this lock panics")
    }

    pub fn committed(&self) -> Committed {
        self.committed.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    /// Adds the batches of an entry, which end at `committed.image.end_offset`.
    pub fn append(&self, batches: Bytes, committed: Committed) {
        {
            let mut log = self.log();
            let (base_offset, end_offset) = (log.end_offset, committed.image.end_offset);
            assert!(end_offset > base_offset, "an entry with batches has records");
            log.epochs.entry(committed.epoch).or_insert(base_offset);
            log.bytes += batches.len();
            let index = committed.applied.unwrap_or(0);
            log.batches.push_back(Published { end_offset, index, bytes: batches });
            log.end_offset = end_offset;
            log.trim_to(bounds::CONTROLLER_PUBLISHED_BYTES_MAX);
        }
        self.committed.send_replace(committed);
    }

    /// An entry without records was applied.
    pub fn advance(&self, applied: u64) {
        self.committed.send_modify(|committed| committed.applied = Some(applied));
    }

    /// Starts over from a checkpoint.
    pub fn reset(&self, checkpoint: Checkpoint, committed: Committed) {
        {
            let mut log = self.log();
            let end_offset = checkpoint.end_offset;
            let epochs = BTreeMap::from([(checkpoint.epoch, end_offset)]);
            *log = Log {
                start_offset: end_offset,
                end_offset,
                epochs,
                checkpoint: Some(checkpoint),
                ..Log::default()
            };
        }
        self.committed.send_replace(committed);
    }

    /// A checkpoint of what was published: what lies before it may go.
    pub fn set_checkpoint(&self, checkpoint: Checkpoint) {
        let mut log = self.log();
        log.checkpoint = Some(checkpoint);
        log.trim_to(bounds::CONTROLLER_PUBLISHED_BYTES_MAX);
    }

    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.log().checkpoint.clone()
    }

    /// Drops everything that the checkpoint covers, as if memory were full.
    #[cfg(test)]
    pub(crate) fn forget_covered(&self) {
        self.log().trim_to(0);
    }

    /// The record offset after a Raft entry: of the last one up to `index` that has records.
    pub fn end_offset_of(&self, index: u64) -> i64 {
        let log = self.log();
        let after = log.batches.partition_point(|b| b.index <= index);
        match after.checked_sub(1) {
            Some(at) => log.batches[at].end_offset,
            None => log.start_offset,
        }
    }

    /// Bytes of the batches in memory.
    pub fn bytes(&self) -> usize {
        self.log().bytes
    }

    pub fn log_start_offset(&self) -> i64 {
        self.log().start_offset
    }

    /// Reads from `offset`; `last_epoch` is the epoch of the reader's last record, or -1.
    pub fn read(&self, offset: i64, last_epoch: i32, bytes_max: usize) -> Read {
        self.log().read(offset, last_epoch, bytes_max)
    }
}

impl Log {
    /// Drops batches that a checkpoint covers, oldest first, once there are too many.
    fn trim_to(&mut self, bytes_max: usize) {
        let covered = self.checkpoint.as_ref().map_or(0, |c| c.end_offset);
        while self.bytes > bytes_max {
            match self.batches.front() {
                Some(first) if first.end_offset <= covered => {
                    self.bytes -= first.bytes.len();
                    self.start_offset = first.end_offset;
                    self.batches.pop_front();
                }
                _ => break,
            }
        }
    }

    /// Epoch and end offset of the last epoch not later than `epoch`.
    fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let (found, _) = self.epochs.range(..=epoch).next_back()?;
        let end = self.epochs.range(found + 1..).next().map_or(self.end_offset, |(_, start)| *start);
        Some((*found, end))
    }

    fn read(&self, offset: i64, last_epoch: i32, bytes_max: usize) -> Read {
        let checkpoint = || match &self.checkpoint {
            Some(c) => Read::Checkpoint { end_offset: c.end_offset, epoch: c.epoch },
            None => Read::OutOfRange,
        };
        if offset < self.start_offset {
            return checkpoint();
        }
        if last_epoch >= 0 && offset > self.start_offset {
            match self.end_of_epoch(last_epoch) {
                None => return checkpoint(),
                Some((epoch, end_offset)) if epoch != last_epoch || end_offset < offset => {
                    return Read::Diverging { epoch, end_offset };
                }
                Some(_) => {}
            }
        }
        if offset > self.end_offset {
            return Read::OutOfRange;
        }
        let first = self.batches.partition_point(|b| b.end_offset <= offset);
        let mut found: Vec<Bytes> = Vec::new();
        let mut room = bytes_max;
        for published in self.batches.range(first..) {
            if !found.is_empty() && published.bytes.len() > room {
                break;
            }
            room = room.saturating_sub(published.bytes.len());
            found.push(published.bytes.clone());
        }
        Read::Batches(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(publisher: &Publisher, end_offset: i64, epoch: i32, bytes: usize) {
        let image = Image::from_snapshot([], end_offset);
        publisher.append(Bytes::from(vec![0; bytes]), Committed { image, epoch, applied: None });
    }

    #[test]
    fn reading_gives_whole_entries_from_the_one_that_holds_the_offset() {
        let publisher = Publisher::default();
        entry(&publisher, 3, 1, 10);
        entry(&publisher, 5, 1, 20);
        entry(&publisher, 6, 2, 30);
        let lens = |read| match read {
            Read::Batches(batches) => batches.iter().map(Bytes::len).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(lens(publisher.read(0, -1, 1000)), [10, 20, 30]);
        assert_eq!(lens(publisher.read(4, 1, 1000)), [20, 30]);
        assert_eq!(lens(publisher.read(3, 1, 1)), [20]);
        assert_eq!(lens(publisher.read(6, 2, 1000)), [0usize; 0]);
        assert_eq!(publisher.read(7, -1, 1000), Read::OutOfRange);
    }

    #[test]
    fn another_history_is_told_where_it_diverged() {
        let publisher = Publisher::default();
        entry(&publisher, 3, 1, 10);
        entry(&publisher, 6, 4, 10);
        assert_eq!(publisher.read(5, 1, 100), Read::Diverging { epoch: 1, end_offset: 3 });
        assert_eq!(publisher.read(5, 3, 100), Read::Diverging { epoch: 1, end_offset: 3 });
        assert_eq!(publisher.read(9, 4, 100), Read::Diverging { epoch: 4, end_offset: 6 });
    }

    #[test]
    fn who_is_behind_the_checkpoint_is_sent_to_it() {
        let publisher = Publisher::default();
        let checkpoint = Checkpoint { end_offset: 512, epoch: 3, bytes: Bytes::from_static(b"x") };
        let image = Image::from_snapshot([], 512);
        publisher.reset(checkpoint, Committed { image, epoch: 3, applied: Some(9) });
        entry(&publisher, 514, 3, 10);
        assert_eq!(publisher.read(0, -1, 100), Read::Checkpoint { end_offset: 512, epoch: 3 });
        assert_eq!(publisher.read(511, 2, 100), Read::Checkpoint { end_offset: 512, epoch: 3 });
        assert!(matches!(publisher.read(512, 3, 100), Read::Batches(b) if b.len() == 1));
    }

    #[test]
    fn batches_that_a_checkpoint_covers_go_when_memory_is_full() {
        let publisher = Publisher::default();
        let half = bounds::CONTROLLER_PUBLISHED_BYTES_MAX / 2;
        for end in 1..=4 {
            entry(&publisher, end, 1, half);
        }
        assert_eq!(publisher.log_start_offset(), 0, "nothing covers them yet");
        publisher.set_checkpoint(Checkpoint { end_offset: 3, epoch: 1, bytes: Bytes::new() });
        assert_eq!(publisher.log_start_offset(), 2);
        assert!(publisher.bytes() <= bounds::CONTROLLER_PUBLISHED_BYTES_MAX);
    }
}
