//! Reading: where records lie, without touching them.

use std::io;

use host::{FileRegion, Fs};
use protocol::ids::Offset;

use super::Log;
use crate::segment::Located;

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
    /// Give the first batch even if it is larger than `bytes_max`.
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

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: Option<i32>,
}

impl Log {
    /// The batches from `from` on, as a region of a file.
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
        let mut base = self.segments.range(..=from.0).next_back().map(|(base, _)| *base);
        while let Some(at) = base {
            if let Some((position, first)) = self.locate(fs, at, from.0)? {
                let slice = self.slice(fs, at, position, first, limits)?;
                return Ok(slice.map_or(nothing, Read::Local));
            }
            // A gap at the end of this segment: the next one has what follows.
            base = self.segments.range(at + 1..).next().map(|(base, _)| *base);
        }
        Ok(nothing)
    }

    /// Position and header of the batch that holds `offset`, or of the next one, in a segment.
    fn locate(&mut self, fs: &Fs, base: i64, offset: i64) -> io::Result<Option<(u64, Located)>> {
        let is_active = self.segments.keys().next_back() == Some(&base);
        if is_active && let Some(position) = self.tail_position(offset) {
            let segment = self.segments.get_mut(&base).expect("it is the active one");
            let mut located = None;
            segment.scan_one(fs, position, |l| located = Some(l))?;
            return Ok(located.map(|l| (position, l)));
        }
        let segment = self.segments.get_mut(&base).expect("just found");
        Ok(segment.locate(fs, offset)?.map(|l| (l.position, l)))
    }

    /// Where the batch that holds `offset` stands, if it is among the newest.
    fn tail_position(&self, offset: i64) -> Option<u64> {
        let at = self.tail.iter().position(|(last, _)| *last >= offset)?;
        // The first one remembered may not be the first that reaches the offset.
        (at > 0).then(|| self.tail[at].1)
    }

    fn slice(&mut self, fs: &Fs, base: i64, position: u64, first: Located, limits: ReadLimits) -> io::Result<Option<Slice>> {
        let is_active = self.segments.keys().next_back() == Some(&base);
        let next_base = self.segments.range(base + 1..).next().map(|(b, _)| *b);
        let size = self.segments[&base].size_bytes;
        let end = if limits.upper.0 >= self.log_end_offset || next_base.is_some_and(|next| limits.upper.0 >= next) {
            size
        } else {
            // The batch that holds the upper bound is not given, nor what follows it.
            let tail = if is_active { self.tail_position(limits.upper.0) } else { None };
            match tail {
                Some(position) => position,
                None => {
                    let segment = self.segments.get_mut(&base).expect("just found");
                    segment.locate(fs, limits.upper.0)?.map_or(size, |l| l.position)
                }
            }
        };
        if end <= position {
            return Ok(None);
        }
        let whole_first = first.header.size_bytes() as u64;
        let most = if limits.at_least_one { limits.bytes_max.max(whole_first) } else { limits.bytes_max };
        let length = (end - position).min(most);
        if length == 0 {
            return Ok(None);
        }
        let file = self.segments[&base].open_file(fs)?;
        let region = FileRegion { file, position, length };
        Ok(Some(Slice { region: Some(region), base_offset: first.header.base_offset }))
    }

    /// The first record at or after the log start that is as young as `timestamp`.
    pub fn offset_of_timestamp(&mut self, fs: &Fs, timestamp: i64) -> io::Result<Option<FoundTimestamp>> {
        let start = self.log_start_offset;
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        for base in bases {
            let segment = self.segments.get_mut(&base).expect("just listed");
            if segment.max_timestamp.is_none() && segment.size_bytes > 0 {
                segment.load_timestamps(fs)?;
            }
            if segment.max_timestamp.is_none_or(|(t, _)| t < timestamp) {
                continue;
            }
            if let Some(located) = segment.locate_timestamp(fs, timestamp, start)?
                && let Some(found) = self.first_record(fs, base, &located, |t, o| t >= timestamp && o >= start)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp; the earliest of several.
    pub fn max_timestamp(&mut self, fs: &Fs) -> io::Result<Option<FoundTimestamp>> {
        let mut best: Option<(i64, i64, i64)> = None;
        for (base, segment) in &mut self.segments {
            if segment.max_timestamp.is_none() && segment.size_bytes > 0 {
                segment.load_timestamps(fs)?;
            }
            if let Some((timestamp, offset)) = segment.max_timestamp
                && best.is_none_or(|(t, ..)| timestamp > t)
            {
                best = Some((timestamp, offset, *base));
            }
        }
        let Some((timestamp, offset, base)) = best else { return Ok(None) };
        let segment = self.segments.get_mut(&base).expect("just seen");
        match segment.locate(fs, offset)? {
            Some(located) => self.first_record(fs, base, &located, |t, _| t == timestamp),
            None => Ok(None),
        }
    }

    /// The first record of a batch that fits, by timestamp and offset.
    fn first_record(
        &mut self,
        fs: &Fs,
        base: i64,
        located: &Located,
        fits: impl Fn(i64, i64) -> bool,
    ) -> io::Result<Option<FoundTimestamp>> {
        let bytes = self.segments[&base].read_batch(fs, located)?;
        let malformed = |e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", self.dir.display()));
        let batch = protocol::batch::Batch::read(&bytes).map_err(malformed)?;
        for record in batch.records(protocol::bounds::DECOMPRESSED_BATCH_BYTES_MAX).map_err(malformed)? {
            let record = record.map_err(malformed)?;
            if fits(record.timestamp, record.offset.0) {
                let leader_epoch = Some(located.header.leader_epoch.0).filter(|e| *e >= 0);
                return Ok(Some(FoundTimestamp { timestamp: record.timestamp, offset: record.offset, leader_epoch }));
            }
        }
        Ok(None)
    }
}
