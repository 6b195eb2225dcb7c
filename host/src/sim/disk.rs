//! A simulated directory's queue of jobs: in order, after a seeded delay, never after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::executor::{Executor, Life};
use super::files::{SharedDisk, SimFs};
use super::world::{CrashKind, Nodes};
use crate::disk::{DiskKind, Disks};
use crate::fs::FsKind;
use crate::{Disk, DiskGone, Fs};

/// How a node's disk misbehaves. The default one is healthy, with room for everything.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    /// A job starts within this time, by the seed.
    pub delay_max: Duration,
    /// Of a million jobs, so many take `stall`.
    pub stalls_per_million: u64,
    pub stall: Duration,
    /// Of a million operations, so many fail with EIO.
    pub write_errors_per_million: u64,
    pub read_errors_per_million: u64,
    /// Writes beyond this fail with ENOSPC.
    pub capacity_bytes: u64,
}

impl Default for DiskFaults {
    fn default() -> DiskFaults {
        DiskFaults {
            delay_max: Duration::from_micros(200),
            stalls_per_million: 0,
            stall: Duration::from_millis(500),
            write_errors_per_million: 0,
            read_errors_per_million: 0,
            capacity_bytes: u64::MAX,
        }
    }
}

type Job = Box<dyn FnOnce(&Fs) + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    busy: bool,
}

/// Shared by all queues of one node in one life.
pub(crate) struct SimDisks {
    pub(crate) executor: Arc<Executor>,
    pub(crate) life: Life,
    pub(crate) disk: SharedDisk,
    pub(crate) nodes: Nodes,
    pub(crate) queues: Mutex<BTreeMap<PathBuf, SimDisk>>,
}

impl Disks for Arc<SimDisks> {
    fn disk(&self, dir: &Path) -> Disk {
        let mut queues = self.queues.lock().expect("nobody panics while holding it");
        let new = || SimDisk { node: Arc::clone(self), queue: Arc::default() };
        Disk(DiskKind::Sim(queues.entry(dir.to_owned()).or_insert_with(new).clone()))
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct SimDisk {
    node: Arc<SimDisks>,
    queue: Arc<Mutex<Queue>>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce(&Fs) -> T + Send + 'static) -> Result<T, DiskGone> {
        let (sender, result) = oneshot::channel();
        {
            let mut queue = self.queue.lock().expect("nobody panics while holding it");
            queue.jobs.push_back(Box::new(move |fs| drop(sender.send(job(fs)))));
        }
        self.start_next();
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) async fn read<T: Send + 'static>(&self, job: impl FnOnce(&Fs) -> T + Send + 'static) -> Result<T, DiskGone> {
        let (sender, result) = oneshot::channel();
        let node = Arc::clone(&self.node);
        self.node.executor.after(self.node.delay(), move || {
            if node.executor.is_alive(node.life) {
                // Dropped with the sender otherwise: a crashed node reads nothing.
                drop(sender.send(job(&node.fs())));
                node.crash_if_due();
            }
        });
        result.await.map_err(|_| DiskGone)
    }

    /// Schedules the oldest job, unless one is under way.
    fn start_next(&self) {
        let mut queue = self.queue.lock().expect("nobody panics while holding it");
        if queue.busy || queue.jobs.is_empty() {
            return;
        }
        queue.busy = true;
        drop(queue);
        let this = self.clone();
        self.node.executor.after(self.node.delay(), move || this.run_first());
    }

    fn run_first(&self) {
        let job = {
            let mut queue = self.queue.lock().expect("nobody panics while holding it");
            queue.busy = false;
            if !self.node.executor.is_alive(self.node.life) {
                let jobs = std::mem::take(&mut queue.jobs);
                drop(queue);
                drop(jobs);
                return;
            }
            queue.jobs.pop_front()
        };
        if let Some(job) = job {
            job(&self.node.fs());
            self.node.crash_if_due();
        }
        self.start_next();
    }
}

impl SimDisks {
    fn fs(&self) -> Fs {
        Fs(FsKind::Sim(SimFs::new(Arc::clone(&self.disk), Arc::clone(&self.executor), self.life)))
    }

    fn delay(&self) -> Duration {
        let faults = self.disk.lock().expect("nobody panics while holding it").faults.clone();
        let delay = Duration::from_nanos(self.executor.below(faults.delay_max.as_nanos() as u64 + 1));
        let stalls = self.executor.below(1_000_000) < faults.stalls_per_million;
        if stalls { delay + faults.stall } else { delay }
    }

    /// The node died in the middle of the job that has just ended.
    fn crash_if_due(&self) {
        let due = {
            let mut disk = self.disk.lock().expect("nobody panics while holding it");
            std::mem::take(&mut disk.crashed_in_job)
        };
        if due {
            self.nodes.crash(self.life.node, CrashKind::Process);
        }
    }
}
