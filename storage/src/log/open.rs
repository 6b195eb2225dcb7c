//! Opening a log: from a clean stop, or after a crash.
//!
//! After a clean stop the files are believed. After a crash every batch from the recovery point on is read and its CRC
//! checked; the log ends before the first one that is not whole, and what is behind it is removed. The indexes of those
//! segments are made again. Everything below the recovery point was synced and is not read.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use host::{File, Fs};
use protocol::Uuid;
use protocol::batch::{Batch, BatchHeader, HEADER_BYTES};

use super::append::marker_of;
use super::{Log, LogConfig};
use crate::leader_epochs::LeaderEpochs;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::segment::Segment;
use crate::{partition_metadata, segment};

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
    pub fn open(fs: &Fs, files: &LogFiles, config: &LogConfig, now_ms: i64) -> Result<Log, OpenError> {
        let fail = |source| OpenError::Io { dir: files.dir.clone(), source };
        fs.create_dir_all(&files.dir).map_err(fail)?;
        let topic_id = identify(fs, files)?;
        Self::open_files(fs, files, topic_id, config, now_ms).map_err(fail)
    }

    fn open_files(fs: &Fs, files: &LogFiles, topic_id: Option<Uuid>, config: &LogConfig, now_ms: i64) -> io::Result<Log> {
        let dir = &files.dir;
        let mut segments = load_segments(fs, dir, files.log_start_offset)?;
        let mut end = None;
        if !files.clean {
            end = recover(fs, &mut segments, files.recovery_point, config)?;
        }
        let last = segments.last_entry().expect("a log has a segment").into_mut();
        let log_end_offset = match end {
            Some(end) => end,
            None => load_active(fs, last, config)?,
        };
        let oldest = *segments.keys().next().expect("a log has a segment");
        let start = files.log_start_offset.max(oldest).min(log_end_offset);
        let mut leader_epochs = LeaderEpochs::load(fs, &dir.join("leader-epoch-checkpoint"))?;
        leader_epochs.truncate_from_end(fs, log_end_offset)?;
        let mut log = Log {
            dir: dir.clone(),
            topic_id,
            segments,
            log_start_offset: start,
            local_log_start_offset: start,
            log_end_offset,
            recovery_point: if files.clean { log_end_offset } else { files.recovery_point.min(log_end_offset) },
            high_watermark: start,
            leader_epochs,
            producers: ProducerState::default(),
            tail: VecDeque::new(),
            failed: None,
            last_flush_ms: now_ms,
        };
        rebuild_producers(&mut log, fs)?;
        Ok(log)
    }
}

/// Reads or writes `partition.metadata`.
fn identify(fs: &Fs, files: &LogFiles) -> Result<Option<Uuid>, OpenError> {
    let fail = |source| OpenError::Io { dir: files.dir.clone(), source };
    let found = partition_metadata::read(fs, &files.dir).map_err(fail)?;
    match (found, files.topic_id) {
        (Some(found), Some(expected)) if found != expected => {
            Err(OpenError::OtherTopic { dir: files.dir.clone(), found, expected })
        }
        (None, Some(topic_id)) => {
            partition_metadata::write(fs, &files.dir, topic_id).map_err(fail)?;
            Ok(Some(topic_id))
        }
        (found, _) => Ok(found),
    }
}

fn load_segments(fs: &Fs, dir: &Path, log_start_offset: i64) -> io::Result<BTreeMap<i64, Segment>> {
    let names = fs.list(dir)?;
    for name in &names {
        // Left over from a replacement or a deletion that a crash interrupted.
        if [".tmp", ".cleaned", ".swap", ".deleted"].iter().any(|s| name.ends_with(s)) {
            fs.remove_file(&dir.join(name))?;
        }
    }
    let mut segments = BTreeMap::new();
    for base in names.iter().filter_map(|n| n.strip_suffix(".log")?.parse::<i64>().ok()) {
        let has_txn_index = names.contains(&segment::file_name(base, "txnindex"));
        let mut s = Segment::new(dir, base, has_txn_index);
        s.size_bytes = s.open_file(fs)?.len()?;
        segments.insert(base, s);
    }
    if segments.is_empty() {
        let mut first = Segment::new(dir, log_start_offset, false);
        first.log_file(fs)?;
        segments.insert(log_start_offset, first);
    }
    Ok(segments)
}

/// Reads the segments that reach beyond the recovery point; returns the log end, or None if there was nothing to read.
fn recover(
    fs: &Fs,
    segments: &mut BTreeMap<i64, Segment>,
    recovery_point: i64,
    config: &LogConfig,
) -> io::Result<Option<i64>> {
    // The segment that holds the recovery point, and all behind it.
    let from = segments.range(..=recovery_point).next_back().map_or(i64::MIN, |(base, _)| *base);
    let bases: Vec<i64> = segments.range(from..).map(|(base, _)| *base).collect();
    let mut end = None;
    for (at, base) in bases.iter().enumerate() {
        let segment = segments.get_mut(base).expect("just listed");
        let before = segment.size_bytes;
        let segment_end = recover_segment(fs, segment, config)?;
        end = Some(segment_end);
        if segment.size_bytes < before {
            // What lies behind a torn batch was written after it: it is not part of the log.
            for later in &bases[at + 1..] {
                segments.remove(later).expect("just listed").delete(fs)?;
            }
            break;
        }
    }
    Ok(end)
}

