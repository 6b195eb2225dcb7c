//! Syncs of a directory's files, beside its jobs: group commit.
//!
//! A sync is released when the jobs before it have run; then it needs to hold up nobody. What arrives for a file while
//! that file is being synced waits and becomes one fdatasync, however many asked. Different files are synced side by
//! side: the file system's journal makes one commit of them.
//!
//!     a.log  [ syncing ]  waiting: 3 callers -> one fdatasync
//!     b.log  [ syncing ]  waiting: none
//!
//! A file whose sync failed fails every later one too: the kernel tells an error once, and whoever asked may not have
//! waited for the answer.
//!
//! **Invariant:** an answer comes from an fdatasync that began after its sync was released.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::oneshot;

use super::start_thread;
use crate::File;

/// Files of one directory that are synced at the same time.
pub(super) const FLUSH_THREADS_MAX: usize = 4;

type Answer = oneshot::Sender<io::Result<()>>;
type SyncFile = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

#[derive(Default)]
struct State {
    /// Files to sync, oldest first, and who waits for each.
    waiting: VecDeque<(File, Vec<Answer>)>,
    /// Files whose fdatasync is under way: a second one beside it would only fight for the same pages.
    syncing: Vec<File>,
    /// Files whose sync failed, and how.
    failed: Vec<(File, io::Error)>,
    threads: usize,
    idle_threads: usize,
    closed: bool,
}

pub(super) struct Flushes {
    state: Mutex<State>,
    wake: Condvar,
    /// `File::sync`, but for tests, which count the calls and hold them up.
    sync_file: SyncFile,
}

impl Flushes {
    pub(super) fn new(sync_file: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static) -> Arc<Flushes> {
        let sync_file = Box::new(sync_file);
        Arc::new(Flushes { state: Mutex::default(), wake: Condvar::new(), sync_file })
    }

    /// Asks for a sync of `file` that begins from now on.
    pub(super) fn push(self: &Arc<Flushes>, file: File, answer: Answer) {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        if let Some((_, error)) = state.failed.iter().find(|(failed, _)| failed.is_same(&file)) {
            // The caller may have stopped waiting.
            let _ = answer.send(Err(copy(error)));
            return;
        }
        if let Some((_, answers)) = state.waiting.iter_mut().find(|(waiting, _)| waiting.is_same(&file)) {
            answers.push(answer);
            return;
        }
        state.waiting.push_back((file, vec![answer]));
        if state.idle_threads < state.waiting.len() && state.threads < FLUSH_THREADS_MAX {
            state.threads += 1;
            let this = Arc::clone(self);
            start_thread("weir-flush", move || this.work());
        }
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.state.lock().expect("nobody panics while holding it").closed = true;
        self.wake.notify_all();
    }

    fn work(&self) {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        loop {
            let State { waiting, syncing, .. } = &*state;
            let next = waiting.iter().position(|(file, _)| !syncing.iter().any(|s| s.is_same(file)));
            if let Some((file, answers)) = next.and_then(|index| state.waiting.remove(index)) {
                state.syncing.push(file.clone());
                let failed = state.failed.iter().find(|(failed, _)| failed.is_same(&file));
                let failed = failed.map(|(_, error)| Err(copy(error)));
                drop(state);
                let result = failed.unwrap_or_else(|| (self.sync_file)(&file));
                state = self.state.lock().expect("nobody panics while holding it");
                if let Err(error) = &result {
                    state.failed.push((file.clone(), copy(error)));
                }
                // Whoever waits for this file is this thread's next one: it looks again before it rests.
                state.syncing.retain(|s| !s.is_same(&file));
                answer(answers, &result);
            } else if state.closed {
                return;
            } else {
                state.idle_threads += 1;
                state = self.wake.wait(state).expect("nobody panics while holding it");
                state.idle_threads -= 1;
            }
        }
    }
}

fn answer(waiting: Vec<Answer>, result: &io::Result<()>) {
    for sender in waiting {
        // The caller may have stopped waiting.
        let _ = sender.send(result.as_ref().copied().map_err(copy));
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
