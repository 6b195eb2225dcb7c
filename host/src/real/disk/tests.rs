//! Who runs a job, and how many syncs are one: the private policy of a directory's queue.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, ThreadId};

use super::flush::FLUSH_THREADS_MAX;
use super::*;
use crate::OpenMode;

/// Far longer than anything here takes: only a broken test waits for it.
const LIMIT: Duration = Duration::from_secs(30);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Polls a future that is ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it had to wait"),
    }
}

/// Waits for a future without a runtime: the disk's threads need none.
fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    runtime().block_on(async { tokio::time::timeout(LIMIT, future).await.expect("in time") })
}

fn thread_of(_: &Fs) -> ThreadId {
    thread::current().id()
}

/// A job that is slow for the policy, whatever the machine: it looks at the clock until the limit is over.
fn slow(_: &Fs) {
    let began = Instant::now();
    while began.elapsed() <= INLINE_TIME_MAX {
        thread::yield_now();
    }
}

#[test]
fn a_job_on_an_idle_queue_is_run_by_its_caller() {
    let disk = RealDisk::new();
    assert_eq!(now(disk.run(thread_of)), Ok(thread::current().id()));
    assert_eq!(now(disk.read(thread_of)), Ok(thread::current().id()));
    assert!(!disk.handle.shared.lock().thread_started, "a quick disk has no thread");
}

#[test]
fn a_slow_job_is_run_by_the_thread_of_its_directory() {
    let disk = RealDisk::new();
    let first = wait(disk.run_slow(thread_of)).unwrap();
    assert_ne!(first, thread::current().id());
    assert_eq!(wait(disk.run_slow(thread_of)).unwrap(), first, "one directory, one thread");
}

#[test]
fn jobs_of_many_items_run_side_by_side() {
    let disk = RealDisk::new();
    let began = Arc::new(AtomicUsize::new(0));
    let job = move |_: &Fs, ()| {
        began.fetch_add(1, Ordering::SeqCst);
        let since = Instant::now();
        while began.load(Ordering::SeqCst) < 2 && since.elapsed() < LIMIT {
            thread::yield_now();
        }
        began.load(Ordering::SeqCst)
    };
    assert_eq!(wait(disk.run_each(2, vec![(), ()], job)), Ok(vec![2, 2]), "each has seen the other begin");
}

#[test]
fn a_panic_beside_others_loses_the_call_and_not_the_queue() {
    let disk = RealDisk::new();
    for threads in [1, 2, 3] {
        let job = |_: &Fs, item: i32| assert!(item != 2, "as told");
        assert_eq!(wait(disk.run_each(threads, vec![0, 1, 2, 3], job)), Err(DiskGone));
    }
    assert_eq!(wait(disk.run_slow(|_: &Fs| 7)), Ok(7));
}

#[test]
fn jobs_that_find_the_queue_busy_go_to_the_thread_in_their_order() {
    let disk = RealDisk::new();
    let (order, taken) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let (first, sender) = (disk.clone(), order.clone());
    let caller = thread::spawn(move || {
        now(first.run(move |_: &Fs| {
            begun.send(()).unwrap();
            gate.recv().unwrap();
            sender.send((0, thread::current().id())).unwrap();
        }))
    });
    begins.recv_timeout(LIMIT).unwrap();
    let mut later: Vec<_> = (1..=20)
        .map(|n| {
            let order = order.clone();
            Box::pin(disk.run(move |_: &Fs| order.send((n, thread::current().id())).unwrap()))
        })
        .collect();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(later.iter_mut().all(|job| job.as_mut().poll(&mut cx).is_pending()));
    open.send(()).unwrap();
    let inline_thread = caller.thread().id();
    caller.join().unwrap().unwrap();
    for job in later {
        wait(job).unwrap();
    }
    let ran: Vec<(usize, ThreadId)> = taken.try_iter().collect();
    assert_eq!(ran.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
    assert_eq!(ran[0].1, inline_thread);
    assert!(ran[1..].iter().all(|(_, by)| *by == ran[1].1 && *by != inline_thread), "{ran:?}");
}

/// Makes the pause of a slow disk be over, without waiting for it.
fn let_the_pause_end(again: &mut Option<Instant>) {
    assert!(again.is_some_and(|at| at > Instant::now()), "the disk is taken for slow");
    *again = Some(Instant::now());
}

#[test]
fn a_disk_that_was_slow_gets_no_job_inline_for_a_while() {
    let (disk, here) = (RealDisk::new(), thread::current().id());
    now(disk.run(slow)).unwrap();
    assert_ne!(wait(disk.run(thread_of)).unwrap(), here, "the caller is not stalled a second time");
    assert_ne!(wait(disk.run(thread_of)).unwrap(), here);
    let_the_pause_end(&mut disk.handle.shared.lock().inline_again);
    // The thread gives the queue back a moment after it has answered.
    while disk.handle.shared.lock().busy {
        thread::yield_now();
    }
    assert_eq!(now(disk.run(thread_of)), Ok(here), "afterwards it is tried again");
}

#[test]
fn a_disk_that_was_slow_to_read_gets_no_read_inline_for_a_while() {
    let (disk, here) = (RealDisk::new(), thread::current().id());
    now(disk.read(slow)).unwrap();
    let runtime = runtime();
    assert_ne!(runtime.block_on(disk.read(thread_of)).unwrap(), here);
    assert_eq!(
        now(disk.run(thread_of)),
        Ok(here),
        "writes go to the page cache and are judged by themselves"
    );
    let_the_pause_end(&mut disk.handle.shared.reads_inline_again.lock().unwrap());
    assert_eq!(now(disk.read(thread_of)), Ok(here));
}

#[test]
fn a_job_that_panics_loses_its_own_caller_and_not_the_queue() {
    let disk = RealDisk::new();
    let lost = wait(disk.run_slow(|_: &Fs| panic!("as told")));
    assert_eq!(lost, Err(DiskGone));
    let inline =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait(disk.run(|_: &Fs| panic!("as told")))));
    assert!(matches!(inline, Err(_) | Ok(Err(DiskGone))));
    assert_eq!(wait(disk.run_slow(|_: &Fs| 7)), Ok(7));
}