/// Checks every batch of a segment, cuts it before the first bad one, and makes its indexes again. Returns the next offset.
fn recover_segment(fs: &Fs, segment: &mut Segment, config: &LogConfig) -> io::Result<i64> {
    let length = segment.size_bytes;
    segment.offset_index.clear(fs)?;
    segment.time_index.clear(fs)?;
    segment.txn_index.clear(fs)?;
    segment.reset_timestamps();
    let mut reader = Reader { file: segment.open_file(fs)?, buffer: Vec::new(), start: 0, length };
    let (mut position, mut next) = (0, segment.base_offset);
    while let Some(batch) = reader.batch(position)? {
        let header = batch.header;
        let sound = header.base_offset.0 >= next && header.last_offset_delta >= 0 && batch.check_crc().is_ok();
        if !sound {
            break;
        }
        segment.note(fs, &header, position, header.last_offset().0, config.index_interval_bytes)?;
        next = header.last_offset().0 + 1;
        position += header.size_bytes() as u64;
    }
    segment.size_bytes = position;
    if position < length {
        tracing::warn!(base_offset = segment.base_offset, cut_bytes = length - position, "cut an incomplete end of a segment");
        segment.log_file(fs)?.set_len(position)?;
    }
    segment.mark_dirty();
    segment.sync(fs)?;
    Ok(next)
}

/// Loads the last segment after a clean stop. Its indexes are made again if they are not sound.
fn load_active(fs: &Fs, segment: &mut Segment, config: &LogConfig) -> io::Result<i64> {
    let length = segment.size_bytes;
    let sound = segment.offset_index.load(fs, length)? && segment.time_index.load(fs)?;
    if !sound {
        return recover_segment(fs, segment, config);
    }
    let from = segment.offset_index.last().map_or(0, |(_, position)| position);
    let (mut next, mut end) = (segment.base_offset, from);
    segment.scan(fs, from, |located| {
        next = located.header.last_offset().0 + 1;
        end = located.position + located.header.size_bytes() as u64;
        true
    })?;
    if end != length {
        return recover_segment(fs, segment, config);
    }
    segment.load_timestamps(fs)?;
    Ok(next)
}

/// Makes the state of the producers: the newest sound snapshot, and the batches after it.
pub(super) fn rebuild_producers(log: &mut Log, fs: &Fs) -> io::Result<()> {
    let mut snapshots = producer_snapshot::list(&fs.list(&log.dir)?);
    log.producers = ProducerState::default();
    let mut from = log.log_start_offset;
    while let Some(offset) = snapshots.pop() {
        if offset > log.log_end_offset {
            fs.remove_file(&producer_snapshot::path(&log.dir, offset))?;
        } else if let Some(state) = producer_snapshot::read(fs, &log.dir, offset)? {
            log.producers = state;
            from = offset;
            break;
        }
    }
    let first = log.segments.range(..=from).next_back().map_or(from, |(base, _)| *base);
    let bases: Vec<i64> = log.segments.range(first..).map(|(base, _)| *base).collect();
    for base in bases {
        replay_segment(log, fs, base, from)?;
    }
    Ok(())
}

fn replay_segment(log: &mut Log, fs: &Fs, base: i64, from: i64) -> io::Result<()> {
    let segment = &log.segments[&base];
    let file = segment.open_file(fs)?;
    let mut batches: Vec<(BatchHeader, u64)> = Vec::new();
    segment.scan(fs, 0, |located| {
        if located.header.base_offset.0 >= from && located.header.has_producer_id() {
            batches.push((located.header, located.position));
        }
        true
    })?;
    let known: Vec<i64> = segment.txn_index.entries(fs)?.iter().map(|t| t.last_offset).collect();
    for (header, position) in batches {
        if !header.is_control() {
            log.producers.apply(&header);
            continue;
        }
        let mut bytes = vec![0; header.size_bytes()];
        file.read_exact_at(&mut bytes, position)?;
        let Ok(batch) = Batch::read(&Bytes::from(bytes)) else { continue };
        let Ok(Some(marker)) = marker_of(&batch) else { continue };
        if let Some(aborted) = log.producers.apply_marker(&header, marker)
            && !known.contains(&aborted.last_offset)
        {
            log.segments.get_mut(&base).expect("it is being replayed").txn_index.append(fs, aborted)?;
        }
    }
    Ok(())
}

/// Whole batches from a file, through a buffer.
struct Reader {
    file: File,
    buffer: Vec<u8>,
    start: u64,
    length: u64,
}

/// How much is read at a time.
const READ_BYTES: u64 = 1 << 20;

impl Reader {
    /// The batch at a position; None if it is not whole.
    fn batch(&mut self, position: u64) -> io::Result<Option<Batch>> {
        let Some(head) = self.bytes(position, HEADER_BYTES as u64)? else { return Ok(None) };
        let Ok(header) = BatchHeader::read(head) else { return Ok(None) };
        let Some(whole) = self.bytes(position, header.size_bytes() as u64)? else { return Ok(None) };
        Ok(Batch::read(&Bytes::copy_from_slice(whole)).ok())
    }

    fn bytes(&mut self, position: u64, count: u64) -> io::Result<Option<&[u8]>> {
        if position + count > self.length {
            return Ok(None);
        }
        let end = self.start + self.buffer.len() as u64;
        if position < self.start || position + count > end {
            self.buffer.resize(READ_BYTES.max(count).min(self.length - position) as usize, 0);
            self.file.read_exact_at(&mut self.buffer, position)?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(Some(&self.buffer[from..from + count as usize]))
    }
}
