//! A directory's queue of jobs on the real machine.
//!
//! A short job is run by whoever brings it while the queue is idle: a write to the page cache takes microseconds, and a
//! hand-over to a thread costs more than that. As soon as somebody is in the way, jobs queue up and the directory's own
//! thread takes them in order, until it has none left.
//!
//!     idle --run--> caller runs it --nobody came--> idle
//!                                  --jobs came----> thread drains --empty--> idle
#![allow(clippy::disallowed_methods)] // This is where the seam is: one thread a directory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::disk::{DiskKind, Disks};
use crate::fs::FsKind;
use crate::{Disk, DiskGone, File, Fs};

const FS: Fs = Fs(FsKind::Real);

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
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A job that panics does so outside of the lock.
        self.state.lock().expect("nobody panics while holding it")
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

impl RealDisk {
    pub(crate) fn new() -> RealDisk {
        let shared = Shared { state: Mutex::default(), wake: Condvar::new() };
        RealDisk { handle: Arc::new(Handle { shared: Arc::new(shared) }) }
    }

    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce(&Fs) -> T + Send + 'static) -> Result<T, DiskGone> {
        let shared = &self.handle.shared;
        let idle = {
            let mut state = shared.lock();
            let idle = !state.busy;
            state.busy = true;
            idle
        };
        if !idle {
            return self.run_slow(job).await;
        }
        // No await below: the job runs whole, and the queue is handed on even if it panics.
        let _turn = Turn { shared };
        Ok(job(&FS))
    }

    pub(crate) async fn run_slow<T: Send + 'static>(&self, job: impl FnOnce(&Fs) -> T + Send + 'static) -> Result<T, DiskGone> {
        let (sender, result) = oneshot::channel();
        self.push(Queued::Job(Box::new(move |fs| {
            // The caller may have stopped waiting; the job counts all the same.
            let _ = sender.send(job(fs));
        })));
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) async fn sync(&self, file: File) -> Result<io::Result<()>, DiskGone> {
        let (sender, result) = oneshot::channel();
        self.push(Queued::Sync(file, sender));
        result.await.map_err(|_| DiskGone)
    }

    pub(crate) fn read<T>(&self, job: impl FnOnce(&Fs) -> T) -> T {
        job(&FS)
    }

    fn push(&self, queued: Queued) {
        let shared = &self.handle.shared;
        let mut state = shared.lock();
        state.queue.push_back(queued);
        if !state.thread_started {
            state.thread_started = true;
            let shared = Arc::clone(shared);
            let started = std::thread::Builder::new().name("weir-disk".into()).spawn(move || drain(&shared));
            assert!(started.is_ok(), "a thread for the disk can be started");
        }
        if !state.busy {
            state.busy = true;
            state.thread_owns = true;
            shared.wake.notify_one();
        }
    }
}

/// A caller's turn at an idle queue; its end hands the queue to the thread, if jobs came meanwhile.
struct Turn<'a> {
    shared: &'a Shared,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
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
            match state.queue.pop_front() {
                Some(Queued::Job(job)) => {
                    drop(state);
                    // A panicking job loses its own caller (the sender is dropped), not the queue.
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&FS)));
                    drop(outcome);
                    state = shared.lock();
                }
                Some(Queued::Sync(file, sender)) => {
                    let mut waiting = vec![sender];
                    while let Some(Queued::Sync(next, _)) = state.queue.front()
                        && next.is_same(&file)
                    {
                        if let Some(Queued::Sync(_, sender)) = state.queue.pop_front() {
                            waiting.push(sender);
                        }
                    }
                    drop(state);
                    answer(waiting, &file.sync());
                    state = shared.lock();
                }
                None => {
                    state.thread_owns = false;
                    state.busy = false;
                }
            }
        } else if state.closed {
            return;
        } else {
            state = shared.wake.wait(state).expect("nobody panics while holding it");
        }
    }
}

fn answer(waiting: Vec<oneshot::Sender<io::Result<()>>>, result: &io::Result<()>) {
    for sender in waiting {
        let copy = match result {
            Ok(()) => Ok(()),
            Err(e) => Err(e.raw_os_error().map_or_else(|| io::Error::from(e.kind()), io::Error::from_raw_os_error)),
        };
        let _ = sender.send(copy);
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
