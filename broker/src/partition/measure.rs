//! What metrics ask of a partition: numbers of one moment, never a wait.

use std::sync::{Arc, TryLockError};

use host::Fs;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::ids::Offset;
use storage::{Read, ReadLimits};

use super::{Offsets, Partition, Role};

/// The numbers of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub role: Role,
    pub offsets: Offsets,
    pub replicas: usize,
    pub isr: usize,
    /// Committed records that a follower does not have yet; 0 elsewhere.
    pub lag: i64,
    pub log: LogMeasure,
}

/// What only the log knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogMeasure {
    pub size_bytes: u64,
    pub segments: usize,
    pub producers: usize,
}

impl Partition {
    /// When the batch that holds an offset was made, in ms since 1970: the time of its first record. None if there is no such
    /// batch, or it cannot be read here.
    pub async fn batch_time_ms(self: &Arc<Self>, offset: Offset) -> Option<i64> {
        let partition = Arc::clone(self);
        self.disk.read(move |fs| partition.read_batch_time(fs, offset)).await.ok()?
    }

    fn read_batch_time(&self, fs: &Fs, offset: Offset) -> Option<i64> {
        let mut log = self.log();
        let offset = offset.max(log.log_start_offset());
        let limits = ReadLimits { upper: log.log_end_offset(), bytes_max: 1, at_least_one: true };
        let Read::Local(slice) = log.read(fs, offset, limits).ok()? else { return None };
        let region = slice.region?;
        drop(log);
        let mut head = [0; HEADER_BYTES];
        region.file.read_exact_at(&mut head, region.position).ok()?;
        let header = BatchHeader::read(&head).ok()?;
        // A batch that was compacted may tell another time there.
        Some(if header.base_timestamp > 0 { header.base_timestamp } else { header.max_timestamp })
    }

    /// Does not wait for a job that holds the log (a flush, a walk over segments): then the log's numbers are those that
    /// were seen last.
    pub fn measure(&self) -> Measure {
        let log = match self.log.try_lock() {
            Ok(log) => Some(LogMeasure {
                size_bytes: log.size_bytes(),
                segments: log.segment_count(),
                producers: log.producers().producers().len(),
            }),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("no code that holds this lock panics"),
        };
        let mut state = self.state();
        state.measured = log.unwrap_or(state.measured);
        Measure {
            role: state.role,
            offsets: state.offsets(),
            replicas: state.replicas.len(),
            isr: state.isr.len(),
            lag: if state.role == Role::Follower {
                (state.leader_high_watermark.0 - state.log_end.0).max(0)
            } else {
                0
            },
            log: state.measured,
        }
    }
}
