//! Offsets to positions: one `.index` file beside each segment.
//!
//!     [relative offset u32][position u32] [relative offset u32][position u32] ...      8 bytes an entry, ascending
//!
//! An entry is written for about every `index.interval.bytes` of log. New entries gather in memory and are written in
//! groups: after a crash the entries of the last segments are made again from the log, so none of them is missed.
//!
//! Invariant: entries ascend strictly in both columns; an entry is the last offset of a batch and where the batch begins, as Kafka
//! writes it: looking up an offset gives a position at or before its batch.

use std::io;
use std::path::PathBuf;

use host::{File, Fs, OpenMode};

pub(crate) const ENTRY_BYTES: u64 = 8;
/// Entries that wait in memory before they are written.
const PENDING_MAX: usize = 128;

/// See the module. The file is opened when it is first needed.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    path: PathBuf,
    base_offset: i64,
    file: Option<File>,
    /// Entries in the file.
    written: u64,
    pending: Vec<(u32, u32)>,
    last: Option<(u32, u32)>,
}

impl OffsetIndex {
    /// An index whose file may or may not exist; `load` reads its size.
    pub(crate) fn new(path: PathBuf, base_offset: i64) -> OffsetIndex {
        OffsetIndex { path, base_offset, file: None, written: 0, pending: Vec::new(), last: None }
    }

    /// Opens an existing file and checks it. False if it is not a sound index for a log of `log_bytes`: then make it again.
    pub(crate) fn load(&mut self, fs: &Fs, log_bytes: u64) -> io::Result<bool> {
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
        // Kafka leaves a preallocated tail of zeros when it is killed; then the file is made again.
        self.last = if self.written > 0 { Some(self.entry(self.written - 1)?) } else { None };
        Ok(self.last.is_none_or(|(_, position)| position > 0 && u64::from(position) < log_bytes))
    }

    /// Starts anew.
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

    fn entry(&self, n: u64) -> io::Result<(u32, u32)> {
        if n >= self.written {
            return Ok(self.pending[(n - self.written) as usize]);
        }
        let mut bytes = [0u8; 8];
        self.file.as_ref().expect("written entries have a file").read_exact_at(&mut bytes, n * ENTRY_BYTES)?;
        let half = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Ok((half(0), half(4)))
    }

    fn count(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Adds an entry; one that would not ascend is left out.
    pub(crate) fn append(&mut self, fs: &Fs, offset: i64, position: u64) -> io::Result<()> {
        let (Ok(relative), Ok(position)) = (u32::try_from(offset - self.base_offset), u32::try_from(position)) else {
            return Ok(());
        };
        if self.last.is_some_and(|(o, p)| relative <= o || position <= p) || position == 0 {
            return Ok(());
        }
        self.pending.push((relative, position));
        self.last = Some((relative, position));
        if self.pending.len() >= PENDING_MAX { self.write_pending(fs) } else { Ok(()) }
    }

    pub(crate) fn write_pending(&mut self, fs: &Fs) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let bytes: Vec<u8> =
            pending.iter().flat_map(|(o, p)| [o.to_be_bytes(), p.to_be_bytes()]).flatten().collect();
        self.open(fs)?;
        let at = self.written * ENTRY_BYTES;
        self.open(fs)?.write_all_at(&bytes, at)?;
        self.written += pending.len() as u64;
        Ok(())
    }

    /// The position from which a scan finds the batch that holds `offset`.
    pub(crate) fn lookup(&mut self, fs: &Fs, offset: i64) -> io::Result<u64> {
        if self.file.is_none() && fs.exists(&self.path) {
            self.open(fs)?;
        }
        let relative = u32::try_from(offset - self.base_offset).unwrap_or(u32::MAX);
        let (mut low, mut high) = (0, self.count());
        let mut found = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            let (o, position) = self.entry(middle)?;
            if o <= relative {
                found = u64::from(position);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    pub(crate) fn last(&self) -> Option<(i64, u64)> {
        self.last.map(|(o, p)| (self.base_offset + i64::from(o), u64::from(p)))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.count() * ENTRY_BYTES
    }

    /// Drops entries at or beyond a position of the log that is cut off.
    pub(crate) fn truncate(&mut self, fs: &Fs, position: u64) -> io::Result<()> {
        self.open(fs)?;
        self.write_pending(fs)?;
        let mut keep = self.written;
        while keep > 0 && u64::from(self.entry(keep - 1)?.1) >= position {
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

    /// Forgets the open file of a segment that is not written any more; it is opened again when it is read.
    pub(crate) fn close(&mut self) {
        assert!(self.pending.is_empty(), "an index is closed after it is synced");
        self.file = None;
        self.written = 0;
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }
}
