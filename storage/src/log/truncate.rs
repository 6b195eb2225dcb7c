//! Cutting a log: a follower that diverged, a replica that starts anew.

use std::io;

use host::Fs;
use protocol::ids::Offset;

use super::Log;
use super::open::rebuild_producers;
use crate::producer_snapshot;

impl Log {
    /// Removes everything at and beyond `end`. Does nothing if the log ends before it.
    ///
    ///     before   [0 ... 1199] [1200 ... 2376] [2377 ... 2910]
    ///     to 1500  [0 ... 1199] [1200 . 1499]
    pub fn truncate_to(&mut self, fs: &Fs, end: Offset) -> io::Result<()> {
        if end.0 >= self.log_end_offset {
            return Ok(());
        }
        if end.0 < self.local_log_start_offset {
            return self.truncate_fully_and_start_at(fs, end);
        }
        self.guarded(|log| {
            while let Some((base, _)) = log.segments.last_key_value()
                && *base >= end.0
                && log.segments.len() > 1
            {
                let (_, segment) = log.segments.pop_last().expect("just seen");
                segment.delete(fs)?;
            }
            let dir = log.dir.clone();
            let active = log.active();
            active.reopen_indexes(fs)?;
            // A batch that holds the offset goes as a whole: its records cannot be told apart here.
            let cut = active.locate(fs, end.0)?;
            let (position, log_end) = match cut {
                Some(located) => (located.position, located.header.base_offset.0.min(end.0)),
                None => (active.size_bytes, end.0),
            };
            active.truncate(fs, position, log_end)?;
            log.log_end_offset = if position == 0 { log.active().base_offset.max(log_end) } else { log_end };
            log.after_truncation(fs)?;
            for offset in producer_snapshot::list(&fs.list(&dir)?) {
                if offset > log.log_end_offset {
                    fs.remove_file(&producer_snapshot::path(&dir, offset))?;
                }
            }
            rebuild_producers(log, fs)
        })
    }

    /// Removes everything; the log goes on at `start`.
    pub fn truncate_fully_and_start_at(&mut self, fs: &Fs, start: Offset) -> io::Result<()> {
        self.guarded(|log| {
            while let Some((_, segment)) = log.segments.pop_first() {
                segment.delete(fs)?;
            }
            for offset in producer_snapshot::list(&fs.list(&log.dir)?) {
                fs.remove_file(&producer_snapshot::path(&log.dir, offset))?;
            }
            let mut segment = crate::segment::Segment::new(&log.dir, start.0, false);
            segment.log_file(fs)?;
            log.segments.insert(start.0, segment);
            log.leader_epochs.clear(fs)?;
            log.producers = crate::producer_state::ProducerState::default();
            (log.log_start_offset, log.local_log_start_offset, log.log_end_offset) = (start.0, start.0, start.0);
            log.after_truncation(fs)
        })
    }

    fn after_truncation(&mut self, fs: &Fs) -> io::Result<()> {
        self.tail.clear();
        self.recovery_point = self.recovery_point.min(self.log_end_offset);
        self.high_watermark = self.high_watermark.min(self.log_end_offset);
        self.leader_epochs.truncate_from_end(fs, self.log_end_offset)
    }
}
