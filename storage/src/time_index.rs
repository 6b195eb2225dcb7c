//! Timestamps to offsets: one `.timeindex` file beside each segment.
//!
//!     [timestamp i64][relative offset u32] ...      12 bytes an entry, ascending in both columns
//!
//! An entry says: up to and including this offset, no record is younger than this timestamp.

use std::io;
use std::path::PathBuf;

use host::{File, Fs, OpenMode};

const ENTRY_BYTES: u64 = 12;
const PENDING_MAX: usize = 128;

/// See the module. The file is opened when it is first needed.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    path: PathBuf,
    base_offset: i64,
    file: Option<File>,
    written: u64,
    pending: Vec<(i64, u32)>,
    last: Option<(i64, u32)>,
}

impl TimeIndex {
    pub(crate) fn new(path: PathBuf, base_offset: i64) -> TimeIndex {
        TimeIndex { path, base_offset, file: None, written: 0, pending: Vec::new(), last: None }
    }

    /// Opens an existing file and checks it. False if it is not sound: then make it again.
    pub(crate) fn load(&mut self, fs: &Fs) -> io::Result<bool> {
        if !fs.exists(&self.path) {
            return Ok(false);
        }
        let file = fs.open(&self.path, OpenMode::ReadWrite)?;
        let length = file.len()?;
        self.written = length / ENTRY_BYTES;
        self.file = Some(file);
        if length % ENTRY_BYTES != 0 {
            return Ok(false);
        }
        self.last = if self.written > 0 { Some(self.entry(self.written - 1)?) } else { None };
        // The zeros of a preallocated tail are no timestamps.
        Ok(self.last.is_none_or(|(timestamp, _)| timestamp > 0))
    }

    pub(crate) fn clear(&mut self, fs: &Fs) -> io::Result<()> {
        self.open(fs)?.set_len(0)?;
        (self.written, self.last) = (0, None);
        self.pending.clear();
        Ok(())
    }

    fn open(&mut self, fs: &Fs) -> io::Result<&File> {
        if self.file.is_none() {
            // New, or closed for a while: what is in the file counts.
            let file = fs.open(&self.path, OpenMode::Create)?;
            self.written = file.len()? / ENTRY_BYTES;
            self.file = Some(file);
        }
        Ok(self.file.as_ref().expect("just opened"))
    }

    fn entry(&self, n: u64) -> io::Result<(i64, u32)> {
        if n >= self.written {
            return Ok(self.pending[(n - self.written) as usize]);
        }
        let mut bytes = [0u8; 12];
        self.file.as_ref().expect("written entries have a file").read_exact_at(&mut bytes, n * ENTRY_BYTES)?;
        let (timestamp, offset) = bytes.split_at(8);
        let timestamp = i64::from_be_bytes(timestamp.try_into().expect("eight bytes"));
        Ok((timestamp, u32::from_be_bytes(offset.try_into().expect("four bytes"))))
    }

    /// Adds an entry; one that is not younger than the last is left out.
    pub(crate) fn append(&mut self, fs: &Fs, timestamp: i64, offset: i64) -> io::Result<()> {
        let Ok(relative) = u32::try_from(offset - self.base_offset) else { return Ok(()) };
        if timestamp <= 0 || self.last.is_some_and(|(t, o)| timestamp <= t || relative <= o) {
            return Ok(());
        }
        self.pending.push((timestamp, relative));
        self.last = Some((timestamp, relative));
        if self.pending.len() >= PENDING_MAX { self.write_pending(fs) } else { Ok(()) }
    }

    pub(crate) fn write_pending(&mut self, fs: &Fs) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let mut bytes = Vec::with_capacity(pending.len() * ENTRY_BYTES as usize);
        for (timestamp, offset) in &pending {
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        self.open(fs)?;
        let at = self.written * ENTRY_BYTES;
        self.open(fs)?.write_all_at(&bytes, at)?;
        self.written += pending.len() as u64;
        Ok(())
    }

    /// The offset of the last entry that is older than `timestamp`: records before it are older too.
    pub(crate) fn lookup(&mut self, fs: &Fs, timestamp: i64) -> io::Result<i64> {
        if self.file.is_none() && fs.exists(&self.path) {
            self.open(fs)?;
        }
        let (mut low, mut high) = (0, self.written + self.pending.len() as u64);
        let mut found = self.base_offset;
        while low < high {
            let middle = low + (high - low) / 2;
            let (t, offset) = self.entry(middle)?;
            if t < timestamp {
                found = self.base_offset + i64::from(offset);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// The youngest timestamp and its offset.
    pub(crate) fn last(&self) -> Option<(i64, i64)> {
        self.last.map(|(t, o)| (t, self.base_offset + i64::from(o)))
    }

    /// Drops entries at or beyond an offset.
    pub(crate) fn truncate(&mut self, fs: &Fs, offset: i64) -> io::Result<()> {
        self.open(fs)?;
        self.write_pending(fs)?;
        let mut keep = self.written;
        while keep > 0 && self.base_offset + i64::from(self.entry(keep - 1)?.1) >= offset {
            keep -= 1;
        }
        self.open(fs)?.set_len(keep * ENTRY_BYTES)?;
        self.written = keep;
        self.last = if keep > 0 { Some(self.entry(keep - 1)?) } else { None };
        Ok(())
    }

    pub(crate) fn sync(&mut self, fs: &Fs) -> io::Result<()> {
        self.write_pending(fs)?;
        self.open(fs)?.sync()
    }

    pub(crate) fn close(&mut self) {
        assert!(self.pending.is_empty(), "an index is closed after it is synced");
        self.file = None;
        self.written = 0;
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }
}
