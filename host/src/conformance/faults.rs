//! What only the simulated world does: crashes, loss of power, pauses, cuts, skew; and that a seed is a run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;

use crate::sim::{CrashKind, DiskFaults, Stuck, World};
use crate::{Host, OpenMode};

const LIMIT: Duration = Duration::from_secs(600);

fn path() -> PathBuf {
    PathBuf::from("/d/file")
}

/// Writes 4 KiB of ones and syncs them (file and name), then overwrites with twos and appends threes, without a sync.
async fn write_in_two_steps(host: Host) {
    let disk = host.disk(Path::new("/d"));
    let job = disk.run(|fs| {
        fs.create_dir_all(Path::new("/d")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let file = fs.open(&path(), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.sync().unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        file.write_all_at(&[2; 4096], 0).unwrap();
        file.write_all_at(&[3; 4096], 4096).unwrap();
        fs.open(Path::new("/d/unsynced"), OpenMode::CreateNew).unwrap();
    });
    job.await.unwrap();
}

fn after_crash(seed: u64, kind: CrashKind) -> (Vec<u8>, bool) {
    let world = World::new(seed);
    let node = world.node("a");
    let host = node.host();
    let task = host.spawn("writes", write_in_two_steps(host.clone()));
    world.block_on(LIMIT, task).unwrap().unwrap();
    node.crash(kind);
    let host = node.restart();
    let disk = host.disk(Path::new("/d"));
    let read = host.spawn("reads", async move {
        disk.run(|fs| (fs.read_to_end(&path()).unwrap(), fs.exists(Path::new("/d/unsynced")))).await.unwrap()
    });
    world.block_on(LIMIT, read).unwrap().unwrap()
}

#[test]
fn the_page_cache_survives_the_process_and_not_the_power() {
    let (data, exists) = after_crash(1, CrashKind::Process);
    assert_eq!((data.len(), data[0], data[4096], exists), (8192, 2, 3, true));
    let mut seen = std::collections::BTreeSet::new();
    let (mut lost_name, mut kept_name) = (false, false);
    for seed in 0..60 {
        let (data, exists) = after_crash(seed, CrashKind::Power);
        assert!(data.len() >= 4096, "what was synced keeps its length");
        for (sector, bytes) in data[..4096].chunks(512).enumerate() {
            assert!(
                bytes.iter().all(|b| *b == bytes[0]) && (1..=2).contains(&bytes[0]),
                "sector {sector} is old or new"
            );
            seen.insert(bytes[0]);
        }
        assert!(data[4096..].iter().all(|b| [0, 3].contains(b)));
        lost_name |= !exists;
        kept_name |= exists;
    }
    assert_eq!(seen.len(), 2, "torn writes happen");
    assert!(lost_name && kept_name, "an unsynced name may be lost");
}

#[test]
fn a_rename_survives_as_a_whole_or_not_at_all() {
    for seed in 0..40 {
        let world = World::new(seed);
        let node = world.node("a");
        let host = node.host();
        let disk = host.disk(Path::new("/d"));
        let task = host.spawn("writes", async move {
            disk.run(|fs| {
                fs.create_dir_all(Path::new("/d")).unwrap();
                fs.sync_dir(Path::new("/")).unwrap();
                fs.atomic_write(&path(), b"old").unwrap();
                let aside = fs.open(Path::new("/d/aside"), OpenMode::Create).unwrap();
                aside.write_all_at(b"new", 0).unwrap();
                aside.sync().unwrap();
                fs.rename(Path::new("/d/aside"), &path()).unwrap();
            })
            .await
            .unwrap();
        });
        world.block_on(LIMIT, task).unwrap().unwrap();
        node.crash(CrashKind::Power);
        let disk = node.restart().disk(Path::new("/d"));
        let data = world
            .block_on(LIMIT, async move { disk.run(|fs| fs.read_to_end(&path()).unwrap()).await.unwrap() });
        assert!([b"old".to_vec(), b"new".to_vec()].contains(&data.unwrap()));
    }
}

/// Makes `/d/sub` with a synced file in it, syncs the parents that are named, and cuts the power. What is left of it?
fn directory_after_power_cut(seed: u64, synced: &'static [&'static str]) -> (bool, bool) {
    let world = World::new(seed);
    let node = world.node("a");
    let disk = node.host().disk(Path::new("/d"));
    let made = world.block_on(LIMIT, async move {
        disk.run(move |fs| {
            fs.create_dir_all(Path::new("/d")).unwrap();
            fs.sync_dir(Path::new("/")).unwrap();
            fs.create_dir_all(Path::new("/d/sub")).unwrap();
            let file = fs.open(Path::new("/d/sub/file"), OpenMode::CreateNew).unwrap();
            file.write_all_at(b"data", 0).unwrap();
            file.sync().unwrap();
            synced.iter().for_each(|dir| fs.sync_dir(Path::new(dir)).unwrap());
        })
        .await
    });
    made.unwrap().unwrap();
    node.crash(CrashKind::Power);
    let disk = node.restart().disk(Path::new("/d"));
    let seen = world.block_on(LIMIT, async move {
        disk.run(|fs| {
            let file = fs.read_to_end(Path::new("/d/sub/file"));
            let file_is_whole = file.as_ref().is_ok_and(|data| data == b"data");
            assert!(file_is_whole || file.is_err(), "what was synced is whole, if it is found at all");
            (fs.is_dir(Path::new("/d/sub")), file_is_whole)
        })
        .await
    });
    seen.unwrap().unwrap()
}

#[test]
fn a_directory_whose_parent_was_not_synced_may_be_lost_with_all_that_is_in_it() {
    let outcomes = |synced| -> std::collections::BTreeSet<(bool, bool)> {
        (0..60).map(|seed| directory_after_power_cut(seed, synced)).collect()
    };
    let (lost, empty, whole) = ((false, false), (true, false), (true, true));
    assert_eq!(outcomes(&[]), [lost, empty, whole].into(), "either name may be lost");
    assert_eq!(outcomes(&["/d/sub"]), [lost, whole].into(), "a synced directory goes with its own name");
    assert_eq!(outcomes(&["/d"]), [empty, whole].into());
    assert_eq!(outcomes(&["/d/sub", "/d"]), [whole].into());
}

#[test]
fn a_crash_ends_tasks_jobs_and_connections() {
    let world = World::new(3);
    let (server, client) = (world.node("server"), world.node("client"));
    let host = server.host();
    let accepts = host.clone();
    drop(host.spawn("accepts", async move {
        let mut listener = accepts.net().listen("server:1").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let _held = stream;
        std::future::pending::<()>().await;
    }));
    let host = client.host();
    let connects = host.clone();
    let connected = host.spawn("connects", async move {
        connects.clock().sleep(Duration::from_millis(5)).await;
        connects.net().connect("server:1").await.unwrap()
    });
    let stream = world.block_on(LIMIT, connected).unwrap().unwrap();
    let dead = server.host();
    server.crash(CrashKind::Process);
    let reads = client.host().spawn("reads", async move {
        let mut buffer = BytesMut::with_capacity(1);
        stream.split().0.read_into(&mut buffer).await
    });
    let read = world.block_on(LIMIT, reads).unwrap().unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the peer sees an end or a reset: {read:?}");
    let job = world.block_on(LIMIT, async move { dead.disk(Path::new("/d")).run(|_| ()).await });
    assert!(job.unwrap().is_err(), "a dead node's jobs do not run");
    let host = client.host();
    let refused =
        world.block_on(LIMIT, async move { host.net().connect("server:1").await.err().map(|e| e.kind()) });
    assert_eq!(refused.unwrap(), Some(std::io::ErrorKind::ConnectionRefused));
}

#[test]
fn a_paused_node_does_nothing_and_goes_on_afterwards() {
    let world = World::new(4);
    let node = world.node("a");
    let (host, count) = (node.host(), std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)));
    let (clock, counter) = (host.clock().clone(), std::sync::Arc::clone(&count));
    drop(host.spawn("counts", async move {
        loop {
            clock.sleep(Duration::from_millis(1)).await;
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }));
    let read = || count.load(std::sync::atomic::Ordering::SeqCst);
    world.run_for(Duration::from_millis(100));
    let before = read();
    assert!(before > 50);
    node.pause();
    world.run_for(Duration::from_secs(1));
    assert!(read() - before <= 1);
    node.resume();
    world.run_for(Duration::from_millis(100));
    assert!(read() > before + 50);
}

