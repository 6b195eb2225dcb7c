//! Followers' side of replication: which fetcher fetches what from whom.
//!
//! ```text
//!   metadata --> replicas --> follow: leader 2, epoch 5 --> fetcher (2, 0) --+
//!                                                           fetcher (2, 1) --+--> broker 2
//!                             leads, or is gone ----------> out of its fetcher
//! ```
//! There are `num.replica.fetchers` for each leader; a partition always goes to the same one of them.
//!
//! **Invariant:** a partition is in at most one fetcher, and there under the newest leader epoch that its role has. A fetcher
//! that still has an answer under an older one finds that out in the disk job that would append it.

mod fetch;
mod run;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use host::{Host, Instant, Task};
use protocol::Str;
use protocol::config::Configs;
use protocol::ids::PartitionId;
use tokio::sync::Notify;

use crate::controller_link::ControllerLink;
use crate::log_dirs::LogDirs;
use crate::metadata_cache::MetadataCache;
use crate::partition::Partition;
use crate::replication_quotas::ReplicationQuotas;

/// What fetchers stand on.
pub(crate) struct Surroundings {
    pub(crate) host: Host,
    pub(crate) node_id: i32,
    pub(crate) server: Arc<Configs>,
    /// `inter.broker.listener.name`
    pub(crate) listener: Str,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) link: Arc<ControllerLink>,
    pub(crate) log_dirs: Arc<LogDirs>,
    pub(crate) quotas: Arc<ReplicationQuotas>,
}

/// Whom a replica follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub id: i32,
    pub epoch: i32,
}

/// A leader's broker id, and the number of one of its fetchers.
type Key = (i32, u32);

struct Running {
    fetcher: Arc<Fetcher>,
    task: Task<()>,
}

#[derive(Default)]
struct Fetchers {
    running: BTreeMap<Key, Running>,
    assigned: BTreeMap<PartitionId, Key>,
    is_stopped: bool,
}

/// See the module.
pub struct ReplicaFetchers {
    surroundings: Arc<Surroundings>,
    fetchers: Mutex<Fetchers>,
}

/// The partitions of one fetcher.
#[derive(Default)]
pub(crate) struct Fetcher {
    followed: Mutex<BTreeMap<PartitionId, Followed>>,
    /// A partition is new, or follows in another epoch.
    changed: Notify,
}

/// A partition in a fetcher.
#[derive(Clone)]
pub(crate) struct Followed {
    pub(crate) partition: Arc<Partition>,
    pub(crate) leader_epoch: i32,
    /// After a failure: not fetched before.
    not_before: Instant,
    /// In a row.
    failures: u32,
}

impl ReplicaFetchers {
    pub(crate) fn new(surroundings: Surroundings) -> ReplicaFetchers {
        ReplicaFetchers { surroundings: Arc::new(surroundings), fetchers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Fetchers> {
        self.fetchers.lock().expect("no code that holds this lock panics")
    }

    /// Takes over whom partitions follow now; None: nobody.
    pub fn follow(&self, partitions: Vec<(Arc<Partition>, Option<Leader>)>) {
        let mut fetchers = self.lock();
        if fetchers.is_stopped {
            return;
        }
        for (partition, leader) in partitions {
            let key = leader.map(|leader| (leader.id, self.number(partition.id)));
            let former = fetchers.assigned.get(&partition.id).copied();
            if former != key
                && let Some(former) = former
            {
                fetchers.remove(partition.id, former);
            }
            if let (Some(key), Some(leader)) = (key, leader) {
                self.assign(&mut fetchers, key, partition, leader.epoch);
            }
        }
        fetchers.running.retain(|_, running| {
            let is_used = !running.fetcher.lock().is_empty();
            if !is_used {
                running.task.abort();
            }
            is_used
        });
    }

    fn assign(&self, fetchers: &mut Fetchers, key: Key, partition: Arc<Partition>, leader_epoch: i32) {
        let running = fetchers.running.entry(key).or_insert_with(|| {
            let fetcher = Arc::new(Fetcher::default());
            let run = run::run(Arc::clone(&self.surroundings), Arc::clone(&fetcher), key.0);
            Running { fetcher, task: self.surroundings.host.spawn("replica fetcher", run) }
        });
        let id = partition.id;
        running.fetcher.add(partition, leader_epoch);
        fetchers.assigned.insert(id, key);
    }

    /// Which of a leader's fetchers a partition goes to.
    fn number(&self, id: PartitionId) -> u32 {
        let count = u128::from(self.surroundings.server.int("num.replica.fetchers").max(1).unsigned_abs());
        let spread = id.topic_id.0.wrapping_mul(31).wrapping_add(u128::from(id.partition.unsigned_abs()));
        u32::try_from(spread % count).expect("it is below a u32")
    }

    /// Nothing is fetched any more.
    pub fn stop(&self) {
        let mut fetchers = self.lock();
        fetchers.is_stopped = true;
        for running in std::mem::take(&mut fetchers.running).into_values() {
            running.task.abort();
        }
    }
}

impl Fetchers {
    fn remove(&mut self, id: PartitionId, key: Key) {
        self.assigned.remove(&id);
        if let Some(running) = self.running.get(&key) {
            running.fetcher.lock().remove(&id);
        }
    }
}

impl Fetcher {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Followed>> {
        self.followed.lock().expect("no code that holds this lock panics")
    }

    fn add(&self, partition: Arc<Partition>, leader_epoch: i32) {
        let mut followed = self.lock();
        if followed.get(&partition.id).is_some_and(|known| known.leader_epoch == leader_epoch) {
            return;
        }
        let not_before = Instant::default();
        followed.insert(partition.id, Followed { partition, leader_epoch, not_before, failures: 0 });
        self.changed.notify_one();
    }

    /// What is fetched now.
    fn due(&self, now: Instant) -> Vec<Followed> {
        self.lock().values().filter(|f| f.not_before <= now).cloned().collect()
    }

    /// When something else is due.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        self.lock().values().map(|f| f.not_before).filter(|at| *at > now).min()
    }

    /// Changes what is known of a partition, unless it follows in another epoch by now.
    fn update(&self, of: &Followed, change: impl FnOnce(&mut Followed)) {
        if let Some(known) = self.lock().get_mut(&of.partition.id)
            && known.leader_epoch == of.leader_epoch
        {
            change(known);
        }
    }

    fn succeeded(&self, of: &Followed) {
        if of.failures > 0 {
            self.update(of, |known| known.failures = 0);
        }
    }

    /// The partition waits before it is fetched again: longer each time, at most `wait_max`.
    fn failed(&self, of: &Followed, now: Instant, (wait_min, wait_max): (Duration, Duration)) {
        let wait = wait_min.saturating_mul(1 << of.failures.min(16)).min(wait_max.max(wait_min));
        self.update(of, |known| {
            known.failures = known.failures.saturating_add(1);
            known.not_before = now + wait;
        });
    }

    /// The partition waits, though nothing failed.
    fn waits(&self, of: &Followed, until: Instant) {
        self.update(of, |known| known.not_before = until);
    }

    /// The partition is not fetched any more until its leader or epoch changes: its log dir has failed.
    fn gives_up(&self, of: &Followed) {
        let mut followed = self.lock();
        if followed.get(&of.partition.id).is_some_and(|known| known.leader_epoch == of.leader_epoch) {
            followed.remove(&of.partition.id);
        }
    }
}

impl std::fmt::Debug for ReplicaFetchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplicaFetchers({} partitions)", self.lock().assigned.len())
    }
}