/// A disk whose syncs are counted, tell that they have begun, and wait to be let through.
struct Gated {
    disk: RealDisk,
    files: Vec<File>,
    syncs: Arc<AtomicUsize>,
    begun: mpsc::Receiver<()>,
    open: mpsc::Sender<io::Result<()>>,
    _dir: tempfile::TempDir,
}

fn gated() -> Gated {
    let (begins, begun) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let (syncs, gate) = (Arc::new(AtomicUsize::new(0)), Mutex::new(gate));
    let counter = Arc::clone(&syncs);
    let disk = RealDisk::syncing_with(Flushes::new(move |_: &File| {
        counter.fetch_add(1, Ordering::SeqCst);
        begins.send(()).unwrap();
        // The lock is held while it waits: those who come later wait for it, and that is just as well.
        let outcome = gate.lock().unwrap().recv_timeout(LIMIT);
        outcome.expect("somebody opens the gate")
    }));
    let dir = tempfile::tempdir().unwrap();
    let files = (0..6).map(|n| FS.open(&dir.path().join(n.to_string()), OpenMode::Create).unwrap()).collect();
    Gated { disk, files, syncs, begun, open, _dir: dir }
}

type Syncing = std::pin::Pin<Box<dyn Future<Output = Result<io::Result<()>, DiskGone>> + Send>>;

impl Gated {
    /// Asks for a sync, and does not wait for it.
    fn ask(&self, file: usize) -> Syncing {
        let (disk, file) = (self.disk.clone(), self.files[file].clone());
        let mut asked: Syncing = Box::pin(async move { disk.sync(file).await });
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asked.as_mut().poll(&mut cx).is_pending());
        asked
    }
}

#[test]
fn syncs_of_a_file_that_wait_together_are_one() {
    let gated = gated();
    let first = gated.ask(0);
    gated.begun.recv_timeout(LIMIT).unwrap();
    let crowd: Vec<Syncing> = (0..100).map(|_| gated.ask(0)).collect();
    gated.open.send(Ok(())).unwrap();
    wait(first).unwrap().unwrap();
    // What was asked for while the first one ran may have been written after it began: it needs one of its own.
    gated.begun.recv_timeout(LIMIT).unwrap();
    gated.open.send(Ok(())).unwrap();
    for sync in crowd {
        wait(sync).unwrap().unwrap();
    }
    assert_eq!(gated.syncs.load(Ordering::SeqCst), 2, "101 asked");
}

#[test]
fn files_are_synced_side_by_side_but_never_more_than_a_few() {
    let gated = gated();
    let all: Vec<Syncing> = (0..6).map(|file| gated.ask(file)).collect();
    for _ in 0..FLUSH_THREADS_MAX {
        gated.begun.recv_timeout(LIMIT).expect("as many as there are threads, with none of them done");
    }
    assert_eq!(gated.syncs.load(Ordering::SeqCst), FLUSH_THREADS_MAX);
    for _ in 0..all.len() {
        gated.open.send(Ok(())).unwrap();
    }
    for sync in all {
        wait(sync).unwrap().unwrap();
    }
    assert_eq!(gated.syncs.load(Ordering::SeqCst), 6);
}

#[test]
fn a_failed_sync_is_told_to_all_who_waited_for_it() {
    let gated = gated();
    let first = gated.ask(0);
    gated.begun.recv_timeout(LIMIT).unwrap();
    let crowd: Vec<Syncing> = (0..3).map(|_| gated.ask(0)).collect();
    gated.open.send(Ok(())).unwrap();
    gated.open.send(Err(io::Error::from_raw_os_error(libc::EIO))).unwrap();
    wait(first).unwrap().unwrap();
    for sync in crowd {
        assert_eq!(wait(sync).unwrap().unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}

#[test]
fn a_sync_waits_for_the_jobs_before_it_and_not_for_those_behind() {
    let gated = gated();
    let (open, gate) = mpsc::channel::<()>();
    let before = gated.disk.handle.shared.lock();
    let before = gated.disk.queue(before, move |_: &Fs| gate.recv().unwrap());
    let sync = gated.ask(0);
    let behind = gated.disk.queue(gated.disk.handle.shared.lock(), |_: &Fs| ());
    assert_eq!(gated.syncs.load(Ordering::SeqCst), 0, "what it shall make durable is not written yet");
    open.send(()).unwrap();
    wait(before).unwrap();
    gated.begun.recv_timeout(LIMIT).unwrap();
    wait(behind).expect("a job goes on while the sync is under way");
    gated.open.send(Ok(())).unwrap();
    wait(sync).unwrap().unwrap();
}