#[test]
fn a_cut_holds_what_is_sent_until_it_heals() {
    let world = World::new(5);
    let (a, b) = (world.node("a"), world.node("b"));
    let host = b.host();
    let received = host.clone();
    let reads = host.spawn("reads", async move {
        let mut listener = received.net().listen("b:1").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut buffer = BytesMut::with_capacity(10);
        stream.split().0.read_into(&mut buffer).await.unwrap();
        (buffer, received.clock().now())
    });
    let host = a.host();
    let sends = host.clone();
    let connected = host.spawn("connects", async move {
        sends.clock().sleep(Duration::from_millis(5)).await;
        sends.net().connect("b:1").await.unwrap().split()
    });
    let (_read, mut write) = world.block_on(LIMIT, connected).unwrap().unwrap();
    world.partition_one_way(&a, &b);
    let sent = world.block_on(LIMIT, async move {
        let mut chunks = std::collections::VecDeque::from([crate::Chunk::Bytes("x".into())]);
        write.write_chunks(&mut chunks).await.unwrap();
        write
    });
    world.run_for(Duration::from_secs(5));
    world.heal(&a, &b);
    let (bytes, at) = world.block_on(LIMIT, reads).unwrap().unwrap();
    assert_eq!(&bytes[..], b"x");
    assert!(at.since_start() >= Duration::from_secs(5), "it came only after the cut had healed: {at:?}");
    drop(sent);
}

