//! Timestamps to offsets: one `.timeindex` file beside each segment.
//!
//!     [timestamp i64][relative offset u32] ...      12 bytes an entry, big-endian
//!
//! An entry says: up to and including this offset, no record is younger than this timestamp. A segment that is closed ends
//! with the entry of its largest timestamp.
//!
//! Invariant: entries ascend strictly by timestamp, and do not descend by offset.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{File, Fs};

use crate::index_file::{ENTRY_BYTES_MAX, IndexFile};

const ENTRY_BYTES: usize = 12;

/// See the module.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    base_offset: i64,
    entries: IndexFile,
    /// The last entry; None if there is none, or nobody has looked yet.
    last: Option<(i64, u32)>,
    checked: bool,
}

fn decode(bytes: &[u8]) -> (i64, u32) {
    let (timestamp, offset) = bytes[..ENTRY_BYTES].split_at(8);
    let timestamp = i64::from_be_bytes(timestamp.try_into().expect("eight bytes"));
    (timestamp, u32::from_be_bytes(offset.try_into().expect("four bytes")))
}

impl TimeIndex {
    pub(crate) fn new(dir: &Arc<Path>, base_offset: i64, exists: bool) -> TimeIndex {
        let entries = IndexFile::new(dir, base_offset, "timeindex", ENTRY_BYTES, exists);
        TimeIndex { base_offset, entries, last: None, checked: !exists }
    }

    /// Looks at the file once. False if it is not sound; it counts as empty then.
    pub(crate) fn check(&mut self, fs: &Fs) -> io::Result<bool> {
        if self.checked {
            return Ok(true);
        }
        self.checked = true;
        let count = self.entries.count(fs)?;
        let Some(n) = count.checked_sub(1) else { return Ok(true) };
        let last = self.decode_entry(fs, n)?;
        // A segment that Kafka left open when it was killed has a tail of zeros.
        if last.0 < 0 || (n > 0 && last == (0, 0)) {
            let path = self.path();
            let dir = Arc::from(path.parent().expect("an index lies in its log's directory"));
            self.entries = IndexFile::new(&dir, self.base_offset, "timeindex", ENTRY_BYTES, false);
            return Ok(false);
        }
        self.last = Some(last);
        Ok(true)
    }

    fn decode_entry(&mut self, fs: &Fs, n: u64) -> io::Result<(i64, u32)> {
        let bytes: [u8; ENTRY_BYTES_MAX] = self.entries.entry(fs, n)?;
        Ok(decode(&bytes))
    }

    /// Adds an entry; one that is not younger than the last is left out.
    pub(crate) fn append(&mut self, fs: &Fs, timestamp: i64, offset: i64) -> io::Result<()> {
        let Ok(relative) = u32::try_from(offset - self.base_offset) else { return Ok(()) };
        if timestamp < 0 || self.last.is_some_and(|(t, o)| timestamp <= t || relative < o) {
            return Ok(());
        }
        self.last = Some((timestamp, relative));
        let mut entry = [0; ENTRY_BYTES];
        entry[..8].copy_from_slice(&timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&relative.to_be_bytes());
        self.entries.push(fs, &entry)
    }

    /// The offset of the last entry that is older than `timestamp`: no record before it is as young.
    pub(crate) fn lookup(&mut self, fs: &Fs, timestamp: i64) -> io::Result<i64> {
        let (mut low, mut high) = (0, self.entries.count(fs)?);
        let mut found = self.base_offset;
        while low < high {
            let middle = low + (high - low) / 2;
            let (t, offset) = self.decode_entry(fs, middle)?;
            if t < timestamp {
                found = self.base_offset + i64::from(offset);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// The youngest timestamp of the index, and its offset. Call `check` first.
    pub(crate) fn last(&self) -> Option<(i64, i64)> {
        self.last.map(|(t, o)| (t, self.base_offset + i64::from(o)))
    }

    /// Keeps the entries from the beginning that ascend and lie before `offset`.
    pub(crate) fn keep_sound(&mut self, fs: &Fs, offset: i64) -> io::Result<()> {
        let bytes = self.entries.all(fs)?;
        let (mut keep, mut last) = (0, None);
        for entry in bytes.chunks_exact(ENTRY_BYTES).map(decode) {
            let ascends = last.is_none_or(|(t, o): (i64, u32)| t < entry.0 && o <= entry.1) && entry.0 >= 0;
            if !ascends || self.base_offset + i64::from(entry.1) >= offset {
                break;
            }
            last = Some(entry);
            keep += 1;
        }
        self.entries.truncate(fs, keep)?;
        (self.last, self.checked) = (last, true);
        Ok(())
    }

    pub(crate) fn clear(&mut self, fs: &Fs) -> io::Result<()> {
        (self.last, self.checked) = (None, true);
        self.entries.truncate(fs, 0)
    }

    pub(crate) fn write_pending(&mut self, fs: &Fs) -> io::Result<()> {
        self.entries.write_pending(fs)
    }

    /// The file, with everything in it.
    pub(crate) fn whole(&mut self, fs: &Fs) -> io::Result<&File> {
        self.entries.whole(fs)
    }

    pub(crate) fn release(&mut self) {
        self.entries.release();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.entries.path()
    }

    /// Whether only the entry that closes a segment still fits into `segment.index.bytes`.
    pub(crate) fn is_full(&mut self, fs: &Fs, bytes_max: u64) -> io::Result<bool> {
        Ok(self.entries.count(fs)? + 1 >= bytes_max / ENTRY_BYTES as u64)
    }
}
