//! What this process takes of its machine, for metrics.
//!
//! The simulated machine has no processes: nothing there may depend on these numbers.

use std::time::Duration;

/// What the process uses, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since the process began.
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_files: u64,
    /// The most files that may be open.
    pub files_max: u64,
    /// Seconds since 1970.
    pub start_seconds: f64,
    /// What went from and to disks, not what the page cache served.
    pub disk_read_bytes: u64,
    pub disk_write_bytes: u64,
}

/// How busy the threads are that run tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    /// Of all threads together, since the start.
    pub time: Duration,
    pub threads: usize,
}

pub(crate) trait Meter: Send + Sync {
    fn usage(&self) -> Option<Usage>;
    fn busy(&self) -> Option<Busy>;
}

/// A machine without processes.
pub(crate) struct NoMeter;

impl Meter for NoMeter {
    fn usage(&self) -> Option<Usage> {
        None
    }

    fn busy(&self) -> Option<Busy> {
        None
    }
}
