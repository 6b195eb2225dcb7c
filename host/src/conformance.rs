//! What every host promises: one suite, run on the machine and in the simulated world; and what only a simulation does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod faults;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::sim::World;
use crate::{Chunk, FileRegion, Host, OpenMode, ReadHalf};

async fn suite(host: Host, dir: &Path) {
    time_passes_and_timeouts_fire(&host).await;
    tasks_return_abort_and_know_their_host(&host).await;
    jobs_of_a_directory_keep_their_order(&host, dir).await;
    jobs_of_many_items_answer_in_their_order(&host, dir).await;
    files_keep_what_is_written(&host, dir).await;
    a_lock_is_held_once(&host, dir).await;
    streams_carry_bytes_and_file_regions(&host, dir).await;
    a_reader_holds_up_the_writer(&host).await;
    an_abort_is_seen_by_both(&host).await;
    refused_and_busy_addresses_are_errors(&host).await;
}

#[test]
fn the_machine_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let path = dir.path().to_owned();
    runtime.block_on(async move {
        let host = crate::real::host();
        let inner = host.clone();
        host.spawn("suite", async move { suite(inner, &path).await }).await.unwrap();
    });
}

#[test]
fn the_simulated_world_conforms() {
    for seed in 0..50 {
        let world = World::new(seed);
        let node = world.node("a");
        let host = node.host();
        let inner = host.clone();
        let task = host.spawn("suite", async move {
            inner.disk(Path::new("/d")).run(|fs| fs.create_dir_all(Path::new("/d"))).await.unwrap().unwrap();
            suite(inner, Path::new("/d")).await;
        });
        world.block_on(Duration::from_secs(60), task).unwrap().unwrap();
    }
}

async fn time_passes_and_timeouts_fire(host: &Host) {
    let clock = host.clock();
    let (before, wall) = (clock.now(), clock.wall_ms());
    clock.sleep(Duration::from_millis(20)).await;
    assert!(clock.now() - before >= Duration::from_millis(20));
    assert!(clock.wall_ms() >= wall + 19);
    assert!(clock.timeout(Duration::from_millis(5), std::future::pending::<()>()).await.is_err());
    assert_eq!(clock.timeout(Duration::from_secs(60), async { 7 }).await, Ok(7));
}

async fn tasks_return_abort_and_know_their_host(host: &Host) {
    assert_eq!(host.spawn("returns", async { 3 }).await, Ok(3));
    let endless = host.spawn("endless", std::future::pending::<()>());
    endless.abort();
    assert!(endless.await.is_err());
    let of_task = host.spawn("current", async { crate::current().clock().now() }).await.unwrap();
    assert!(of_task <= host.clock().now());
    let detached = Arc::new(tokio::sync::Notify::new());
    let inner = Arc::clone(&detached);
    drop(host.spawn("detached", async move { inner.notify_one() }));
    detached.notified().await;
}

async fn jobs_of_a_directory_keep_their_order(host: &Host, dir: &Path) {
    let next = Arc::new(AtomicUsize::new(0));
    let disk = host.disk(dir);
    let mut jobs = Vec::new();
    for expected in 0..200 {
        let (next, disk) = (Arc::clone(&next), disk.clone());
        // Polled once, so that all are submitted in this order; slow and short ones alternate.
        let mut job: std::pin::Pin<Box<dyn Future<Output = usize> + Send>> = Box::pin(async move {
            let count = move |_: &crate::Fs| next.fetch_add(1, Ordering::SeqCst);
            if expected % 3 == 0 {
                disk.run_slow(count).await.unwrap()
            } else {
                disk.run(count).await.unwrap()
            }
        });
        let mut done = None;
        std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(n) = job.as_mut().poll(cx) {
                done = Some(n);
            }
            std::task::Poll::Ready(())
        })
        .await;
        jobs.push((expected, job, done));
    }
    for (expected, job, done) in jobs {
        let ran_as = match done {
            Some(n) => n,
            None => job.await,
        };
        assert_eq!(ran_as, expected);
    }
}

async fn jobs_of_many_items_answer_in_their_order(host: &Host, dir: &Path) {
    let (disk, running) = (host.disk(dir), Arc::new(AtomicUsize::new(0)));
    for (threads, items) in [(0, 3), (1, 3), (2, 0), (2, 1), (2, 100), (9, 5)] {
        let running = Arc::clone(&running);
        let squares = disk.run_each(threads, (0..items).collect(), move |_, item: usize| {
            let beside_me = running.fetch_add(1, Ordering::SeqCst);
            assert!(beside_me < threads.max(1), "{beside_me} others run, of {threads} allowed");
            running.fetch_sub(1, Ordering::SeqCst);
            item * item
        });
        let expected: Vec<usize> = (0..items).map(|item| item * item).collect();
        assert_eq!(squares.await.unwrap(), expected);
    }
}

