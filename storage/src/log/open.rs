//! Opening a log: after a stop in order its files are believed; after a crash see `recover`.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Fs;
use protocol::Uuid;
use protocol::batch::{Batch, BatchHeader};

use super::append::marker_of;
use super::recover::{self, Recovery};
use super::truncate;
use super::{Log, LogConfig};
use crate::leader_epochs::LeaderEpochs;
use crate::partition_metadata;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::segment::{Existing, Segment, file_name};

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct LogFiles {
    pub dir: PathBuf,
    /// The topic's id: written when the directory is made, compared when it exists.
    pub topic_id: Option<Uuid>,
    /// From the log dir's checkpoints.
    pub recovery_point: i64,
    pub log_start_offset: i64,
    /// The log dir was stopped in order.
    pub clean: bool,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} belongs to topic {found}, not to {expected}", dir.display())]
    OtherTopic { dir: PathBuf, found: Uuid, expected: Uuid },
    #[error("{}: {source}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

impl Log {
    /// Opens a log, making its directory if it is new.
    ///
    /// # Errors
    /// See [`OpenError`]. What a crash can do to the files is no error.
    pub fn open(fs: &Fs, files: &LogFiles, config: &LogConfig, now_ms: i64) -> Result<Log, OpenError> {
        let fail = |source| OpenError::Io { dir: files.dir.clone(), source };
        let is_new = !fs.is_dir(&files.dir);
        if is_new {
            fs.create_dir_all(&files.dir).map_err(fail)?;
        }
        let found = partition_metadata::read(fs, &files.dir, files.clean).map_err(fail)?;
        if let (Some(found), Some(expected)) = (found, files.topic_id)
            && found != expected
        {
            return Err(OpenError::OtherTopic { dir: files.dir.clone(), found, expected });
        }
        let mut log = Self::open_files(fs, files, config, now_ms).map_err(fail)?;
        log.names_changed += u64::from(is_new);
        log.topic_id = found;
        if let (None, Some(topic_id)) = (found, files.topic_id) {
            partition_metadata::write(fs, &files.dir, topic_id).map_err(fail)?;
            log.topic_id = Some(topic_id);
            log.names_changed += 1;
        }
        Ok(log)
    }

    fn open_files(fs: &Fs, files: &LogFiles, config: &LogConfig, now_ms: i64) -> io::Result<Log> {
        let dir: Arc<Path> = Arc::from(files.dir.as_path());
        let mut segments = load_segments(fs, &dir)?;
        let is_new = segments.is_empty();
        if is_new {
            segments.push(Segment::create(fs, &dir, files.log_start_offset)?);
        }
        let mut leader_epochs = LeaderEpochs::load(fs, &dir.join("leader-epoch-checkpoint"))?;
        // Records without an epoch are of a log that was not closed: an end that says nothing about it must be looked at.
        let has_records = segments.iter().any(|segment| segment.size_bytes > 0);
        let is_clean = files.clean && (leader_epochs.latest().is_some() || !has_records);
        let recovery = if is_clean {
            recover::load_active(fs, &mut segments, &mut leader_epochs, config)?
        } else {
            recover::recover(fs, &dir, &mut segments, files.recovery_point, &mut leader_epochs, config)?
        };
        if !is_clean {
            truncate::finish_cut(fs, &dir, segments.last_mut().expect("a log has a segment"))?;
        }
        let Recovery { from, log_end_offset, checked_bytes } = recovery;
        leader_epochs.truncate_from_end(log_end_offset);
        let start = files.log_start_offset.max(segments[0].base_offset);
        let mut log = Log {
            dir,
            topic_id: None,
            segments,
            log_start_offset: start,
            local_log_start_offset: start,
            log_end_offset,
            recovery_point: if is_clean {
                log_end_offset
            } else {
                files.recovery_point.clamp(start, log_end_offset.max(start))
            },
            high_watermark: start,
            leader_epochs,
            producers: ProducerState::default(),
            tail: VecDeque::new(),
            failed: None,
            last_flush_ms: now_ms,
            names_changed: u64::from(is_new || !is_clean),
            names_synced: 0,
            cuts: 0,
            bytes_since_snapshot: 0,
            recovered_bytes: checked_bytes,
            deleted: Vec::new(),
        };
        if start > log_end_offset {
            // The log start is known to be further than what a crash has left: all of that was deleted already.
            log.restart(fs, start)?;
            return Ok(log);
        }
        log.leader_epochs.truncate_from_start(start);
        log.delete_segments_below(fs, start)?;
        for left in log.take_deleted() {
            fs.remove_file(&left)?;
        }
        log.rebuild_producers(fs, from)?;
        log.rest();
        Ok(log)
    }

