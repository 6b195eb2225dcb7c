//! openraft's own suite on our log store and state machine, and what it does not ask.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use host::Host;
use host::sim::{CrashKind, World};
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, StorageError};

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{Entry, LogId, Proposal, TypeConfig, Vote};
use crate::kv::{self, KvKind};
use crate::publisher::Publisher;

/// Makes stores in directories of their own.
struct Builder {
    root: PathBuf,
    kind: KvKind,
    next: AtomicU64,
}

async fn open_store(host: &Host, dir: PathBuf, kind: KvKind) -> LogStore {
    let disk = host.disk(&dir);
    let kv = disk.run_slow(move |fs| kv::open(fs, &dir, kind)).await.unwrap().unwrap();
    LogStore::open(host, disk, kv).await.unwrap()
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine> for Builder {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let host = host::current();
        let store = open_store(&host, dir, self.kind).await;
        let machine = StateMachine::open(&host, store.clone(), Arc::<Publisher>::default()).unwrap();
        Ok(((), store, machine))
    }
}

#[test]
fn openrafts_suite_passes_on_the_journal_in_the_simulation() {
    let world = World::new(7);
    let builder = Builder { root: PathBuf::from("/suite"), kind: KvKind::Journal, next: AtomicU64::new(0) };
    let task = world.node("a").host().spawn("suite", async move { Suite::test_all(builder).await });
    world.block_on(Duration::from_secs(600), task).unwrap().unwrap().unwrap();
}

#[test]
fn openrafts_suite_passes_on_rocksdb() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Builder { root: dir.path().to_owned(), kind: KvKind::Rocks, next: AtomicU64::new(0) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let suite = host::real::host().spawn("suite", async move { Suite::test_all(builder).await });
        suite.await.unwrap().unwrap();
    });
}

fn log_id(term: u64, index: u64) -> LogId {
    let leader =
        openraft::impls::leader_id_std::LeaderId { term, voted_for: super::types::RaftId::default() };
    LogId::new(leader.to_committed(), index)
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let proposal =
        Proposal { epoch: term, base_offset: index as i64, batch: vec![index as u8; bytes].into() };
    openraft::entry::RaftEntry::new(log_id(term, index), EntryPayload::Normal(proposal))
}

#[test]
fn votes_and_flushed_entries_survive_a_power_cut_in_order() {
    for seed in 0..100 {
        let world = World::new(seed);
        let node = world.node("a");
        let host = node.host();
        let inner = host.clone();
        let flushed = Arc::new(AtomicU64::new(0));
        let seen = flushed.clone();
        let vote = Vote::new(3, super::types::RaftId { node: 2, ..Default::default() });
        host.spawn("writes", async move {
            let mut store = open_store(&inner, PathBuf::from("/log"), KvKind::Journal).await;
            store.save_vote(&vote).await.unwrap();
            for index in 0..40 {
                store.blocking_append([entry(3, index, 100)]).await.unwrap();
                seen.store(index + 1, Ordering::Relaxed);
                if index % 7 == 6 {
                    store.truncate_after(Some(log_id(3, index - 2))).await.unwrap();
                    store.blocking_append([entry(3, index - 1, 10), entry(3, index, 10)]).await.unwrap();
                }
                if index == 20 {
                    store.purge(log_id(3, 4)).await.unwrap();
                }
            }
        });
        world.run_for(Duration::from_millis(20 + seed * 2));
        node.crash(CrashKind::Power);
        let least = flushed.load(Ordering::Relaxed);
        let host = node.restart();
        let inner = host.clone();
        let task = host.spawn("reads", async move {
            let mut store = open_store(&inner, PathBuf::from("/log"), KvKind::Journal).await;
            let entries = store.try_get_log_entries(0..).await.unwrap();
            (entries, store.read_vote().await.unwrap(), store.get_log_state().await.unwrap())
        });
        let (entries, found, state) = world.block_on(Duration::from_secs(60), task).unwrap().unwrap();
        assert!(least == 0 || found == Some(vote), "seed {seed}: the vote was given before the entries");
        let end = state.last_log_id.map_or(0, |id| id.index + 1);
        // A truncation that was on its way may have taken two entries with it.
        assert!(end + 2 >= least, "seed {seed}: {least} entries were flushed, {end} are there");
        let first = state.last_purged_log_id.map_or(0, |id| id.index + 1);
        let indexes: Vec<u64> = entries.iter().map(|e| e.log_id.index).collect();
        assert_eq!(indexes, (first..end).collect::<Vec<_>>(), "seed {seed}: no hole");
    }
}

#[test]
fn a_read_for_another_voter_is_bounded_in_bytes_and_never_empty() {
    let world = World::new(1);
    let host = world.node("a").host();
    let inner = host.clone();
    let task = host.spawn("reads", async move {
        let mut store = open_store(&inner, PathBuf::from("/log"), KvKind::Journal).await;
        let half = protocol::bounds::CONTROLLER_APPEND_BYTES_MAX / 2;
        let sizes = [half, half - 200, half, 3 * half, 10];
        let entries = sizes.iter().enumerate().map(|(index, bytes)| entry(1, index as u64, *bytes));
        store.blocking_append(entries.collect::<Vec<_>>()).await.unwrap();
        let mut counts = Vec::new();
        for start in 0..5 {
            counts.push(store.limited_get_log_entries(start, 5).await.unwrap().len());
        }
        counts
    });
    assert_eq!(world.block_on(Duration::from_secs(60), task).unwrap().unwrap(), [2, 2, 1, 1, 1]);
}
