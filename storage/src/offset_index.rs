//! Offsets to positions: one `.index` file beside each segment.
//!
//!     [relative offset u32][position u32] [relative offset u32][position u32] ...      8 bytes an entry, big-endian
//!
//! An entry is the last offset of a batch and where the batch begins, as Kafka writes it: the entry at or before an offset
//! gives a position at or before its batch. One is due for every `index.interval.bytes` of log.
//!
//! Invariant: entries ascend strictly in both columns. A file that does not is not used: reading from the segment's
//! beginning is slow, and right.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{File, Fs};

use crate::index_file::{ENTRY_BYTES_MAX, IndexFile};

const ENTRY_BYTES: usize = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    base_offset: i64,
    entries: IndexFile,
    /// The last entry; None if there is none, or nobody has looked yet.
    last: Option<(u32, u32)>,
    checked: bool,
}

fn decode(bytes: &[u8]) -> (u32, u32) {
    let half = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (half(0), half(4))
}

impl OffsetIndex {
    pub(crate) fn new(dir: &Arc<Path>, base_offset: i64, exists: bool) -> OffsetIndex {
        let entries = IndexFile::new(dir, base_offset, "index", ENTRY_BYTES, exists);
        OffsetIndex { base_offset, entries, last: None, checked: !exists }
    }

    /// Looks at the file once. False if it is no index for a log of `log_bytes`; it counts as empty then.
    pub(crate) fn check(&mut self, fs: &Fs, log_bytes: u64) -> io::Result<bool> {
        if self.checked {
            return Ok(true);
        }
        self.checked = true;
        let count = self.entries.count(fs)?;
        let Some(n) = count.checked_sub(1) else { return Ok(true) };
        let last = self.decode_entry(fs, n)?;
        // A segment that Kafka left open when it was killed has a tail of zeros.
        if last.1 == 0 || u64::from(last.1) >= log_bytes {
            self.entries = IndexFile::new(&self.dir(), self.base_offset, "index", ENTRY_BYTES, false);
            return Ok(false);
        }
        self.last = Some(last);
        Ok(true)
    }

    fn dir(&self) -> Arc<Path> {
        Arc::from(self.path().parent().expect("an index lies in its log's directory"))
    }

    fn decode_entry(&mut self, fs: &Fs, n: u64) -> io::Result<(u32, u32)> {
        let bytes: [u8; ENTRY_BYTES_MAX] = self.entries.entry(fs, n)?;
        Ok(decode(&bytes))
    }

    /// Adds an entry; one that would not ascend is left out.
    pub(crate) fn append(&mut self, fs: &Fs, offset: i64, position: u64) -> io::Result<()> {
        let (Ok(relative), Ok(position)) =
            (u32::try_from(offset - self.base_offset), u32::try_from(position))
        else {
            return Ok(());
        };
        if position == 0 || self.last.is_some_and(|(o, p)| relative <= o || position <= p) {
            return Ok(());
        }
        self.last = Some((relative, position));
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&relative.to_be_bytes());
        entry[4..].copy_from_slice(&position.to_be_bytes());
        self.entries.push(fs, &entry)
    }

    /// The position from which a scan finds the batch that holds `offset`.
    pub(crate) fn lookup(&mut self, fs: &Fs, offset: i64) -> io::Result<u64> {
        if offset <= self.base_offset {
            return Ok(0);
        }
        let relative = u32::try_from(offset - self.base_offset).unwrap_or(u32::MAX);
        match self.last {
            Some((o, position)) if o <= relative => return Ok(u64::from(position)),
            None if self.checked => return Ok(0),
            _ => {}
        }
        let (mut low, mut high, mut found) = (0, self.entries.count(fs)?, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let (o, position) = self.decode_entry(fs, middle)?;
            if o <= relative {
                found = u64::from(position);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    pub(crate) fn count(&mut self, fs: &Fs) -> io::Result<u64> {
        self.entries.count(fs)
    }

    /// Keeps the entries from the beginning that ascend and lie before `offset` and `position`; returns the last of them.
    ///
    /// After a crash: what is behind the recovery point may be torn, or tell of a log that is not there.
    pub(crate) fn keep_sound(
        &mut self,
        fs: &Fs,
        offset: i64,
        position: u64,
    ) -> io::Result<Option<(i64, u64)>> {
        let bytes = self.entries.all(fs)?;
        let (mut keep, mut last) = (0, None);
        for entry in bytes.chunks_exact(ENTRY_BYTES).map(decode) {
            let ascends = last.is_none_or(|(o, p)| o < entry.0 && p < entry.1) && entry.1 > 0;
            let inside = self.base_offset + i64::from(entry.0) < offset && u64::from(entry.1) < position;
            if !ascends || !inside {
                break;
            }
            last = Some(entry);
            keep += 1;
        }
        self.entries.truncate(fs, keep)?;
        (self.last, self.checked) = (last, true);
        Ok(last.map(|(o, p)| (self.base_offset + i64::from(o), u64::from(p))))
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

    /// Whether another entry would make the file larger than `segment.index.bytes`.
    pub(crate) fn is_full(&mut self, fs: &Fs, bytes_max: u64) -> io::Result<bool> {
        Ok(self.count(fs)? >= bytes_max / ENTRY_BYTES as u64)
    }
}
