//! One segment: a `.log` file of record batches, and its three indexes.
//!
//!     00000000000000001200.log        [batch 1200..1203][batch 1204..1204][batch 1205..1250] ...
//!     00000000000000001200.index      1204 -> position of the batch that begins after offset 1204's, ...
//!     00000000000000001200.timeindex  ...       .txnindex, if a transaction was aborted here
//!
//! Only the last segment of a log is written. Files are opened when they are needed, and the indexes of older segments are
//! closed: thousands of idle partitions hold no descriptors to speak of.
//!
//! Invariant: `size_bytes` counts whole batches only; what a crash left behind it was cut off when the log was opened.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use host::{File, Fs, OpenMode};
use protocol::batch::{BatchHeader, HEADER_BYTES};

use crate::offset_index::OffsetIndex;
use crate::time_index::TimeIndex;
use crate::txn_index::TxnIndex;

/// How much of a log is read at a time when it is scanned.
const SCAN_BYTES: usize = 64 << 10;
/// The first read when a position is looked for: about what lies between two index entries.
const LOOKUP_BYTES: usize = 8 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    path: PathBuf,
    log: Option<File>,
    pub(crate) size_bytes: u64,
    pub(crate) offset_index: OffsetIndex,
    pub(crate) time_index: TimeIndex,
    pub(crate) txn_index: TxnIndex,
    bytes_since_index_entry: u64,
    /// The youngest timestamp and the offset where it stands (the last of its batch).
    pub(crate) max_timestamp: Option<(i64, i64)>,
    /// The timestamp of the first batch: rolling by time counts from it.
    pub(crate) first_timestamp: Option<i64>,
    /// Whether something was written since the last sync.
    dirty: bool,
}

/// A batch's header and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
}

pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:020}.{suffix}")
}

impl Segment {
    pub(crate) fn new(dir: &Path, base_offset: i64, has_txn_index: bool) -> Segment {
        let at = |suffix: &str| dir.join(file_name(base_offset, suffix));
        Segment {
            base_offset,
            path: at("log"),
            log: None,
            size_bytes: 0,
            offset_index: OffsetIndex::new(at("index"), base_offset),
            time_index: TimeIndex::new(at("timeindex"), base_offset),
            txn_index: TxnIndex::new(at("txnindex"), !has_txn_index),
            bytes_since_index_entry: 0,
            max_timestamp: None,
            first_timestamp: None,
            dirty: false,
        }
    }

    pub(crate) fn log_file(&mut self, fs: &Fs) -> io::Result<&File> {
        if self.log.is_none() {
            self.log = Some(fs.open(&self.path, OpenMode::Create)?);
        }
        Ok(self.log.as_ref().expect("just opened"))
    }

    pub(crate) fn open_file(&self, fs: &Fs) -> io::Result<File> {
        match &self.log {
            Some(file) => Ok(file.clone()),
            None => fs.open(&self.path, OpenMode::ReadWrite),
        }
    }

    /// Appends one batch with one write, and an index entry if one is due.
    pub(crate) fn append(&mut self, fs: &Fs, header: &BatchHeader, payload: &[u8], index_interval_bytes: u64) -> io::Result<()> {
        let (position, last_offset) = (self.size_bytes, header.last_offset().0);
        let head = header.to_bytes();
        self.log_file(fs)?.write_all_vectored_at(&[&head, payload], position)?;
        self.dirty = true;
        self.size_bytes += header.size_bytes() as u64;
        self.note(fs, header, position, last_offset, index_interval_bytes)
    }

    /// Takes a batch at the end of the log into the indexes.
    pub(crate) fn note(
        &mut self,
        fs: &Fs,
        header: &BatchHeader,
        position: u64,
        last_offset: i64,
        index_interval_bytes: u64,
    ) -> io::Result<()> {
        if self.max_timestamp.is_none_or(|(t, _)| header.max_timestamp > t) {
            self.max_timestamp = Some((header.max_timestamp, last_offset));
        }
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if self.bytes_since_index_entry > index_interval_bytes {
            self.offset_index.append(fs, last_offset, position)?;
            if let Some((timestamp, offset)) = self.max_timestamp {
                self.time_index.append(fs, timestamp, offset)?;
            }
            self.bytes_since_index_entry = 0;
        }
        self.bytes_since_index_entry += header.size_bytes() as u64;
        Ok(())
    }

