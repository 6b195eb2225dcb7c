//! A simulated directory's queue of jobs: in order, after a seeded delay, never after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::executor::{Executor, Life};
use super::files::{SharedDisk, SimFs};
use super::world::Nodes;
use crate::disk::{DiskKind, Disks};
use crate::fs::FsKind;
use crate::{Disk, DiskGone, File, Fs};

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
    /// Of a million syncs, so many fail (at least as many as writes do). If this is not zero, a failed sync forgets what it
    /// did not write, as Linux does: it stays readable until the power goes, and no later sync makes it durable.
    pub sync_errors_per_million: u64,
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
            sync_errors_per_million: 0,
            capacity_bytes: u64::MAX,
        }
    }
}

type Job = Box<dyn FnOnce(&Fs) + Send>;

enum Queued {
    Job(Job),
    Sync(File, oneshot::Sender<io::Result<()>>),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Queued>,
    busy: bool,
    /// Files whose sync failed: no later one succeeds.
    failed: Vec<File>,
}

/// Shared by all queues of one node in one life.
pub(crate) struct SimDisks {
    pub(crate) executor: Arc<Executor>,
    pub(crate) life: Life,
    pub(crate) disk: SharedDisk,
    pub(crate) nodes: Nodes,
    queues: Mutex<BTreeMap<PathBuf, Arc<Mutex<Queue>>>>,
}

impl Disks for Arc<SimDisks> {
    fn disk(&self, dir: &Path) -> Disk {
        let mut queues = self.queues.lock().expect("nobody panics while holding it");
        let queue = Arc::clone(queues.entry(dir.to_owned()).or_default());
        Disk(DiskKind::Sim(SimDisk { node: Arc::clone(self), queue }))
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
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        let (sender, result) = oneshot::channel();
        self.push(Queued::Job(Box::new(move |fs| drop(sender.send(job(fs))))));
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) async fn sync(&self, file: File) -> Result<io::Result<()>, DiskGone> {
        let (sender, result) = oneshot::channel();
        self.push(Queued::Sync(file, sender));
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        let (sender, result) = oneshot::channel();
        let node = Arc::clone(&self.node);
        // Dropped with its sender if the node crashes before.
        self.node.executor.after(self.node.delay(), Some(node.life), move || {
            drop(sender.send(job(&node.fs())));
            node.crash_if_due();
        });
        result.await.map_err(|_| DiskGone)
    }

    fn push(&self, queued: Queued) {
        if self.node.executor.is_alive(self.node.life) {
            self.queue.lock().expect("nobody panics while holding it").jobs.push_back(queued);
            self.start_next();
        }
    }

    /// Schedules the oldest job, unless one is under way.
    fn start_next(&self) {
        {
            let mut queue = self.queue.lock().expect("nobody panics while holding it");
            if queue.busy || queue.jobs.is_empty() {
                return;
            }
            queue.busy = true;
        }
        let this = self.clone();
        self.node.executor.after(self.node.delay(), Some(self.node.life), move || this.run_first());
    }

    fn run_first(&self) {
        let first = {
            let mut queue = self.queue.lock().expect("nobody panics while holding it");
            queue.busy = false;
            queue.jobs.pop_front()
        };
        match first {
            Some(Queued::Job(job)) => job(&self.node.fs()),
            Some(Queued::Sync(file, sender)) => {
                // It covers what was written before it, no more, and its answer comes while later jobs already run.
                let mut queue = self.queue.lock().expect("nobody panics while holding it");
                let has_failed = queue.failed.iter().any(|failed| failed.is_same(&file));
                let result =
                    if has_failed { Err(io::Error::other("a sync failed before")) } else { file.sync() };
                if result.is_err() && !has_failed {
                    queue.failed.push(file);
                }
                drop(queue);
                let answer = move || drop(sender.send(result));
                self.node.executor.after(self.node.delay(), Some(self.node.life), answer);
            }
            None => {}
        }
        self.node.crash_if_due();
        self.start_next();
    }
}

impl SimDisks {
    pub(crate) fn new(executor: Arc<Executor>, life: Life, disk: SharedDisk, nodes: Nodes) -> SimDisks {
        SimDisks { executor, life, disk, nodes, queues: Mutex::default() }
    }

    fn fs(&self) -> Fs {
        Fs(FsKind::Sim(SimFs::new(Arc::clone(&self.disk), Arc::clone(&self.executor), self.life)))
    }

    fn delay(&self) -> Duration {
        let (delay_max, stalls, stall) = {
            let disk = self.disk.lock().expect("nobody panics while holding it");
            (disk.faults.delay_max, disk.faults.stalls_per_million, disk.faults.stall)
        };
        let delay = self.executor.duration_up_to(delay_max);
        if self.executor.below(1_000_000) < stalls { delay + stall } else { delay }
    }

    /// The node died in the middle of the job that has just ended.
    fn crash_if_due(&self) {
        let due = self.disk.lock().expect("nobody panics while holding it").crashed_in_job;
        if let Some(kind) = due {
            self.nodes.crash(self.life.node, kind);
        }
    }
}
