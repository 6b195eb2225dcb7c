//! What a log need not keep any more, by age and by size (Kafka's `UnifiedLog.deleteOldSegments`).
//!
//!     [ 0 ... 1199 ][ 1200 ... 2376 ][ 2377 ... 2910 ]|
//!     too old        young enough     active          '- high watermark
//!     '- goes: the log starts at 1200
//!
//! Whole segments go, from the oldest on and as long as all of their records are committed. The active one goes as well when
//! it is due: a new one is begun before.

use std::io;

use host::Fs;
use protocol::ids::Offset;

use super::Log;

/// The limits of one log; None where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`: of the youngest record of a segment.
    pub age_ms_max: Option<i64>,
    /// `retention.bytes`: at least so much is kept.
    pub size_bytes_max: Option<u64>,
}

impl Log {
    /// Deletes the segments that are due, and returns how many. A log with such segments begins later afterwards.
    ///
    /// # Errors
    /// When reading, writing or deleting fails; the log has failed then.
    pub fn delete_old_segments(&mut self, fs: &Fs, retention: Retention, now_ms: i64) -> io::Result<usize> {
        let due = self.guarded(|log| Ok(log.too_old(fs, retention, now_ms)?.max(log.too_much(retention))))?;
        if due == 0 {
            return Ok(0);
        }
        if due == self.segments.len() {
            self.roll(fs)?;
        }
        let start = self.segments[due].base_offset;
        self.advance_log_start(fs, Offset(start))?;
        Ok(due)
    }

    /// Whether all records of a segment are committed; an active one without any never goes.
    fn may_go(&self, at: usize) -> bool {
        let end = self.segments.get(at + 1).map_or(self.log_end_offset, |next| next.base_offset);
        let is_empty = at + 1 == self.segments.len() && self.segments[at].size_bytes == 0;
        !is_empty && end <= self.high_watermark
    }

    fn too_old(&mut self, fs: &Fs, retention: Retention, now_ms: i64) -> io::Result<usize> {
        let Some(age_ms_max) = retention.age_ms_max else { return Ok(0) };
        let mut count = 0;
        while count < self.segments.len() && self.may_go(count) {
            // Records without timestamps have no age: their segments go by size alone.
            let youngest = self.segments[count].max_timestamp(fs)?;
            let is_old = |(youngest, _): (i64, i64)| now_ms.saturating_sub(youngest) > age_ms_max;
            if !youngest.is_some_and(is_old) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    fn too_much(&self, retention: Retention) -> usize {
        let Some(size_bytes_max) = retention.size_bytes_max else { return 0 };
        let Some(mut surplus) = self.size_bytes().checked_sub(size_bytes_max) else { return 0 };
        let mut count = 0;
        while count < self.segments.len() && self.may_go(count) {
            let Some(left) = surplus.checked_sub(self.segments[count].size_bytes) else { break };
            (surplus, count) = (left, count + 1);
        }
        count
    }
}
