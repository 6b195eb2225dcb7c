//! Reading: where records lie, without touching them.
//!
//!     [ batch ][ batch ][ batch ][ batch ][ batch ]
//!         ^from                       ^upper
//!     |<------- the region: cut by bytes_max, as in Kafka even within a batch -->|
//!
//! A region holds its file open: it can be sent after the segment was deleted.

use std::io;

use host::{FileRegion, Fs};
use protocol::ids::Offset;

use super::Log;
use crate::scan::Located;

/// Why nothing can be read at an offset.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is outside of {start}..={end}")]
    OutOfRange { offset: i64, start: i64, end: i64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Nothing at or beyond this offset: the high watermark, the last stable offset, or the log end.
    pub upper: Offset,
    pub bytes_max: u64,
    /// Give the first batch even if it is larger than `bytes_max`. Otherwise such a batch is not given at all.
    pub at_least_one: bool,
}

/// What a read gives.
#[derive(Clone, Debug)]
pub enum Read {
    /// Batches in this log, the first of which holds the offset. The last one may be cut off.
    Local(Slice),
    /// The offset is below the local log start: tiered storage has it.
    Remote,
}

/// A run of batches in one segment.
#[derive(Clone, Debug)]
pub struct Slice {
    /// None if there is nothing to read yet.
    pub region: Option<FileRegion>,
    /// The first offset of the first batch: at or below what was asked.
    pub base_offset: Offset,
}

impl Log {
    /// The batches from `from` on, as a region of a file.
    ///
    /// # Errors
    /// `OutOfRange` below the log start and beyond the log end.
    pub fn read(&mut self, fs: &Fs, from: Offset, limits: ReadLimits) -> Result<Read, ReadError> {
        if from.0 < self.log_start_offset || from.0 > self.log_end_offset {
            let (start, end) = (self.log_start_offset, self.log_end_offset);
            return Err(ReadError::OutOfRange { offset: from.0, start, end });
        }
        if from.0 < self.local_log_start_offset {
            return Ok(Read::Remote);
        }
        let nothing = Read::Local(Slice { region: None, base_offset: from });
        if from >= limits.upper {
            return Ok(nothing);
        }
        // A gap at the end of a segment: the next one has what follows.
        for at in self.segment_of(from.0)..self.segments.len() {
            if let Some(first) = self.locate(fs, at, from.0)? {
                let slice = self.slice(fs, at, &first, limits)?;
                return Ok(slice.map_or(nothing, Read::Local));
            }
        }
        Ok(nothing)
    }

    /// The batch that holds `offset`, or the next one, in a segment.
    fn locate(&mut self, fs: &Fs, at: usize, offset: i64) -> io::Result<Option<Located>> {
        match self.tail_position(at, offset) {
            Some(position) => self.segments[at].batch_at(fs, position),
            None => self.segments[at].locate(fs, offset),
        }
    }

    /// Where the batch that holds `offset` stands, if it is among the newest.
    fn tail_position(&self, at: usize, offset: i64) -> Option<u64> {
        // The first one remembered may not be the first that reaches the offset.
        let is_active = at + 1 == self.segments.len();
        let found = if is_active { self.tail.iter().position(|(last, _)| *last >= offset)? } else { 0 };
        (found > 0).then(|| self.tail[found].1)
    }

    /// What may be given of a segment from a batch on.
    fn slice(
        &mut self,
        fs: &Fs,
        at: usize,
        first: &Located,
        limits: ReadLimits,
    ) -> io::Result<Option<Slice>> {
        let size = self.segments[at].size_bytes;
        let segment_end = self.segments.get(at + 1).map_or(self.log_end_offset, |next| next.base_offset);
        let end = if limits.upper.0 >= segment_end {
            size
        } else {
            // The batch that holds the upper bound is not given, nor what follows it.
            self.locate(fs, at, limits.upper.0)?.map_or(size, |l| l.position)
        };
        let available = end.saturating_sub(first.position);
        let whole_first = first.header.size_bytes() as u64;
        let most = if limits.at_least_one { limits.bytes_max.max(whole_first) } else { limits.bytes_max };
        let length = available.min(most);
        // Later batches may be cut off, the first may not: a client would take it for one that it can never read.
        if length < whole_first {
            return Ok(None);
        }
        let file = self.segments[at].log_file(fs)?.clone();
        let region = FileRegion { file, position: first.position, length };
        Ok(Some(Slice { region: Some(region), base_offset: first.header.base_offset }))
    }
}
