//! Making a log durable: fdatasync, and the recovery point that follows it.
//!
//!     prepare_flush   with the log     what is to be synced, and up to where that makes it durable
//!     Flush::files    without it       are synced, then the names; appends go on meanwhile: behind a gigabyte that the page
//!                                      cache has not written yet, a sync takes a quarter of a second
//!     finish_flush    with the log     the recovery point moves, or the log fails
//!
//! The index of the segment that is written is not synced each time: recovery makes its entries again from the batches.
//! Epochs, names and older segments are durable before the recovery point passes them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use host::{File, Fs};
use protocol::ids::Offset;

use super::Log;
use crate::{partition_metadata, producer_snapshot};

/// Bytes of log after which a flush also writes down the producers: it bounds what an opening reads for them.
const SNAPSHOT_EVERY_BYTES: u64 = 32 << 20;

/// What makes a log durable up to an offset. See the module.
#[derive(Debug)]
pub struct Flush {
    /// Base offset and size of each segment that is synced.
    segments: Vec<(i64, u64, File)>,
    /// Indexes and producer snapshots of those that are finished.
    beside_segments: Vec<File>,
    /// The log's directory, if names in it changed; and how many had when the flush began.
    dir: Option<Arc<Path>>,
    names_changed: u64,
    cuts: u64,
    /// The segment that was written when the flush began.
    active: i64,
    end: i64,
}

impl Flush {
    /// Up to where the log is durable once this has run.
    pub fn end(&self) -> Offset {
        Offset(self.end)
    }

    /// What is to be synced first. Needs no log: others may append meanwhile.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.segments.iter().map(|(.., file)| file).chain(&self.beside_segments)
    }

    /// Whether names changed too.
    pub fn has_names(&self) -> bool {
        self.dir.is_some()
    }

    /// Makes the names durable, once the files are.
    ///
    /// # Errors
    /// What a sync says. It must not be tried again: give it to `finish_flush`.
    pub fn sync_names(&self, fs: &Fs) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        partition_metadata::sync(fs, dir)?;
        fs.sync_dir(dir)?;
        // A directory that was made with the log is lost unless its own name is durable.
        dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent))
    }

    /// Everything, one after the other.
    pub(super) fn run(&self, fs: &Fs) -> io::Result<()> {
        self.files().try_for_each(File::sync)?;
        self.sync_names(fs)
    }
}

impl Log {
    /// Makes everything below the log end durable.
    ///
    /// # Errors
    /// When writing or syncing fails; the log has failed then.
    pub fn flush(&mut self, fs: &Fs) -> io::Result<()> {
        let flush = self.prepare_flush(fs)?;
        let result = flush.run(fs);
        self.finish_flush(&flush, result)
    }

    /// See the module.
    ///
    /// # Errors
    /// When writing fails, or the log has failed before.
    pub fn prepare_flush(&mut self, fs: &Fs) -> io::Result<Flush> {
        self.guarded(|log| {
            if log.bytes_since_snapshot >= SNAPSHOT_EVERY_BYTES {
                log.write_snapshot(fs, false)?;
                log.drop_snapshots(fs)?;
            }
            log.leader_epochs.write(fs)?;
            let (mut segments, mut beside_segments) = (Vec::new(), Vec::new());
            let last = log.segments.len() - 1;
            let bases: Vec<i64> = log.segments.iter().map(|s| s.base_offset).collect();
            for (at, segment) in log.segments.iter_mut().enumerate().filter(|(_, s)| s.is_dirty()) {
                if at == last {
                    segment.txn_index.sync(fs)?;
                } else {
                    beside_segments.extend(segment.index_files(fs)?);
                    beside_segments.extend(producer_snapshot::file(fs, &log.dir, bases[at + 1])?);
                }
                segments.push((segment.base_offset, segment.size_bytes, segment.log_file(fs)?.clone()));
            }
            let dir = (log.names_changed != log.names_synced).then(|| Arc::clone(&log.dir));
            Ok(Flush {
                segments,
                beside_segments,
                dir,
                names_changed: log.names_changed,
                cuts: log.cuts,
                active: bases[last],
                end: log.log_end_offset,
            })
        })
    }

    /// See the module.
    ///
    /// # Errors
    /// That of the sync, or of a failure before.
    pub fn finish_flush(&mut self, flush: &Flush, result: io::Result<()>) -> io::Result<()> {
        self.guarded(|log| {
            result?;
            if log.cuts != flush.cuts {
                // What was cut is durable by itself, and what came after it is not in this flush.
                return Ok(());
            }
            for (base_offset, size_bytes, _) in &flush.segments {
                let at = log.segment_of(*base_offset);
                // One that was rolled meanwhile was synced without its indexes.
                let is_whole = *base_offset != flush.active || at + 1 == log.segments.len();
                if log.segments[at].base_offset == *base_offset && is_whole {
                    log.segments[at].mark_durable(*size_bytes);
                }
            }
            log.names_synced = log.names_synced.max(flush.names_changed);
            log.recovery_point = log.recovery_point.max(flush.end);
            Ok(())
        })
    }
}
