//! A file of entries of one size: what the offset index and the time index have in common.
//!
//!     file     [entry 0][entry 1] ... [entry w-1]
//!     memory                                     [entry w] ... [entry w+p-1]      written in groups
//!
//! Entries gather in memory, since one of them is due for every few KiB of log and a write for each would double the
//! system calls. A crash loses what has gathered: recovery makes the entries behind the recovery point again.
//! The file is opened when it is needed and let go when its segment is idle: thousands of logs hold no descriptors here.
//!
//! Invariant: `written` counts whole entries in the file; a partial one at its end is ignored and overwritten.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{File, Fs, OpenMode};

use crate::segment::file_name;

/// Entries that wait in memory before they are written.
const PENDING_ENTRIES_MAX: usize = 128;
/// Bytes of the larger of the two kinds of entry.
pub(crate) const ENTRY_BYTES_MAX: usize = 12;

/// See the module.
#[derive(Debug)]
pub(crate) struct IndexFile {
    dir: Arc<Path>,
    base_offset: i64,
    suffix: &'static str,
    entry_bytes: usize,
    file: Option<File>,
    /// None: the file has not been looked at.
    written: Option<u64>,
    pending: Vec<u8>,
}

impl IndexFile {
    pub(crate) fn new(
        dir: &Arc<Path>,
        base_offset: i64,
        suffix: &'static str,
        entry_bytes: usize,
        exists: bool,
    ) -> IndexFile {
        let written = if exists { None } else { Some(0) };
        IndexFile {
            dir: Arc::clone(dir),
            base_offset,
            suffix,
            entry_bytes,
            file: None,
            written,
            pending: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(file_name(self.base_offset, self.suffix))
    }

    fn open(&mut self, fs: &Fs) -> io::Result<&File> {
        if self.file.is_none() {
            self.file = Some(fs.open(&self.path(), OpenMode::Create)?);
        }
        Ok(self.file.as_ref().expect("just opened"))
    }

    fn written(&mut self, fs: &Fs) -> io::Result<u64> {
        if let Some(written) = self.written {
            return Ok(written);
        }
        let written = self.open(fs)?.len()? / self.entry_bytes as u64;
        self.written = Some(written);
        Ok(written)
    }

    pub(crate) fn count(&mut self, fs: &Fs) -> io::Result<u64> {
        Ok(self.written(fs)? + (self.pending.len() / self.entry_bytes) as u64)
    }

    /// The bytes of an entry, at the front of the array.
    pub(crate) fn entry(&mut self, fs: &Fs, n: u64) -> io::Result<[u8; ENTRY_BYTES_MAX]> {
        let (written, size) = (self.written(fs)?, self.entry_bytes);
        let mut bytes = [0; ENTRY_BYTES_MAX];
        if n < written {
            self.open(fs)?.read_exact_at(&mut bytes[..size], n * size as u64)?;
        } else {
            let at = (n - written) as usize * size;
            bytes[..size].copy_from_slice(&self.pending[at..at + size]);
        }
        Ok(bytes)
    }

    /// All entries, one after the other.
    pub(crate) fn all(&mut self, fs: &Fs) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.written(fs)? as usize * self.entry_bytes];
        if !bytes.is_empty() {
            self.open(fs)?.read_exact_at(&mut bytes, 0)?;
        }
        bytes.extend_from_slice(&self.pending);
        Ok(bytes)
    }

    pub(crate) fn push(&mut self, fs: &Fs, entry: &[u8]) -> io::Result<()> {
        assert_eq!(entry.len(), self.entry_bytes, "entries are of one size");
        self.pending.extend_from_slice(entry);
        if self.pending.len() >= PENDING_ENTRIES_MAX * self.entry_bytes {
            self.write_pending(fs)
        } else {
            Ok(())
        }
    }

    /// Writes what waits; the file exists afterwards.
    pub(crate) fn write_pending(&mut self, fs: &Fs) -> io::Result<()> {
        let written = self.written(fs)?;
        let pending = std::mem::take(&mut self.pending);
        let at = written * self.entry_bytes as u64;
        let file = self.open(fs)?;
        if !pending.is_empty() {
            file.write_all_at(&pending, at)?;
        }
        self.written = Some(written + (pending.len() / self.entry_bytes) as u64);
        Ok(())
    }

    /// Keeps the first entries only.
    pub(crate) fn truncate(&mut self, fs: &Fs, keep: u64) -> io::Result<()> {
        self.write_pending(fs)?;
        let length = keep * self.entry_bytes as u64;
        self.open(fs)?.set_len(length)?;
        self.written = Some(keep);
        Ok(())
    }

    /// The file, with everything in it.
    pub(crate) fn whole(&mut self, fs: &Fs) -> io::Result<&File> {
        self.write_pending(fs)?;
        self.open(fs)
    }

    /// Lets the open file go; it is opened again when it is needed.
    pub(crate) fn release(&mut self) {
        self.file = None;
        self.pending.shrink_to_fit();
    }
}
