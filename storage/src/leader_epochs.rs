//! Which leader epoch began where: `leader-epoch-checkpoint`.
//!
//!     epoch      3          5                7
//!     offset     0 -------- 120 ------------ 300 ------> log end
//!
//! A follower that was cut off asks where an epoch ended, and truncates to that (KIP-101, KIP-279).
//!
//! Every batch carries its epoch, so the file is no more than a cache of the log: it is written when the log is flushed,
//! and recovery takes the epochs behind the recovery point from the batches. A new epoch costs no sync of its own.
//!
//! Invariant: epochs and start offsets ascend strictly.

use std::io;
use std::path::{Path, PathBuf};

use host::Fs;

use crate::checkpoint;

/// See the module.
#[derive(Debug)]
pub(crate) struct LeaderEpochs {
    path: PathBuf,
    entries: Vec<(i32, i64)>,
    /// The file does not say this yet.
    dirty: bool,
}

impl LeaderEpochs {
    pub(crate) fn load(fs: &Fs, path: &Path) -> io::Result<LeaderEpochs> {
        let mut entries: Vec<(i32, i64)> = Vec::new();
        for words in checkpoint::read(fs, path)? {
            let entry = (checkpoint::number(path, &words, 0)?, checkpoint::number(path, &words, 1)?);
            if entries.last().is_none_or(|(epoch, start)| *epoch < entry.0 && *start <= entry.1) {
                entries.push(entry);
            }
        }
        Ok(LeaderEpochs { path: path.to_owned(), entries, dirty: false })
    }

    /// Writes the file, durably, if it does not say what is known.
    pub(crate) fn write(&mut self, fs: &Fs) -> io::Result<()> {
        if self.dirty {
            let lines: Vec<String> =
                self.entries.iter().map(|(epoch, start)| format!("{epoch} {start}")).collect();
            checkpoint::write(fs, &self.path, &lines)?;
            self.dirty = false;
        }
        Ok(())
    }

    pub(crate) fn latest(&self) -> Option<i32> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }

    /// Notes that `epoch` begins at `start`, and drops what contradicts it.
    pub(crate) fn assign(&mut self, epoch: i32, start: i64) {
        if epoch < 0 || self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        self.entries.retain(|(_, s)| *s < start);
        self.entries.push((epoch, start));
        self.dirty = true;
    }

    /// The epoch of an offset.
    pub(crate) fn epoch_of(&self, offset: i64) -> Option<i32> {
        self.entries.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// Where the largest epoch that is not above `epoch` ended: that epoch, and the offset after its last record.
    /// None if all epochs here are above it, or none is known.
    pub(crate) fn end_of(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        if self.latest() == Some(epoch) {
            return Some((epoch, log_end));
        }
        if epoch < 0 || self.latest().is_none_or(|latest| epoch > latest) {
            return None;
        }
        let after = self.entries.iter().position(|(e, _)| *e > epoch)?;
        let floor = after.checked_sub(1).map(|i| self.entries[i].0);
        match floor {
            Some(floor) => Some((floor, self.entries[after].1)),
            // Kafka: all known epochs are later; the log below its first entry belongs to whoever asked.
            None => Some((epoch, self.entries[after].1)),
        }
    }

    /// Drops epochs that begin at or beyond a truncated end.
    pub(crate) fn truncate_from_end(&mut self, end: i64) {
        let before = self.entries.len();
        self.entries.retain(|(_, start)| *start < end);
        self.dirty |= self.entries.len() != before;
    }

    /// Drops epochs that end before a log start that moved forward; the epoch in force begins there now.
    pub(crate) fn truncate_from_start(&mut self, start: i64) {
        let Some(in_force) = self.entries.iter().rposition(|(_, s)| *s <= start) else { return };
        if in_force == 0 && self.entries[0].1 == start {
            return;
        }
        self.entries.drain(..in_force);
        self.entries[0].1 = start;
        self.dirty = true;
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.dirty = true;
    }
}
