//! One segment: a `.log` file of record batches, and its three indexes.
//!
//!     00000000000000001200.log        [batch 1200..1203][batch 1204..1204][batch 1205..1250] ...
//!     00000000000000001200.index      1250 -> where the batch that ends with 1250 begins, ...
//!     00000000000000001200.timeindex  ...       .txnindex, if a transaction was aborted here
//!
//! Only the last segment of a log is written. Files are opened when they are needed and let go when they are idle: thousands
//! of idle partitions hold no descriptors to speak of.
//!
//! Invariant: `size_bytes` counts whole batches only; what a crash left behind it was cut off when the log was opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use host::{File, Fs, OpenMode};
use protocol::batch::{BatchHeader, HEADER_BYTES, NO_TIMESTAMP};

use crate::offset_index::OffsetIndex;
use crate::scan::{self, LOOKUP_BYTES, Located, SCAN_BYTES};
use crate::time_index::TimeIndex;
use crate::txn_index::TxnIndex;

/// A position in a segment is an i32 in Kafka's index.
pub(crate) const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    dir: Arc<Path>,
    log: Option<File>,
    pub(crate) size_bytes: u64,
    pub(crate) offset_index: OffsetIndex,
    pub(crate) time_index: TimeIndex,
    pub(crate) txn_index: TxnIndex,
    bytes_since_index_entry: u64,
    /// The youngest timestamp, and the last offset of the first batch that has it.
    max_timestamp: Option<(i64, i64)>,
    /// The largest timestamp of the first batch: rolling by time counts from it.
    pub(crate) first_timestamp: Option<i64>,
    /// Whether the two above are known: those of older segments are read when they are asked for.
    timestamps_known: bool,
    /// The size that the last sync has made durable; None if that is not known.
    durable_bytes: Option<u64>,
    /// When this life wrote its first batch here, by the wall clock: the age of batches that tell no time.
    pub(crate) written_since_ms: Option<i64>,
    /// Room on the disk was taken beyond the end of the file.
    has_reserve: bool,
}

/// Which of a segment's files exist.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Existing {
    pub(crate) index: bool,
    pub(crate) timeindex: bool,
    pub(crate) txnindex: bool,
}

pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:020}.{suffix}")
}

impl Segment {
    /// A segment of a log that begins at an offset. `existing` tells of the files that a former life left.
    pub(crate) fn new(dir: &Arc<Path>, base_offset: i64, existing: Existing) -> Segment {
        Segment {
            base_offset,
            dir: Arc::clone(dir),
            log: None,
            size_bytes: 0,
            offset_index: OffsetIndex::new(dir, base_offset, existing.index),
            time_index: TimeIndex::new(dir, base_offset, existing.timeindex),
            txn_index: TxnIndex::new(dir, base_offset, existing.txnindex),
            bytes_since_index_entry: 0,
            max_timestamp: None,
            first_timestamp: None,
            timestamps_known: false,
            durable_bytes: None,
            written_since_ms: None,
            has_reserve: false,
        }
    }

    /// Makes the file of a new segment.
    pub(crate) fn create(fs: &Fs, dir: &Arc<Path>, base_offset: i64) -> io::Result<Segment> {
        let mut segment = Segment::new(dir, base_offset, Existing::default());
        segment.timestamps_known = true;
        // Something may be left of a former life: a new segment is empty.
        segment.log_file(fs)?.set_len(0)?;
        Ok(segment)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(file_name(self.base_offset, "log"))
    }

    pub(crate) fn log_file(&mut self, fs: &Fs) -> io::Result<&File> {
        if self.log.is_none() {
            self.log = Some(fs.open(&self.path(), OpenMode::Create)?);
        }
        Ok(self.log.as_ref().expect("just opened"))
    }

    /// `preallocate`: takes the room of a whole segment, without making the file longer.
    pub(crate) fn reserve(&mut self, fs: &Fs, bytes: u64) -> io::Result<()> {
        self.has_reserve = true;
        self.log_file(fs)?.reserve(bytes)
    }

    /// Gives back the room that was not needed.
    pub(crate) fn give_back_reserve(&mut self, fs: &Fs) -> io::Result<()> {
        if std::mem::take(&mut self.has_reserve) {
            let end = self.size_bytes;
            self.log_file(fs)?.set_len(end)?;
        }
        Ok(())
    }

    /// Writes batches at the end, in one write. They are not in the indexes before `note`.
    pub(crate) fn write(&mut self, fs: &Fs, parts: &[&[u8]]) -> io::Result<()> {
        let position = self.size_bytes;
        self.log_file(fs)?.write_all_vectored_at(parts, position)
    }

