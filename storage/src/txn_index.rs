//! Aborted transactions: one `.txnindex` file beside each segment that holds an abort marker.
//!
//!     [version i16 = 0][producer id i64][first offset i64][last offset i64][last stable offset i64] ...   34 bytes an entry
//!
//! A consumer at read_committed is told the aborted transactions that overlap what it fetches.
//!
//! Invariant: entries ascend by last offset, which lies in the segment; the first offset may lie in an earlier one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{File, Fs, OpenMode};

use crate::segment::file_name;

const ENTRY_BYTES: usize = 34;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
    /// The offset of its abort marker.
    pub last_offset: i64,
    /// The last stable offset once it was aborted.
    pub last_stable_offset: i64,
}

impl AbortedTransaction {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (at, field) in bytes[2..].chunks_mut(8).zip(fields) {
            at.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> AbortedTransaction {
        let field =
            |n: usize| i64::from_be_bytes(bytes[2 + 8 * n..10 + 8 * n].try_into().expect("eight bytes"));
        AbortedTransaction {
            producer_id: field(0),
            first_offset: field(1),
            last_offset: field(2),
            last_stable_offset: field(3),
        }
    }
}

/// See the module. Aborts are rare: the file is read when it is asked, and does not exist before the first of them.
#[derive(Debug)]
pub(crate) struct TxnIndex {
    dir: Arc<Path>,
    base_offset: i64,
    /// Saves a look at the disk for nearly every segment.
    exists: bool,
    dirty: bool,
}

impl TxnIndex {
    pub(crate) fn new(dir: &Arc<Path>, base_offset: i64, exists: bool) -> TxnIndex {
        TxnIndex { dir: Arc::clone(dir), base_offset, exists, dirty: false }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(file_name(self.base_offset, "txnindex"))
    }

    pub(crate) fn exists(&self) -> bool {
        self.exists
    }

    pub(crate) fn entries(&self, fs: &Fs) -> io::Result<Vec<AbortedTransaction>> {
        if !self.exists {
            return Ok(Vec::new());
        }
        let bytes = fs.read_to_end(&self.path())?;
        Ok(bytes.chunks_exact(ENTRY_BYTES).map(AbortedTransaction::from_bytes).collect())
    }

    /// True if the file was made for it: its name is to be made durable as well.
    pub(crate) fn append(&mut self, fs: &Fs, aborted: AbortedTransaction) -> io::Result<bool> {
        let file = fs.open(&self.path(), OpenMode::Create)?;
        let end = file.len()? / ENTRY_BYTES as u64 * ENTRY_BYTES as u64;
        file.write_all_at(&aborted.to_bytes(), end)?;
        self.dirty = true;
        Ok(!std::mem::replace(&mut self.exists, true))
    }

    /// Drops transactions whose marker is at or beyond an offset, and what is no entry: a crash may leave zeros.
    pub(crate) fn truncate(&mut self, fs: &Fs, offset: i64) -> io::Result<()> {
        if !self.exists {
            return Ok(());
        }
        let (mut keep, mut last) = (0, i64::MIN);
        for e in self.entries(fs)? {
            let is_in_place =
                e.last_offset < offset && e.last_offset > last && e.last_offset >= self.base_offset;
            if !is_in_place || e.first_offset > e.last_offset || e.last_stable_offset < 0 {
                break;
            }
            (keep, last) = (keep + 1, e.last_offset);
        }
        fs.open(&self.path(), OpenMode::ReadWrite)?.set_len((keep * ENTRY_BYTES) as u64)?;
        self.dirty = true;
        Ok(())
    }

    pub(crate) fn sync(&mut self, fs: &Fs) -> io::Result<()> {
        if let Some(file) = self.unsynced(fs)? {
            file.sync()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// The file, if it is not known to be durable.
    pub(crate) fn unsynced(&self, fs: &Fs) -> io::Result<Option<File>> {
        if self.dirty { fs.open(&self.path(), OpenMode::ReadWrite).map(Some) } else { Ok(None) }
    }
}
