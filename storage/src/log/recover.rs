//! What is believed of a log's files: all of it after a stop in order, nothing behind the recovery point after a crash.
//!
//!     [ older segments ][ segment with the recovery point ][ newer ones ]
//!     believed           believed |  every batch is read, its CRC checked, its index entry made again
//!                                 '- from the last index entry below the recovery point
//!
//! The log ends before the first batch that is not whole, or before the first hole between two segments; what is behind it
//! is removed, since it was written later.
//!
//! Invariant: reads what lies behind the recovery point, and at most what an index entry covers before it.

use std::io;
use std::path::Path;

use host::Fs;
use protocol::batch::{HEADER_BYTES, crc_of};

use super::LogConfig;
use crate::leader_epochs::LeaderEpochs;
use crate::scan::BatchReader;
use crate::segment::Segment;

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// Nothing behind this offset is believed: aborted transactions are found again from here on.
    pub(super) from: i64,
    pub(super) log_end_offset: i64,
    /// Bytes of batches that were read and checked.
    pub(super) checked_bytes: u64,
}

/// After a crash: see the module.
pub(super) fn recover(
    fs: &Fs,
    dir: &Path,
    segments: &mut Vec<Segment>,
    recovery_point: i64,
    epochs: &mut LeaderEpochs,
    config: &LogConfig,
) -> io::Result<Recovery> {
    // The segment of the last record below the recovery point: what an earlier recovery made again of its indexes may not be
    // durable, even where the point lies at the segment's end.
    let first = segments.partition_point(|s| s.base_offset < recovery_point).saturating_sub(1);
    let base_offset = segments[first].base_offset;
    let mut found = Recovery { from: base_offset, log_end_offset: base_offset, checked_bytes: 0 };
    for at in first..segments.len() {
        let segment = &mut segments[at];
        let is_hole = at > first && segment.base_offset != found.log_end_offset;
        let length = segment.size_bytes;
        if !is_hole {
            let from = if at == first { recovery_point } else { segment.base_offset };
            let part = recover_segment(fs, segment, from, epochs, config)?;
            found.log_end_offset = part.log_end_offset;
            found.checked_bytes += part.checked_bytes;
            found.from = if at == first { part.from } else { found.from };
        }
        if is_hole || segment.size_bytes < length {
            let mut later = segments.split_off(if is_hole { at } else { at + 1 });
            for segment in &later {
                tracing::warn!(
                    base_offset = segment.base_offset,
                    bytes = segment.size_bytes,
                    "removed a segment behind the end of its log"
                );
            }
            later.reverse();
            Segment::delete_all(fs, dir, later)?;
            break;
        }
    }
    Ok(found)
}

/// Checks the batches of a segment from an offset on, cuts it before the first bad one, and makes its indexes again.
fn recover_segment(
    fs: &Fs,
    segment: &mut Segment,
    from: i64,
    epochs: &mut LeaderEpochs,
    config: &LogConfig,
) -> io::Result<Recovery> {
    let length = segment.size_bytes;
    let (position, mut next) = believed(fs, segment, from)?;
    let believed_end = next;
    epochs.truncate_from_end(next);
    let mut reader = BatchReader::new(segment.log_file(fs)?.clone(), length);
    segment.restart_at(fs, position)?;
    while let Some((header, bytes)) = reader.batch(segment.size_bytes)? {
        let sound = header.base_offset.0 >= next
            && header.last_offset_delta >= 0
            && header.crc == crc_of(&header, &bytes[HEADER_BYTES..]);
        if !sound {
            break;
        }
        epochs.assign(header.leader_epoch.0, header.base_offset.0);
        next = header.next_offset().0;
        segment.note(fs, &header, config.index_interval_bytes)?;
    }
    // What the recovery point covers is durable; made again it would not be, until the next flush.
    segment.txn_index.truncate(fs, believed_end.max(from).min(next))?;
    let end = segment.size_bytes;
    if end < length {
        tracing::warn!(
            base_offset = segment.base_offset,
            cut_bytes = length - end,
            "cut an incomplete end of a segment"
        );
        segment.truncate(fs, end)?;
    }
    segment.mark_dirty();
    Ok(Recovery { from: believed_end, log_end_offset: next, checked_bytes: end - position })
}

/// The place in a segment that recovery may begin at: the batch of the last index entry below `from`, if that is sound.
/// Returns its position and the offset that it must not be below. The indexes say nothing of what is behind it afterwards.
fn believed(fs: &Fs, segment: &mut Segment, from: i64) -> io::Result<(u64, i64)> {
    let entry = segment.offset_index.keep_sound(fs, from, segment.size_bytes)?;
    if let Some((offset, position)) = entry
        && let Some(located) = segment.batch_at(fs, position)?
        && located.header.last_offset().0 == offset
    {
        segment.time_index.keep_sound(fs, offset + 1)?;
        return Ok((position, located.header.base_offset.0));
    }
    segment.offset_index.clear(fs)?;
    segment.time_index.clear(fs)?;
    Ok((0, segment.base_offset))
}

/// After a stop in order: only the end of the last segment is looked at. If its indexes do not fit, they are made again.
pub(super) fn load_active(
    fs: &Fs,
    segments: &mut [Segment],
    epochs: &mut LeaderEpochs,
    config: &LogConfig,
) -> io::Result<Recovery> {
    let segment = segments.last_mut().expect("a log has a segment");
    let length = segment.size_bytes;
    let sound = segment.offset_index.check(fs, length)? && segment.time_index.check(fs)?;
    let from = segment.offset_index.lookup(fs, i64::MAX)?;
    let (mut next, mut end) = (segment.base_offset, from);
    segment.scan(fs, from, |located| {
        (next, end) = (located.header.next_offset().0, located.end());
        true
    })?;
    if !sound || end != length {
        let base_offset = segment.base_offset;
        return recover_segment(fs, segment, base_offset, epochs, config);
    }
    segment.load_timestamps(fs)?;
    Ok(Recovery { from: i64::MAX, log_end_offset: next, checked_bytes: 0 })
}