    /// Takes the next batch of the file into size, timestamps and indexes.
    pub(crate) fn note(
        &mut self,
        fs: &Fs,
        header: &BatchHeader,
        index_interval_bytes: u64,
    ) -> io::Result<()> {
        let (position, last_offset) = (self.size_bytes, header.last_offset().0);
        if header.max_timestamp > self.max_timestamp.map_or(NO_TIMESTAMP, |(t, _)| t) {
            self.max_timestamp = Some((header.max_timestamp, last_offset));
        }
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if self.bytes_since_index_entry > index_interval_bytes {
            self.offset_index.append(fs, last_offset, position)?;
            if let Some((timestamp, offset)) = self.max_timestamp {
                self.time_index.append(fs, timestamp, offset)?;
            }
            self.bytes_since_index_entry = 0;
        }
        self.bytes_since_index_entry += header.size_bytes() as u64;
        self.size_bytes += header.size_bytes() as u64;
        Ok(())
    }

    /// The first batch whose last offset is not below `offset`.
    pub(crate) fn locate(&mut self, fs: &Fs, offset: i64) -> io::Result<Option<Located>> {
        self.offset_index.check(fs, self.size_bytes)?;
        let from = self.offset_index.lookup(fs, offset)?;
        self.first(fs, from, |located| located.header.last_offset().0 >= offset)
    }

    /// The first batch that reaches `from` and has a record as young as `timestamp`.
    pub(crate) fn locate_timestamp(
        &mut self,
        fs: &Fs,
        timestamp: i64,
        from: i64,
    ) -> io::Result<Option<Located>> {
        self.time_index.check(fs)?;
        self.offset_index.check(fs, self.size_bytes)?;
        let start = self.time_index.lookup(fs, timestamp)?.max(from);
        let position = self.offset_index.lookup(fs, start)?;
        self.first(fs, position, |located| {
            located.header.max_timestamp >= timestamp && located.header.last_offset().0 >= from
        })
    }