    /// Makes the state of the producers: the newest sound snapshot that is not beyond `newest`, and the batches after it.
    pub(super) fn rebuild_producers(&mut self, fs: &Fs, newest: i64) -> io::Result<()> {
        let mut snapshots = producer_snapshot::list(&fs.list(&self.dir)?);
        self.producers = ProducerState::default();
        let mut from = self.log_start_offset.max(self.segments[0].base_offset);
        while let Some(offset) = snapshots.pop() {
            // One from before the first segment misses what was done in segments that are gone.
            let is_usable =
                offset >= self.segments[0].base_offset && offset <= newest.min(self.log_end_offset);
            let state = if !is_usable { None } else { producer_snapshot::read(fs, &self.dir, offset)? };
            if let Some(state) = state {
                (self.producers, from) = (state, offset);
                break;
            }
            // Torn, or of a log that is not there any more.
            fs.remove_file(&producer_snapshot::path(&self.dir, offset))?;
            self.names_changed += 1;
        }
        self.bytes_since_snapshot = 0;
        if from < self.log_end_offset {
            for at in self.segment_of(from)..self.segments.len() {
                self.replay_segment(fs, at, from)?;
            }
        }
        Ok(())
    }

    /// Takes the batches of a segment that reach `from` into the state of the producers.
    fn replay_segment(&mut self, fs: &Fs, at: usize, from: i64) -> io::Result<()> {
        let segment = &mut self.segments[at];
        let position = segment.locate(fs, from)?.map_or(segment.size_bytes, |l| l.position);
        self.bytes_since_snapshot += segment.size_bytes - position;
        let mut batches: Vec<(BatchHeader, u64)> = Vec::new();
        segment.scan(fs, position, |located| {
            if located.header.has_producer_id() {
                batches.push((located.header, located.position));
            }
            true
        })?;
        if batches.is_empty() {
            return Ok(());
        }
        let known: Vec<i64> = segment.txn_index.entries(fs)?.iter().map(|t| t.last_offset).collect();
        for (header, position) in batches {
            if !header.is_control() {
                self.producers.apply(&header);
                continue;
            }
            let bytes = self.segments[at].read_batch(fs, &crate::scan::Located { header, position })?;
            let Ok(batch) = Batch::read(&bytes) else { continue };
            let Ok(Some(marker)) = marker_of(&batch) else { continue };
            if let Some(aborted) = self.producers.apply_marker(&header, marker)
                && !known.contains(&aborted.last_offset)
            {
                let is_new = self.segments[at].txn_index.append(fs, aborted)?;
                self.segments[at].mark_dirty();
                self.names_changed += u64::from(is_new);
            }
        }
        Ok(())
    }
}

/// The segments that are there; what a crash left of a deletion or a replacement is removed.
fn load_segments(fs: &Fs, dir: &Arc<Path>) -> io::Result<Vec<Segment>> {
    let mut names = fs.list(dir)?;
    for name in &names {
        if [".tmp", ".cleaned", ".swap", ".deleted"].iter().any(|s| name.ends_with(s)) {
            fs.remove_file(&dir.join(name))?;
        }
    }
    names.sort();
    let is_orphan = |name: &String| {
        let base = [".index", ".timeindex", ".txnindex"].iter().find_map(|suffix| name.strip_suffix(suffix));
        base.is_some_and(|base| names.binary_search(&format!("{base}.log")).is_err())
    };
    for orphan in names.iter().filter(|name| is_orphan(name)) {
        fs.remove_file(&dir.join(orphan))?;
    }
    let exists = |base: i64, suffix: &str| names.binary_search(&file_name(base, suffix)).is_ok();
    let mut segments = Vec::with_capacity(1);
    for base in names.iter().filter_map(|n| n.strip_suffix(".log")?.parse::<i64>().ok()) {
        let existing = Existing {
            index: exists(base, "index"),
            timeindex: exists(base, "timeindex"),
            txnindex: exists(base, "txnindex"),
        };
        let mut segment = Segment::new(dir, base, existing);
        segment.size_bytes = segment.log_file(fs)?.len()?;
        segment.mark_durable(segment.size_bytes);
        segment.release();
        segments.push(segment);
    }
    Ok(segments)
}
