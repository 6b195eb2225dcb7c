//! Cold pages: probed, read ahead on another thread, then sent. A file is made cold by telling the kernel to forget it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::{File, OpenMode};

const LENGTH: u64 = 3 * STEP_BYTES + 777;
const LIMIT: Duration = Duration::from_secs(30);

fn byte_at(position: u64) -> u8 {
    (position % 251) as u8
}

fn content(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(byte_at).collect()
}

struct OnDisk {
    file: File,
    _dir: tempfile::TempDir,
}

impl OnDisk {
    fn new() -> OnDisk {
        // Beside the test's own program, which is on a disk: a temporary directory may be in memory, where nothing is cold.
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let file = crate::real::fs::open(&dir.path().join("file"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&content(0, LENGTH), 0).unwrap();
        file.sync().unwrap();
        OnDisk { file, _dir: dir }
    }

    fn region(&self, position: u64, length: u64) -> FileRegion {
        FileRegion { file: self.file.clone(), position, length }
    }

    fn fd(&self) -> Arc<OwnedFd> {
        real_fd(&self.region(0, 0)).unwrap()
    }

    /// Has the kernel drop the file's pages from here on; false, with a word, where it does not.
    fn chill(&self, from: u64) -> bool {
        let fd = self.fd();
        rustix::fs::fadvise(&fd, from, None, rustix::fs::Advice::DontNeed).unwrap();
        let cold = (from..LENGTH).step_by(PROBE_BYTES as usize).all(|at| !is_cached(&fd, at));
        if !cold {
            println!("SKIPPED: this file system does not let go of its pages");
        }
        cold
    }
}

/// A runtime whose only thread for blocking work can be kept busy: what needs it then has to wait.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap()
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_warm_region_needs_no_other_thread() {
    let on_disk = OnDisk::new();
    let fd = on_disk.fd();
    runtime().block_on(async {
        assert!(poll_once(pin!(warm(&fd, 0, LENGTH))).is_ready());
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut region = on_disk.region(5, 100);
        assert!(matches!(poll_once(pin!(read(&mut region, &mut buffer))), Poll::Ready(Ok(100))));
        assert_eq!((&buffer[..100], region.position, region.length), (&content(5, 105)[..], 105, 0));
    });
}

#[test]
fn a_cold_region_is_read_ahead_on_another_thread() {
    let on_disk = OnDisk::new();
    let fd = on_disk.fd();
    if !on_disk.chill(0) {
        return;
    }
    runtime().block_on(async {
        let (release, held) = oneshot::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.blocking_recv());
        let mut warming = pin!(warm(&fd, 0, LENGTH));
        assert!(poll_once(warming.as_mut()).is_pending(), "the reactor does not read from the disk itself");
        assert!(!is_cached(&fd, LENGTH / 2), "nobody has read yet: the only thread for that is busy");
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        tokio::time::timeout(LIMIT, warming).await.unwrap().unwrap();
    });
    assert!((0..LENGTH).step_by(PROBE_BYTES as usize).all(|at| is_cached(&fd, at)));
}

#[test]
fn a_region_that_is_cold_only_at_its_end_is_found_out() {
    let on_disk = OnDisk::new();
    let fd = on_disk.fd();
    if !on_disk.chill(2 * STEP_BYTES) {
        return;
    }
    runtime().block_on(async {
        assert!(poll_once(pin!(warm(&fd, 0, STEP_BYTES))).is_ready());
        assert!(poll_once(pin!(warm(&fd, 0, LENGTH))).is_pending());
    });
}

#[test]
fn a_cold_region_arrives_whole() {
    let on_disk = OnDisk::new();
    on_disk.chill(0);
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut region = on_disk.region(3, LENGTH - 4);
        let sent = async {
            send(&near, &mut region).await.unwrap();
            drop(near);
        };
        let mut got = Vec::new();
        let (_, received) = tokio::join!(sent, far.read_to_end(&mut got));
        received.unwrap();
        assert!(got == content(3, LENGTH - 1), "{} bytes of {}", got.len(), LENGTH - 4);
        assert_eq!(region.length, 0);
    });
}

#[test]
fn a_cold_region_that_is_encrypted_is_read_on_another_thread_too() {
    let on_disk = OnDisk::new();
    if !on_disk.chill(0) {
        return;
    }
    runtime().block_on(async {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut region = on_disk.region(LENGTH - 10, 10);
        {
            let mut reading = pin!(read(&mut region, &mut buffer));
            assert!(poll_once(reading.as_mut()).is_pending());
            assert_eq!(tokio::time::timeout(LIMIT, reading).await.unwrap().unwrap(), 10);
        }
        assert_eq!((buffer.len(), &buffer[..10]), (BUFFER_BYTES, &content(LENGTH - 10, LENGTH)[..]));
    });
}

#[test]
fn small_regions_are_copied_up_to_a_large_one_and_to_a_bound() {
    let on_disk = OnDisk::new();
    let head = || Chunk::Bytes(Bytes::from_static(b"head"));
    let region = |position, length| Chunk::File(on_disk.region(position, length));
    let lengths = |chunks: &VecDeque<Chunk>| -> Vec<(bool, u64)> {
        chunks.iter().map(|chunk| (matches!(chunk, Chunk::Bytes(_)), chunk.len())).collect()
    };
    let mut chunks =
        VecDeque::from([head(), region(7, 100), head(), region(0, SMALL_BYTES + 1), region(9, 5)]);
    copy_small(&mut chunks, 64);
    assert!(matches!(&chunks[1], Chunk::Bytes(bytes) if bytes[..] == content(7, 107)[..]));
    let large = (false, SMALL_BYTES + 1);
    assert_eq!(lengths(&chunks), [(true, 4), (true, 100), (true, 4), large, (false, 5)]);

    let mut many: VecDeque<Chunk> = (0..10).map(|_| region(0, SMALL_BYTES)).collect();
    copy_small(&mut many, 64);
    let copied = SMALL_TOTAL_BYTES / SMALL_BYTES;
    assert_eq!(many.iter().filter(|chunk| matches!(chunk, Chunk::Bytes(_))).count() as u64, copied);

    on_disk.file.set_len(50).unwrap();
    let mut cut = VecDeque::from([region(49, 1), region(0, 51)]);
    copy_small(&mut cut, 64);
    assert_eq!(lengths(&cut), [(true, 1), (false, 51)]);
}

#[test]
fn a_small_region_that_is_cold_is_left_to_another_thread() {
    let on_disk = OnDisk::new();
    if !on_disk.chill(0) {
        return;
    }
    let mut chunks = VecDeque::from([Chunk::File(on_disk.region(0, 10))]);
    copy_small(&mut chunks, 64);
    assert!(matches!(chunks[0], Chunk::File(_)));
}

#[test]
fn a_region_whose_file_was_cut_is_an_error() {
    let on_disk = OnDisk::new();
    on_disk.file.set_len(100).unwrap();
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut region = on_disk.region(0, 101);
        assert_eq!(send(&near, &mut region).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut region = on_disk.region(100, 1);
        let error = read(&mut region, &mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn buffers_are_used_again_but_only_so_many_are_kept() {
    let buffers = Buffers::default();
    for _ in 0..BUFFERS_MAX + 10 {
        buffers.give_back(vec![0; BUFFER_BYTES]);
    }
    buffers.give_back(Vec::new());
    assert_eq!(buffers.free.lock().unwrap().len(), BUFFERS_MAX);
    assert_eq!(buffers.take().len(), BUFFER_BYTES);
    assert_eq!(buffers.free.lock().unwrap().len(), BUFFERS_MAX - 1);
}