    fn first(
        &mut self,
        fs: &Fs,
        from: u64,
        mut fits: impl FnMut(&Located) -> bool,
    ) -> io::Result<Option<Located>> {
        let end = self.size_bytes;
        let mut found = None;
        scan::headers(self.log_file(fs)?, from, end, LOOKUP_BYTES, |located| {
            if fits(&located) {
                found = Some(located);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// The batch that begins at a position.
    pub(crate) fn batch_at(&mut self, fs: &Fs, position: u64) -> io::Result<Option<Located>> {
        let end = self.size_bytes;
        let mut found = None;
        scan::headers(self.log_file(fs)?, position, end, HEADER_BYTES, |located| {
            found = Some(located);
            false
        })?;
        Ok(found)
    }

    pub(crate) fn read_batch(&mut self, fs: &Fs, located: &Located) -> io::Result<Bytes> {
        scan::batch(self.log_file(fs)?, located)
    }

    /// Every batch's header from `position` on, until `visit` returns false.
    pub(crate) fn scan(
        &mut self,
        fs: &Fs,
        position: u64,
        visit: impl FnMut(Located) -> bool,
    ) -> io::Result<()> {
        let end = self.size_bytes;
        scan::headers(self.log_file(fs)?, position, end, SCAN_BYTES, visit)
    }

    /// Cuts the log at a position, and the indexes with it; all that durably. Returns the next offset.
    ///
    /// What is cut must not come back after a loss of power, among what is written in its place.
    pub(crate) fn truncate(&mut self, fs: &Fs, position: u64) -> io::Result<i64> {
        self.log_file(fs)?.set_len(position)?;
        self.size_bytes = position;
        let last_entry = self.offset_index.keep_sound(fs, i64::MAX, position)?;
        let mut next = self.base_offset;
        self.scan(fs, last_entry.map_or(0, |(_, position)| position), |located| {
            next = located.header.next_offset().0;
            true
        })?;
        self.time_index.keep_sound(fs, next)?;
        self.txn_index.truncate(fs, next)?;
        self.bytes_since_index_entry = 0;
        self.timestamps_known = false;
        self.load_timestamps(fs)?;
        self.durable_bytes = None;
        self.sync(fs)?;
        Ok(next)
    }

    /// The youngest timestamp and the last offset of its batch; None if no batch has a timestamp.
    pub(crate) fn max_timestamp(&mut self, fs: &Fs) -> io::Result<Option<(i64, i64)>> {
        self.load_timestamps(fs)?;
        Ok(self.max_timestamp)
    }

    /// The same of the batches that reach an offset.
    pub(crate) fn max_timestamp_from(&mut self, fs: &Fs, offset: i64) -> io::Result<Option<(i64, i64)>> {
        let Some(first) = self.locate(fs, offset)? else { return Ok(None) };
        let mut max: Option<(i64, i64)> = None;
        self.scan(fs, first.position, |located| {
            if located.header.max_timestamp > max.map_or(NO_TIMESTAMP, |(t, _)| t) {
                max = Some((located.header.max_timestamp, located.header.last_offset().0));
            }
            true
        })?;
        Ok(max)
    }

    /// Finds the timestamps of the segment, from its time index and the log behind that.
    pub(crate) fn load_timestamps(&mut self, fs: &Fs) -> io::Result<()> {
        if self.timestamps_known {
            return Ok(());
        }
        self.time_index.check(fs)?;
        self.offset_index.check(fs, self.size_bytes)?;
        // The entry tells where to look, not what is there: a loss of power may have left the first half of it.
        let mut max: Option<(i64, i64)> = None;
        let from = match self.time_index.last() {
            Some((_, offset)) => self.offset_index.lookup(fs, offset)?,
            None => 0,
        };
        let first = self.batch_at(fs, 0)?.map(|l| l.header.max_timestamp);
        self.scan(fs, from, |located| {
            if located.header.max_timestamp > max.map_or(NO_TIMESTAMP, |(t, _)| t) {
                max = Some((located.header.max_timestamp, located.header.last_offset().0));
            }
            true
        })?;
        (self.max_timestamp, self.first_timestamp, self.timestamps_known) = (max, first, true);
        Ok(())
    }

    /// What a recovery begins with: nothing is known of the batches from `position` on.
    pub(crate) fn restart_at(&mut self, fs: &Fs, position: u64) -> io::Result<()> {
        self.size_bytes = position;
        self.bytes_since_index_entry = 0;
        (self.max_timestamp, self.first_timestamp, self.timestamps_known) = (None, None, false);
        self.load_timestamps(fs)
    }

    /// Makes the largest timestamp findable, as Kafka does when it rolls or closes a segment.
    pub(crate) fn finish_time_index(&mut self, fs: &Fs) -> io::Result<()> {
        if let Some((timestamp, offset)) = self.max_timestamp(fs)? {
            self.time_index.append(fs, timestamp, offset)?;
        }
        Ok(())
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.durable_bytes != Some(self.size_bytes)
    }

    /// Forgets that anything is durable.
    pub(crate) fn mark_dirty(&mut self) {
        self.durable_bytes = None;
    }

    /// The first `bytes` of the batches are durable. The indexes of the segment that is written need not be: see recovery.
    pub(crate) fn mark_durable(&mut self, bytes: u64) {
        self.durable_bytes = Some(bytes);
    }

    /// Makes everything durable; does nothing if nothing was written since the last time.
    pub(crate) fn sync(&mut self, fs: &Fs) -> io::Result<()> {
        if self.is_dirty() {
            self.log_file(fs)?.sync()?;
            self.index_files(fs)?.iter().try_for_each(File::sync)?;
            self.durable_bytes = Some(self.size_bytes);
        }
        Ok(())
    }

    /// The files of the indexes, with everything in them: they are to be synced with the log.
    pub(crate) fn index_files(&mut self, fs: &Fs) -> io::Result<Vec<File>> {
        let mut files = vec![self.offset_index.whole(fs)?.clone(), self.time_index.whole(fs)?.clone()];
        files.extend(self.txn_index.unsynced(fs)?);
        Ok(files)
    }

    /// The end of writing: the indexes are whole, and no file stays open.
    pub(crate) fn retire(&mut self, fs: &Fs) -> io::Result<()> {
        self.finish_time_index(fs)?;
        self.give_back_reserve(fs)?;
        self.offset_index.write_pending(fs)?;
        self.time_index.write_pending(fs)?;
        // Flushes of the segment that is written leave its indexes out: the next one must not.
        self.mark_dirty();
        self.release();
        Ok(())
    }

    /// Lets open files go; they are opened again when they are needed.
    pub(crate) fn release(&mut self) {
        self.log = None;
        self.offset_index.release();
        self.time_index.release();
    }

    /// Removes segments, in their order.
    pub(crate) fn delete_all(fs: &Fs, dir: &Path, segments: Vec<Segment>) -> io::Result<()> {
        Segment::take_away(fs, dir, segments, |path| fs.remove_file(path))
    }

    /// Takes segments out of the log, in their order, and returns what is left to be removed: their files under other
    /// names, as Kafka gives them. The next opening removes them too.
    pub(crate) fn mark_deleted(fs: &Fs, dir: &Path, segments: Vec<Segment>) -> io::Result<Vec<PathBuf>> {
        let mut marked = Vec::new();
        Segment::take_away(fs, dir, segments, |path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".deleted");
            let to = PathBuf::from(name);
            fs.rename(path, &to)?;
            marked.push(to);
            Ok(())
        })?;
        Ok(marked)
    }

    /// The logs go first, durably where it matters: a log that comes back without its aborted transactions would show what
    /// was aborted; an index without its log is removed at the next opening.
    fn take_away(
        fs: &Fs,
        dir: &Path,
        segments: Vec<Segment>,
        mut away: impl FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        for segment in &segments {
            away(&segment.path())?;
        }
        if segments.iter().any(|segment| segment.txn_index.exists()) {
            fs.sync_dir(dir)?;
        }
        for segment in &segments {
            let indexes = [segment.offset_index.path(), segment.time_index.path(), segment.txn_index.path()];
            for path in indexes.iter().filter(|path| fs.exists(path)) {
                away(path)?;
            }
        }
        Ok(())
    }

    /// `segment.index.bytes`: a segment with a full index is rolled.
    pub(crate) fn index_is_full(&mut self, fs: &Fs, bytes_max: u64) -> io::Result<bool> {
        Ok(self.offset_index.is_full(fs, bytes_max)? || self.time_index.is_full(fs, bytes_max)?)
    }
}
