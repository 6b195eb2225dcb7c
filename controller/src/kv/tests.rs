//! One suite for both stores, and power cuts on the journal.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use host::Host;
use host::sim::{CrashKind, World};

use super::*;

type Entries = Vec<(Bytes, Bytes)>;

fn key(n: u8) -> Vec<u8> {
    vec![b'k', n]
}

async fn in_job<T: Send + 'static>(host: &Host, job: impl FnOnce(&Fs) -> T + Send + 'static) -> T {
    host.disk(Path::new("/kv")).run_slow(job).await.unwrap()
}

fn conforms(fs: &Fs, dir: &Path, kind: KvKind) {
    let kv = open(fs, dir, kind).unwrap();
    assert_eq!(kv.get(fs, b"absent").unwrap(), None);
    assert_eq!(kv.scan(fs, b"a", b"z").unwrap(), []);

    let mut batch = Batch::default();
    for n in [3, 1, 2, 200] {
        batch.put(key(n), vec![n; 3]);
    }
    batch.put(key(1), vec![9]);
    batch.delete(key(2));
    kv.write(fs, &batch, true).unwrap();
    assert_eq!(kv.get(fs, &key(1)).unwrap().as_deref(), Some(&[9][..]), "the last change of a batch counts");
    assert_eq!(kv.get(fs, &key(2)).unwrap(), None);
    let keys = |entries: Entries| entries.into_iter().map(|(k, _)| k[1]).collect::<Vec<_>>();
    assert_eq!(keys(kv.scan(fs, &key(0), b"l").unwrap()), [1, 3, 200]);
    assert_eq!(keys(kv.scan(fs, &key(1), &key(3)).unwrap()), [1], "the end is not part of a range");
    assert_eq!(kv.scan(fs, b"l", &key(0)).unwrap(), [], "a turned range is empty");

    let mut batch = Batch::default();
    batch.delete_range(key(0), key(4));
    batch.put(key(4), Vec::new());
    kv.write(fs, &batch, false).unwrap();
    kv.write(fs, &Batch::default(), true).unwrap();
    drop(kv);

    let again = open(fs, dir, kind).unwrap();
    assert_eq!(keys(again.scan(fs, &key(0), b"l").unwrap()), [4, 200]);
    assert_eq!(again.get(fs, &key(4)).unwrap().as_deref(), Some(&[][..]), "an empty value is a value");
}

#[test]
fn both_stores_conform_on_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let path = dir.path().to_owned();
    runtime.block_on(async move {
        let host = host::real::host();
        in_job(&host, move |fs| {
            conforms(fs, &path.join("rocks"), KvKind::Rocks);
            conforms(fs, &path.join("journal"), KvKind::Journal);
        })
        .await;
    });
}

#[test]
fn a_second_process_cannot_open_the_same_database() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Rocks::open(dir.path()).unwrap();
    assert!(Rocks::open(dir.path()).is_err());
}

#[test]
fn the_journal_conforms_in_the_simulation() {
    for seed in 0..20 {
        let world = World::new(seed);
        let host = world.node("a").host();
        let inner = host.clone();
        let task = host.spawn("suite", async move {
            in_job(&inner, |fs| conforms(fs, Path::new("/kv"), KvKind::Journal)).await;
        });
        world.block_on(Duration::from_secs(60), task).unwrap().unwrap();
    }
}

/// The states after each write, and the number of writes that were synced.
#[derive(Default)]
struct Written {
    states: Vec<BTreeMap<Bytes, Bytes>>,
    synced: usize,
}

fn write_at_random(fs: &Fs, dir: &Path, mut random: impl FnMut() -> u64) -> Written {
    let kv = open(fs, dir, KvKind::Journal).unwrap();
    let mut map: BTreeMap<Bytes, Bytes> = kv.scan(fs, b"", b"z").unwrap().into_iter().collect();
    let mut written = Written { states: vec![map.clone()], synced: 0 };
    for _ in 0..random() % 30 {
        let mut batch = Batch::default();
        for _ in 0..1 + random() % 3 {
            let k = Bytes::from(key((random() % 10) as u8));
            if random().is_multiple_of(4) {
                batch.delete(k.clone());
                map.remove(&k);
            } else {
                let v = Bytes::from(vec![random() as u8; (random() % 2000) as usize]);
                batch.put(k.clone(), v.clone());
                map.insert(k, v);
            }
        }
        let sync = random().is_multiple_of(3);
        kv.write(fs, &batch, sync).unwrap();
        written.states.push(map.clone());
        if sync {
            written.synced = written.states.len() - 1;
        }
    }
    written
}

#[test]
fn a_power_cut_keeps_every_synced_write_and_no_half_of_a_batch() {
    for seed in 0..200 {
        let world = World::new(seed);
        let node = world.node("a");
        for round in 0..3 {
            let host = if node.is_up() { node.host() } else { node.restart() };
            let dir = PathBuf::from("/kv");
            let numbers = host.entropy().clone();
            let inner = host.clone();
            let task = host.spawn("writes", async move {
                in_job(&inner, move |fs| write_at_random(fs, &dir, || numbers.u64())).await
            });
            let written = world.block_on(Duration::from_secs(60), task).unwrap().unwrap();
            let kind = if seed % 2 == 0 { CrashKind::Power } else { CrashKind::Process };
            node.crash(kind);
            let host = node.restart();
            let inner = host.clone();
            let task = host.spawn("reads", async move {
                in_job(&inner, |fs| {
                    let kv = open(fs, Path::new("/kv"), KvKind::Journal).unwrap();
                    kv.scan(fs, b"", b"z").unwrap()
                })
                .await
            });
            let found: BTreeMap<Bytes, Bytes> =
                world.block_on(Duration::from_secs(60), task).unwrap().unwrap().into_iter().collect();
            let kept = if kind == CrashKind::Power { written.synced } else { written.states.len() - 1 };
            assert!(
                written.states[kept..].contains(&found),
                "seed {seed}, round {round}: not a state at or after the last synced write"
            );
        }
    }
}