#[test]
fn clocks_may_be_wrong_and_timers_with_them() {
    let world = World::new(6);
    let (fast, right) = (world.node("fast"), world.node("right"));
    fast.set_drift_ppm(100_000);
    fast.set_skew_ms(600_000);
    assert!(fast.host().clock().wall_ms() - right.host().clock().wall_ms() >= 600_000);
    let clock = fast.host().clock().clone();
    let before = world.now();
    world.block_on(LIMIT, async move { clock.sleep(Duration::from_secs(11)).await }).unwrap();
    let passed = world.now() - before;
    assert!(passed >= Duration::from_secs(10) && passed < Duration::from_millis(10_100), "{passed:?}");
}

#[test]
fn a_disk_fails_fills_and_stalls_when_told() {
    let world = World::new(7);
    let node = world.node("a");
    let host = node.host();
    let write = |host: &Host| {
        let disk = host.disk(Path::new("/d"));
        world.block_on(LIMIT, async move {
            disk.run(|fs| -> std::io::Result<()> {
                fs.create_dir_all(Path::new("/d"))?;
                fs.open(&path(), OpenMode::Create)?.write_all_at(&[0; 1000], 0)
            })
            .await
            .unwrap()
        })
    };
    node.set_disk_faults(DiskFaults { capacity_bytes: 999, ..DiskFaults::default() });
    assert_eq!(write(&host).unwrap().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    node.set_disk_faults(DiskFaults { write_errors_per_million: 1_000_000, ..DiskFaults::default() });
    assert_eq!(write(&host).unwrap().unwrap_err().raw_os_error(), Some(libc::EIO));
    let stalls =
        DiskFaults { stalls_per_million: 1_000_000, stall: Duration::from_secs(3), ..DiskFaults::default() };
    node.set_disk_faults(stalls);
    let before = world.now();
    write(&host).unwrap().unwrap();
    assert!(world.now() - before >= Duration::from_secs(3));
    node.crash_after_operations(1);
    assert!(write(&host).unwrap().is_err(), "the process dies in the middle of the job");
    assert!(!node.is_up());
}

#[test]
fn a_run_that_cannot_go_on_is_told_from_a_long_one() {
    let world = World::new(8);
    let stuck = world.block_on(LIMIT, std::future::pending::<()>());
    assert!(matches!(stuck, Err(Stuck::Deadlock(_))), "{stuck:?}");
    let clock = world.host().clock().clone();
    let long =
        world.block_on(Duration::from_secs(1), async move { clock.sleep(Duration::from_secs(100)).await });
    assert_eq!(long, Err(Stuck::TooLong(Duration::from_secs(1))));
}

/// A run with all kinds of events in it.
fn trace_of(seed: u64) -> u64 {
    let world = World::new(seed);
    let node = world.node("a");
    node.set_disk_faults(DiskFaults { stalls_per_million: 100_000, ..DiskFaults::default() });
    let host = node.host();
    let inner = host.clone();
    let task = host.spawn("suite", async move {
        inner.disk(Path::new("/d")).run(|fs| fs.create_dir_all(Path::new("/d"))).await.unwrap().unwrap();
        super::suite(inner, Path::new("/d")).await;
    });
    world.block_on(LIMIT, task).unwrap().unwrap();
    world.trace_hash()
}

#[test]
fn a_seed_gives_the_same_trace_in_two_processes() {
    let seed = 42;
    let here = trace_of(seed);
    let variable = "HOST_TRACE_OF_SEED";
    if let Ok(expected) = std::env::var(variable) {
        assert_eq!(here.to_string(), expected, "this process is the second one");
        return;
    }
    assert_ne!(here, trace_of(seed + 1), "another seed is another run");
    let second = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "conformance::faults::a_seed_gives_the_same_trace_in_two_processes"])
        .env(variable, here.to_string())
        .output()
        .unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
    assert!(String::from_utf8_lossy(&second.stdout).contains("1 passed"));
}
