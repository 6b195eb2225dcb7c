//! A directory's queue of jobs on the real machine.
//!
//! A short job is run by whoever brings it while the queue is idle: a write to the page cache takes microseconds, and a
//! hand-over to a thread costs more than that. As soon as somebody is in the way, jobs queue up and the directory's own
//! thread takes them in order, until it has none left. A disk that has just been slow gets no job inline: it would stall
//! the caller's reactor.
//!
//!     idle --run--> caller runs it --nobody came--> idle
//!                                  --jobs came----> thread drains --empty--> idle
//!
//! **Invariant:** one job at a time, in the order of the calls. Syncs have their place in that order, but run beside the
//! jobs that follow them (see `flush`).
#![allow(clippy::disallowed_methods)] // This is where the seam is: threads for each directory, and how slow they are.

mod flush;
mod side_by_side;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::flush::Flushes;
use crate::disk::{DiskKind, Disks};
use crate::fs::FsKind;
use crate::{Disk, DiskGone, File, Fs};

const FS: Fs = Fs(FsKind::Real);

/// An inline job that took longer than this says that the disk is not well (or that the job was no short one) ...
const INLINE_TIME_MAX: Duration = Duration::from_millis(5);
/// ... and for so long jobs go to threads.
const INLINE_PAUSE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&Fs) + Send>;

enum Queued {
    Job(Job),
    Sync(File, oneshot::Sender<io::Result<()>>),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    /// Somebody is running a job: a caller, or the thread.
    busy: bool,
    /// The thread is the one who runs, or shall be.
    thread_owns: bool,
    thread_started: bool,
    closed: bool,
    /// No jobs inline before this moment.
    inline_again: Option<Instant>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    flushes: Arc<Flushes>,
    /// No reads inline before this moment.
    reads_inline_again: Mutex<Option<Instant>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A job that panics does so outside of the lock.
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Lets the syncs go whose turn has come: those before the next job.
    fn release_syncs(&self, state: &mut State) {
        while let Some(Queued::Sync(..)) = state.queue.front() {
            if let Some(Queued::Sync(file, sender)) = state.queue.pop_front() {
                self.flushes.push(file, sender);
            }
        }
    }
}

/// Closes the queue when the last handle goes.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        self.shared.flushes.close();
    }
}

/// See the module. Cloning shares the queue.
#[derive(Clone)]
pub(crate) struct RealDisk {
    handle: Arc<Handle>,
}

impl std::fmt::Debug for RealDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RealDisk")
    }
}

fn may_run_inline(again: &mut Option<Instant>) -> bool {
    match again {
        None => true,
        Some(at) if Instant::now() < *at => false,
        Some(_) => {
            *again = None;
            true
        }
    }
}

impl RealDisk {
    pub(crate) fn new() -> RealDisk {
        RealDisk::syncing_with(Flushes::new(File::sync))
    }

    fn syncing_with(flushes: Arc<Flushes>) -> RealDisk {
        let shared = Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            flushes,
            reads_inline_again: Mutex::default(),
        };
        RealDisk { handle: Arc::new(Handle { shared: Arc::new(shared) }) }
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        let shared = &*self.handle.shared;
        // The lock ends with this block: it must not be alive at an await, or the future could not move between threads.
        let turn = {
            let mut state = shared.lock();
            if state.busy || !may_run_inline(&mut state.inline_again) {
                Err(self.queue(state, job))
            } else {
                state.busy = true;
                Ok(job)
            }
        };
        let job = match turn {
            Ok(job) => job,
            Err(result) => return result.await.map_err(|_| DiskGone),
        };
        // No await below: the job runs whole, and the queue is handed on even if it panics.
        let _turn = Turn { shared, began: Instant::now() };
        Ok(job(&FS))
    }

    pub(crate) async fn run_slow<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        let result = self.queue(self.handle.shared.lock(), job);
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) async fn run_each<I: Send + 'static, T: Send + 'static>(
        &self,
        threads: usize,
        items: Vec<I>,
        job: impl Fn(&Fs, I) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, DiskGone> {
        self.run_slow(move |fs| side_by_side::run(threads, items, |item| job(fs, item))).await
    }

    pub(crate) async fn sync(&self, file: File) -> Result<io::Result<()>, DiskGone> {
        let (sender, result) = oneshot::channel();
        {
            let shared = &self.handle.shared;
            let mut state = shared.lock();
            if state.busy {
                state.queue.push_back(Queued::Sync(file, sender));
            } else {
                shared.flushes.push(file, sender);
            }
        }
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        let again = &self.handle.shared.reads_inline_again;
        if !may_run_inline(&mut again.lock().expect("nobody panics while holding it")) {
            return self.read_slow(job).await;
        }
        let began = Instant::now();
        let result = job(&FS);
        if began.elapsed() > INLINE_TIME_MAX {
            *again.lock().expect("nobody panics while holding it") = Some(Instant::now() + INLINE_PAUSE);
        }
        Ok(result)
    }

    pub(crate) async fn read_slow<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        tokio::task::spawn_blocking(move || job(&FS)).await.map_err(|_| DiskGone)
    }

    /// Puts a job at the end of the queue, and has the thread take it if nobody else is in the way.
    fn queue<T: Send + 'static>(
        &self,
        mut state: MutexGuard<'_, State>,
        job: impl FnOnce(&Fs) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, result) = oneshot::channel();
        state.queue.push_back(Queued::Job(Box::new(move |fs| {
            // The caller may have stopped waiting; the job counts all the same.
            let _ = sender.send(job(fs));
        })));
        if !state.thread_started {
            state.thread_started = true;
            let shared = Arc::clone(&self.handle.shared);
            start_thread("weir-disk", move || drain(&shared));
        }
        if !state.busy {
            state.busy = true;
            state.thread_owns = true;
            self.handle.shared.wake.notify_one();
        }
        result
    }
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    assert!(started.is_ok(), "a thread for the disk can be started");
}

/// A caller's turn at an idle queue; its end hands the queue to the thread, if jobs came meanwhile.
struct Turn<'a> {
    shared: &'a Shared,
    began: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let slow = self.began.elapsed() > INLINE_TIME_MAX;
        let mut state = self.shared.lock();
        if slow {
            state.inline_again = Some(Instant::now() + INLINE_PAUSE);
        }
        self.shared.release_syncs(&mut state);
        if state.queue.is_empty() {
            state.busy = false;
        } else {
            state.thread_owns = true;
            self.shared.wake.notify_one();
        }
    }
}

/// The directory's thread: waits until it owns the queue, empties it, gives it back.
fn drain(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if state.thread_owns {
            shared.release_syncs(&mut state);
            if let Some(Queued::Job(job)) = state.queue.pop_front() {
                drop(state);
                // A panicking job loses its own caller (the sender is dropped), not the queue.
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&FS)));
                drop(outcome);
                state = shared.lock();
            } else {
                state.thread_owns = false;
                state.busy = false;
            }
        } else if state.closed {
            return;
        } else {
            state = shared.wake.wait(state).expect("nobody panics while holding it");
        }
    }
}

/// One queue a directory.
#[derive(Default)]
pub(crate) struct RealDisks {
    queues: Mutex<BTreeMap<PathBuf, RealDisk>>,
}

impl Disks for RealDisks {
    fn disk(&self, dir: &Path) -> Disk {
        let mut queues = self.queues.lock().expect("nobody panics while holding it");
        Disk(DiskKind::Real(queues.entry(dir.to_owned()).or_insert_with(RealDisk::new).clone()))
    }
}
