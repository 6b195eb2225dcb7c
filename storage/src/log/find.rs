//! Finding records by their timestamps, for ListOffsets.

use std::io;

use host::Fs;
use protocol::batch::Batch;
use protocol::bounds::DECOMPRESSED_BATCH_BYTES_MAX;
use protocol::ids::Offset;

use super::Log;
use crate::scan::Located;

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: Option<i32>,
}

impl Log {
    /// The first record at or after the log start that is as young as `timestamp`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn offset_of_timestamp(&mut self, fs: &Fs, timestamp: i64) -> io::Result<Option<FoundTimestamp>> {
        let start = self.local_log_start_offset;
        for at in 0..self.segments.len() {
            let segment = &mut self.segments[at];
            if segment.max_timestamp(fs)?.is_none_or(|(t, _)| t < timestamp) {
                continue;
            }
            let Some(located) = segment.locate_timestamp(fs, timestamp, start)? else { continue };
            if let Some(found) = self.first_record(fs, at, &located, |t, o| t >= timestamp && o >= start)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp; the earliest of several.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn max_timestamp(&mut self, fs: &Fs) -> io::Result<Option<FoundTimestamp>> {
        let start = self.log_start_offset;
        let mut best: Option<(i64, i64, usize)> = None;
        for (at, segment) in self.segments.iter_mut().enumerate() {
            let mut max = segment.max_timestamp(fs)?;
            if max.is_some_and(|(_, offset)| offset < start) {
                // It is below the log start, which only the first segment can have in it.
                max = segment.max_timestamp_from(fs, start)?;
            }
            if let Some((timestamp, offset)) = max
                && best.is_none_or(|(t, ..)| timestamp > t)
            {
                best = Some((timestamp, offset, at));
            }
        }
        let Some((timestamp, offset, at)) = best else { return Ok(None) };
        match self.segments[at].locate(fs, offset)? {
            Some(located) => self.first_record(fs, at, &located, |t, _| t == timestamp),
            None => Ok(None),
        }
    }

    /// The first record of a batch that fits, by timestamp and offset.
    fn first_record(
        &mut self,
        fs: &Fs,
        at: usize,
        located: &Located,
        fits: impl Fn(i64, i64) -> bool,
    ) -> io::Result<Option<FoundTimestamp>> {
        let bytes = self.segments[at].read_batch(fs, located)?;
        let malformed =
            |e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", self.dir.display()));
        let batch = Batch::read(&bytes).map_err(malformed)?;
        for record in batch.records(DECOMPRESSED_BATCH_BYTES_MAX).map_err(malformed)? {
            let record = record.map_err(malformed)?;
            if fits(record.timestamp, record.offset.0) {
                let leader_epoch = Some(located.header.leader_epoch.0).filter(|e| *e >= 0);
                return Ok(Some(FoundTimestamp {
                    timestamp: record.timestamp,
                    offset: record.offset,
                    leader_epoch,
                }));
            }
        }
        Ok(None)
    }
}
