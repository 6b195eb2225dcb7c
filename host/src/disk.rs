//! Jobs on a directory's disk, in order.
//!
//! Storage code is synchronous and knows files only inside a job. Who runs the job, and when, is this module's business:
//!
//!     run       in the order of the calls, may write; short (page cache), so run by the caller when the queue is idle
//!     run_slow  in the same order; for jobs that sync or walk much: always on the directory's own thread
//!     run_each  as run_slow, a job for each of many items; those of one call may run side by side
//!     sync      makes durable what earlier jobs wrote to a file, beside the jobs that follow; syncs of one file that
//!               wait at the same time are one fdatasync (group commit)
//!     read      beside the others, must not write; short (page cache), so run by the caller while the disk is quick
//!     read_slow beside the others, must not write; for jobs that walk much, read cold data or sync names: on another thread
//!
//! In simulation every job starts after a seeded delay, may stall, and never runs on a node that has crashed.

use std::io;
use std::path::Path;

use crate::real::disk::RealDisk;
use crate::sim::SimDisk;
use crate::{File, Fs};

/// The node is gone or stopping: the job was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk is gone")]
pub struct DiskGone;

pub(crate) trait Disks: Send + Sync {
    fn disk(&self, dir: &Path) -> Disk;
}

/// The queue of one directory. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Disk(pub(crate) DiskKind);

#[derive(Clone, Debug)]
pub(crate) enum DiskKind {
    Real(RealDisk),
    Sim(SimDisk),
}

impl Disk {
    /// Runs a short job that may write. A dropped future may or may not have run its job, but never half of it.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        match &self.0 {
            DiskKind::Real(disk) => disk.run(job).await,
            DiskKind::Sim(disk) => disk.run(job).await,
        }
    }

    /// Runs a job that may take long or sync.
    pub async fn run_slow<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        match &self.0 {
            DiskKind::Real(disk) => disk.run_slow(job).await,
            DiskKind::Sim(disk) => disk.run(job).await,
        }
    }

    /// Runs a job for each item in one turn of the queue, up to `threads` of them side by side: no two of them may touch the
    /// same file. Returns what they gave, in the order of the items; a job that panics loses the whole answer.
    pub async fn run_each<I: Send + 'static, T: Send + 'static>(
        &self,
        threads: usize,
        items: Vec<I>,
        job: impl Fn(&Fs, I) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, DiskGone> {
        match &self.0 {
            DiskKind::Real(disk) => disk.run_each(threads, items, job).await,
            // One after the other: a seed replays exactly.
            DiskKind::Sim(disk) => {
                disk.run(move |fs| items.into_iter().map(|item| job(fs, item)).collect()).await
            }
        }
    }

    /// Makes durable what earlier jobs wrote to `file`. A file whose sync failed must not be synced again: the kernel may
    /// have forgotten what it could not write.
    pub async fn sync(&self, file: File) -> Result<io::Result<()>, DiskGone> {
        match &self.0 {
            DiskKind::Real(disk) => disk.sync(file).await,
            DiskKind::Sim(disk) => disk.sync(file).await,
        }
    }

    /// Runs a short job that only reads.
    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        match &self.0 {
            DiskKind::Real(disk) => disk.read(job).await,
            DiskKind::Sim(disk) => disk.read(job).await,
        }
    }

    /// Runs a job that only reads, and may take long.
    pub async fn read_slow<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        match &self.0 {
            DiskKind::Real(disk) => disk.read_slow(job).await,
            DiskKind::Sim(disk) => disk.read(job).await,
        }
    }
}