    /// The first batch at or after `position` whose last offset is not below `offset`.
    pub(crate) fn locate(&mut self, fs: &Fs, offset: i64) -> io::Result<Option<Located>> {
        let from = self.offset_index.lookup(fs, offset)?;
        let file = self.open_file(fs)?;
        let mut found = None;
        scan(&file, from, self.size_bytes, LOOKUP_BYTES, |located| {
            if located.header.last_offset().0 >= offset {
                found = Some(located);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// The first batch from `from` on with a record as young as `timestamp`.
    pub(crate) fn locate_timestamp(&mut self, fs: &Fs, timestamp: i64, from: i64) -> io::Result<Option<Located>> {
        let start = self.time_index.lookup(fs, timestamp)?.max(from);
        let position = self.offset_index.lookup(fs, start)?;
        let file = self.open_file(fs)?;
        let mut found = None;
        scan(&file, position, self.size_bytes, LOOKUP_BYTES, |located| {
            if located.header.max_timestamp >= timestamp && located.header.last_offset().0 >= from {
                found = Some(located);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// The whole batch at a position.
    pub(crate) fn read_batch(&self, fs: &Fs, located: &Located) -> io::Result<Bytes> {
        let mut bytes = vec![0; located.header.size_bytes()];
        self.open_file(fs)?.read_exact_at(&mut bytes, located.position)?;
        Ok(Bytes::from(bytes))
    }

    /// Every batch's header from `position` on, until `visit` returns false.
    pub(crate) fn scan(&self, fs: &Fs, position: u64, visit: impl FnMut(Located) -> bool) -> io::Result<()> {
        scan(&self.open_file(fs)?, position, self.size_bytes, SCAN_BYTES, visit)
    }

    /// The batch at a position, if it is whole.
    pub(crate) fn scan_one(&self, fs: &Fs, position: u64, mut found: impl FnMut(Located)) -> io::Result<()> {
        scan(&self.open_file(fs)?, position, self.size_bytes, HEADER_BYTES, |located| {
            found(located);
            false
        })
    }

    /// Opens the indexes of a segment that was retired and is to be written again.
    pub(crate) fn reopen_indexes(&mut self, fs: &Fs) -> io::Result<()> {
        self.offset_index.write_pending(fs)?;
        self.time_index.write_pending(fs)?;
        self.offset_index.load(fs, self.size_bytes)?;
        self.time_index.load(fs)?;
        Ok(())
    }

    /// Cuts the log at a position, whose next offset is `offset`, and the indexes with it.
    pub(crate) fn truncate(&mut self, fs: &Fs, position: u64, offset: i64) -> io::Result<()> {
        self.log_file(fs)?.set_len(position)?;
        self.size_bytes = position;
        self.dirty = true;
        self.offset_index.truncate(fs, position)?;
        self.time_index.truncate(fs, offset)?;
        self.txn_index.truncate(fs, offset)?;
        self.bytes_since_index_entry = 0;
        self.load_timestamps(fs)
    }

    /// Finds the timestamps of the segment from its time index and the log behind it.
    pub(crate) fn load_timestamps(&mut self, fs: &Fs) -> io::Result<()> {
        if self.time_index.last().is_none() {
            // An older segment after a start: its indexes were not looked at yet.
            self.time_index.load(fs)?;
            self.offset_index.load(fs, self.size_bytes)?;
        }
        self.max_timestamp = self.time_index.last();
        self.first_timestamp = None;
        let from = self.offset_index.last().map_or(0, |(_, position)| position);
        let mut max = self.max_timestamp;
        let mut first = None;
        if from > 0 && self.size_bytes > 0 {
            self.scan(fs, 0, |located| {
                first = Some(located.header.max_timestamp);
                false
            })?;
        }
        self.scan(fs, from, |located| {
            first.get_or_insert(located.header.max_timestamp);
            if max.is_none_or(|(t, _)| located.header.max_timestamp > t) {
                max = Some((located.header.max_timestamp, located.header.last_offset().0));
            }
            true
        })?;
        (self.max_timestamp, self.first_timestamp) = (max, first);
        Ok(())
    }

    /// Makes the last timestamp findable, as Kafka does when it rolls or closes a segment.
    pub(crate) fn finish_time_index(&mut self, fs: &Fs) -> io::Result<()> {
        if let Some((timestamp, offset)) = self.max_timestamp {
            self.time_index.append(fs, timestamp, offset)?;
        }
        Ok(())
    }

    /// Makes everything durable; does nothing if nothing was written since the last time.
    pub(crate) fn sync(&mut self, fs: &Fs) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        self.log_file(fs)?.sync()?;
        self.offset_index.sync(fs)?;
        self.time_index.sync(fs)?;
        self.txn_index.sync(fs)?;
        self.dirty = false;
        Ok(())
    }

    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    pub(crate) fn reset_timestamps(&mut self) {
        (self.max_timestamp, self.first_timestamp, self.bytes_since_index_entry) = (None, None, 0);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Closes what is not needed for a segment that will only be read.
    pub(crate) fn retire(&mut self, fs: &Fs) -> io::Result<()> {
        self.finish_time_index(fs)?;
        self.offset_index.write_pending(fs)?;
        self.time_index.write_pending(fs)?;
        self.offset_index.close();
        self.time_index.close();
        self.log = None;
        Ok(())
    }

    /// Removes the segment's files.
    pub(crate) fn delete(self, fs: &Fs) -> io::Result<()> {
        for path in [&self.path, self.offset_index.path(), self.time_index.path(), self.txn_index.path()] {
            if fs.exists(path) {
                fs.remove_file(path)?;
            }
        }
        Ok(())
    }

    /// `log.index.size.max.bytes`: a segment whose index is full is rolled.
    pub(crate) fn index_is_full(&self, index_bytes_max: u64) -> bool {
        self.offset_index.bytes() + crate::offset_index::ENTRY_BYTES > index_bytes_max
    }
}

/// Reads headers from `position` to `end`. Stops quietly at what is no whole batch: recovery decides about that.
fn scan(
    file: &File,
    mut position: u64,
    end: u64,
    read_bytes: usize,
    mut visit: impl FnMut(Located) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; read_bytes];
    let (mut start, mut filled) = (position, 0usize);
    while position + HEADER_BYTES as u64 <= end {
        let at = (position - start) as usize;
        if at + HEADER_BYTES > filled {
            start = position;
            let most = read_bytes.min((end - position) as usize);
            file.read_exact_at(&mut buffer[..most], position)?;
            filled = most;
            continue;
        }
        let Ok(header) = BatchHeader::read(&buffer[at..filled]) else { return Ok(()) };
        let next = position + header.size_bytes() as u64;
        if next > end || !visit(Located { header, position }) {
            return Ok(());
        }
        position = next;
    }
    Ok(())
}