async fn files_keep_what_is_written(host: &Host, dir: &Path) {
    let (disk, path) = (host.disk(dir), dir.join("file"));
    let file = disk
        .run(move |fs| {
            assert!(fs.open(&path, OpenMode::Read).is_err());
            let file = fs.open(&path, OpenMode::CreateNew).unwrap();
            assert!(fs.open(&path, OpenMode::CreateNew).is_err());
            file.write_all_vectored_at(&[b"hello", b"", b" world"], 0).unwrap();
            file.write_all_at(b"J", 0).unwrap();
            assert_eq!(fs.read_to_end(&path).unwrap(), b"Jello world");
            file.set_len(5).unwrap();
            assert_eq!(file.len().unwrap(), 5);
            let mut ten = [0; 10];
            assert_eq!(file.read_at(&mut ten, 3).unwrap(), 2);
            assert_eq!(file.read_at(&mut ten, 5).unwrap(), 0);
            assert!(file.read_exact_at(&mut ten, 0).is_err());
            file
        })
        .await
        .unwrap();
    disk.sync(file).await.unwrap().unwrap();
    let base = dir.to_owned();
    disk.run_slow(move |fs| {
        fs.atomic_write(&base.join("whole"), b"one").unwrap();
        fs.atomic_write(&base.join("whole"), b"two").unwrap();
        assert_eq!(fs.read_to_end(&base.join("whole")).unwrap(), b"two");
        fs.create_dir_all(&base.join("sub/deep")).unwrap();
        fs.rename(&base.join("whole"), &base.join("sub/renamed")).unwrap();
        fs.rename(&base.join("sub"), &base.join("moved")).unwrap();
        assert_eq!(fs.list(&base.join("moved")).unwrap(), ["deep", "renamed"]);
        assert!(fs.is_dir(&base.join("moved/deep")) && !fs.is_dir(&base.join("moved/renamed")));
        fs.remove_file(&base.join("moved/renamed")).unwrap();
        assert!(fs.remove_file(&base.join("moved/renamed")).is_err());
        fs.remove_dir_all(&base.join("moved")).unwrap();
        assert!(!fs.exists(&base.join("moved")));
        assert!(fs.free_bytes(&base).unwrap() > 0);
    })
    .await
    .unwrap();
}

async fn a_lock_is_held_once(host: &Host, dir: &Path) {
    let path = dir.join(".lock");
    let disk = host.disk(dir);
    let locked = disk.run(move |fs| {
        let first = fs.lock(&path).unwrap();
        let second = fs.lock(&path).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
        drop(first);
        fs.lock(&path).is_ok()
    });
    assert!(locked.await.unwrap());
}

async fn read_all(read: &mut ReadHalf) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        read.readable().await?;
        let mut buffer = BytesMut::with_capacity(100);
        if read.read_into(&mut buffer).await? == 0 {
            return Ok(all);
        }
        assert!(buffer.len() <= buffer.capacity());
        all.extend_from_slice(&buffer);
    }
}

async fn streams_carry_bytes_and_file_regions(host: &Host, dir: &Path) {
    let path = dir.join("region");
    let file = host
        .disk(dir)
        .run(move |fs| {
            let file = fs.open(&path, OpenMode::Create).unwrap();
            file.write_all_at(&[7; 300_000], 0).unwrap();
            file
        })
        .await
        .unwrap();
    let mut listener = host.net().listen("127.0.0.1:0").await.unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().port());
    let net = host.net().clone();
    let client = host.spawn("client", async move {
        let (mut read, mut write) = net.connect(&address).await.unwrap().split();
        let region = Chunk::File(FileRegion { file, position: 1, length: 299_999 });
        let mut chunks =
            VecDeque::from([Chunk::Bytes(Bytes::from_static(b"head")), region, Chunk::Bytes(Bytes::new())]);
        chunks.push_back(Chunk::Bytes(Bytes::from_static(b"tail")));
        write.write_chunks(&mut chunks).await.unwrap();
        assert!(chunks.is_empty());
        write.shutdown().await.unwrap();
        read_all(&mut read).await.unwrap()
    });
    let (stream, _) = listener.accept().await.unwrap();
    let (mut read, mut write) = stream.split();
    let got = read_all(&mut read).await.unwrap();
    assert_eq!(
        (got.len(), &got[..5], &got[got.len() - 5..]),
        (4 + 299_999 + 4, &b"head\x07"[..], &b"\x07tail"[..])
    );
    write.write_chunks(&mut VecDeque::from([Chunk::Bytes(Bytes::from_static(b"answer"))])).await.unwrap();
    drop((write, read));
    assert_eq!(client.await.unwrap(), b"answer");
}

async fn a_reader_holds_up_the_writer(host: &Host) {
    let (near, far) = host.net().pair();
    let (_, mut write) = near.split();
    let mut chunks: VecDeque<Chunk> =
        (0..64).map(|_| Chunk::Bytes(Bytes::from(vec![1u8; 64 << 10]))).collect();
    let blocked = host.clock().timeout(Duration::from_millis(20), write.write_chunks(&mut chunks)).await;
    assert!(blocked.is_err(), "4 MiB do not fit into a stream that nobody reads");
    drop(far);
}

async fn an_abort_is_seen_by_both(host: &Host) {
    let mut listener = host.net().listen("127.0.0.1:0").await.unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().port());
    let near = host.net().connect(&address).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let abort = near.abort_handle();
    abort.abort();
    let ((mut near_read, _near), (mut far_read, _far)) = (near.split(), far.split());
    let limit = Duration::from_secs(10);
    let near_end = host.clock().timeout(limit, read_all(&mut near_read)).await.unwrap();
    assert!(near_end.is_err() || near_end.unwrap().is_empty());
    let far_end = host.clock().timeout(limit, read_all(&mut far_read)).await.unwrap();
    assert!(far_end.is_err() || far_end.unwrap().is_empty());
}

async fn refused_and_busy_addresses_are_errors(host: &Host) {
    let listener = host.net().listen("127.0.0.1:0").await.unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().port());
    assert_eq!(host.net().listen(&address).await.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    assert_eq!(host.net().connect(&address).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}
