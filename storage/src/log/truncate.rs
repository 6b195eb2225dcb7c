//! Cutting a log: a follower that diverged, a replica that starts anew.
//!
//! A cut is durable when it returns. What was cut would otherwise come back after a loss of power, among what was written in
//! its place. A process that dies in the middle of a cut leaves a mark in the directory: whoever opens the log finishes what was
//! visible already, before anything is built on it.

use std::io;
use std::path::{Path, PathBuf};

use host::{Fs, OpenMode};
use protocol::ids::Offset;

use super::Log;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::segment::Segment;

/// The mark of a cut that is under way.
fn mark(dir: &Path) -> PathBuf {
    dir.join("cut-in-progress")
}

/// Makes a cut durable that a process did not see the end of. Its effect, as far as it went, is in the files already.
pub(super) fn finish_cut(fs: &Fs, dir: &Path, active: &mut Segment) -> io::Result<()> {
    if !fs.exists(&mark(dir)) {
        return Ok(());
    }
    active.sync(fs)?;
    fs.sync_dir(dir)?;
    fs.remove_file(&mark(dir))
}

impl Log {
    /// Removes everything at and beyond `end`. Does nothing if the log ends before it.
    ///
    ///     before   [0 ... 1199] [1200 ... 2376] [2377 ... 2910]
    ///     to 1500  [0 ... 1199] [1200 . 1499]
    ///
    /// A batch that holds `end` goes as a whole: the log end may be below `end` afterwards.
    ///
    /// # Errors
    /// When writing or syncing fails; the log has failed then.
    pub fn truncate_to(&mut self, fs: &Fs, end: Offset) -> io::Result<()> {
        if end.0 >= self.log_end_offset {
            self.forget_empty_epochs();
            return Ok(());
        }
        if end.0 < self.local_log_start_offset {
            return self.truncate_fully_and_start_at(fs, end);
        }
        self.guarded(|log| {
            log.begin_cut(fs)?;
            let keep = log.segments.partition_point(|segment| segment.base_offset < end.0).max(1);
            let mut gone = log.segments.split_off(keep);
            if !gone.is_empty() {
                gone.reverse();
                Segment::delete_all(fs, &log.dir, gone)?;
                // A loss of power must not bring them back behind a segment that was cut: that would be a hole.
                fs.sync_dir(&log.dir)?;
            }
            let active = log.active();
            let position = active.locate(fs, end.0)?.map_or(active.size_bytes, |cut| cut.position);
            log.log_end_offset = active.truncate(fs, position)?;
            if log.log_end_offset < log.log_start_offset {
                // The batch that goes held the log start: nothing that counts is left.
                return log.restart(fs, log.log_start_offset);
            }
            log.after_truncation(fs)?;
            log.rebuild_producers(fs, i64::MAX)
        })
    }

    /// Removes everything; the log goes on at `start`.
    ///
    /// # Errors
    /// When writing or syncing fails; the log has failed then.
    pub fn truncate_fully_and_start_at(&mut self, fs: &Fs, start: Offset) -> io::Result<()> {
        self.guarded(|log| {
            log.begin_cut(fs)?;
            log.restart(fs, start.0)
        })
    }

    /// Forgets leader epochs that begin at the log end: a leader that wrote nothing in its epoch noted it there, and what
    /// another one gives instead may be of an older epoch.
    pub fn forget_empty_epochs(&mut self) {
        self.leader_epochs.truncate_from_end(self.log_end_offset);
    }

    fn begin_cut(&self, fs: &Fs) -> io::Result<()> {
        fs.open(&mark(&self.dir), OpenMode::Create)?;
        fs.sync_dir(&self.dir)
    }

    pub(super) fn restart(&mut self, fs: &Fs, start: i64) -> io::Result<()> {
        let mut gone = std::mem::take(&mut self.segments);
        gone.reverse();
        Segment::delete_all(fs, &self.dir, gone)?;
        self.segments.push(Segment::create(fs, &self.dir, start)?);
        self.leader_epochs.clear();
        self.producers = ProducerState::default();
        (self.log_start_offset, self.local_log_start_offset, self.log_end_offset) = (start, start, start);
        self.high_watermark = start;
        self.recovery_point = start;
        self.after_truncation(fs)
    }

    fn after_truncation(&mut self, fs: &Fs) -> io::Result<()> {
        self.cuts += 1;
        self.tail.clear();
        self.recovery_point = self.recovery_point.min(self.log_end_offset);
        self.high_watermark = self.high_watermark.min(self.log_end_offset);
        self.leader_epochs.truncate_from_end(self.log_end_offset);
        self.leader_epochs.write(fs)?;
        for offset in producer_snapshot::list(&fs.list(&self.dir)?) {
            // The one at the beginning of a log that begins anew is of what was there before.
            if offset > self.log_end_offset || self.log_end_offset == self.log_start_offset {
                fs.remove_file(&producer_snapshot::path(&self.dir, offset))?;
            }
        }
        if fs.exists(&mark(&self.dir)) {
            fs.remove_file(&mark(&self.dir))?;
        }
        fs.sync_dir(&self.dir)
    }
}
