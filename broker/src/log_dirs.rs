//! The log dirs of this broker: opened together at the start, closed together at the end.
//!
//! **Invariant:** all belong to this node and this cluster and are locked by this process. A dir whose disk failed stays
//! failed until the next start; the controller is told, so that its partitions move.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use host::{Disk, DiskGone, Host};
use protocol::Uuid;
use storage::{CheckpointKind, LogDir, LogDirError, MetaProperties};
use tokio::sync::Notify;

use crate::checkpoints::Checkpoints;
use crate::partition::Partition;
use crate::room::Room;

/// Why the log dirs cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Dir(#[from] LogDirError),
    #[error("the log dir {} is not formatted: cluster.id must be set, or `weir storage format` be run", .0.display())]
    NotFormatted(PathBuf),
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

/// One log dir, and the queue of its disk.
#[derive(Debug)]
pub struct Dir {
    pub files: LogDir,
    pub disk: Disk,
    pub room: Arc<Room>,
    offline: AtomicBool,
}

/// See the module.
#[derive(Debug)]
pub struct LogDirs {
    dirs: Vec<Arc<Dir>>,
    pub cluster_id: String,
    /// The logs that were there at the start, and where.
    found: Mutex<BTreeMap<(String, i32), usize>>,
    /// A dir went offline.
    pub failed: Notify,
    /// Room became short in a dir.
    pub became_short: Notify,
}

impl LogDirs {
    pub async fn open(
        host: &Host,
        paths: &[PathBuf],
        cluster_id: Option<Uuid>,
        node_id: i32,
    ) -> Result<LogDirs, Error> {
        let cluster_id = match cluster_id {
            Some(id) => id.to_string(),
            None => told_cluster_id(host, paths).await?,
        };
        let mut dirs = Vec::new();
        let mut found = BTreeMap::new();
        for (at, path) in paths.iter().enumerate() {
            let disk = host.disk(path);
            let new_id = Uuid::from_random(|| host.entropy().u128());
            let (path, cluster) = (path.clone(), cluster_id.clone());
            let opened = disk.run_slow(move |fs| -> Result<_, LogDirError> {
                let files = LogDir::open(fs, &path, &cluster, node_id, new_id)?;
                let io = |source| LogDirError::Io { dir: path.clone(), source };
                files.remove_deleted(fs).map_err(io)?;
                let logs = files.partitions(fs).map_err(io)?;
                Ok((files, logs))
            });
            let (files, logs) = opened.await??;
            // Of a log that stands in two dirs (a move that was cut short) the first counts.
            for log in logs {
                found.entry(log).or_insert(at);
            }
            let (room, offline) = (Arc::default(), AtomicBool::new(false));
            dirs.push(Arc::new(Dir { files, disk, room, offline }));
        }
        let found = Mutex::new(found);
        Ok(LogDirs { dirs, cluster_id, found, failed: Notify::new(), became_short: Notify::new() })
    }

    pub fn ids(&self) -> Vec<Uuid> {
        self.dirs.iter().map(|dir| dir.files.directory_id()).collect()
    }

    /// The broker epoch of the last life, if all dirs were closed in order with the same one; otherwise -1.
    pub fn previous_broker_epoch(&self) -> i64 {
        let mut epochs = self.dirs.iter().map(|dir| dir.files.clean_shutdown_epoch().unwrap_or(-1));
        let first = epochs.next().unwrap_or(-1);
        if epochs.all(|epoch| epoch == first) { first } else { -1 }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, i32), usize>> {
        self.found.lock().expect("no code that holds this lock panics")
    }

    /// Sets aside the logs that were found at the start and have not been placed since: this broker has no replica of them, or
    /// none any more. Left where they are, one that is assigned here again would go on with what it was before.
    pub async fn set_strays_aside(&self, host: &Host) {
        let strays = std::mem::take(&mut *self.found());
        for ((topic, partition), at) in strays {
            let dir = Arc::clone(&self.dirs[at]);
            if dir.is_offline() {
                continue;
            }
            let unique = Uuid::from_random(|| host.entropy().u128());
            let (job_dir, name) = (Arc::clone(&dir), topic.clone());
            let marked = dir.disk.run(move |fs| job_dir.files.mark_stray(fs, &name, partition, unique)).await;
            match marked {
                Ok(Ok(to)) => {
                    let to = to.display().to_string();
                    tracing::warn!(topic, partition, to, "a log of no replica of this broker was set aside");
                }
                Ok(Err(error)) => self.set_offline(dir.files.path(), &error.to_string()),
                Err(_) => return,
            }
        }
    }

    /// The dir of a log: where it is, where the metadata wants it, or where there is the most room among logs.
    pub fn place(
        &self,
        topic: &str,
        partition: i32,
        wanted: Option<Uuid>,
        count: impl Fn(&Path) -> usize,
    ) -> Option<Arc<Dir>> {
        if let Some(at) = self.found().remove(&(topic.to_owned(), partition)) {
            return Some(Arc::clone(&self.dirs[at]));
        }
        let online = || self.dirs.iter().filter(|dir| !dir.is_offline());
        let named = online().find(|dir| Some(dir.files.directory_id()) == wanted);
        named.or_else(|| online().min_by_key(|dir| count(dir.files.path()))).cloned()
    }

    pub fn dir(&self, path: &Path) -> Option<&Arc<Dir>> {
        self.dirs.iter().find(|dir| dir.files.path() == path)
    }

    /// A log failed, and with it the disk of its dir. One that has left this broker says nothing of the disk: what was still
    /// under way when its topic was deleted finds no directory any more.
    pub fn log_failed(&self, partition: &Partition, reason: &str) {
        if !partition.is_retired() {
            self.set_offline(&partition.log_dir, reason);
        }
    }

    /// The disk of a dir failed: nothing is tried again on it.
    pub fn set_offline(&self, path: &Path, reason: &str) {
        if let Some(dir) = self.dir(path)
            && !dir.offline.swap(true, Ordering::SeqCst)
        {
            tracing::error!(dir = %path.display(), reason, "log dir failed and goes offline");
            self.failed.notify_one();
        }
    }

    /// Why producers must wait with what goes to a dir; None if there is room.
    pub fn shortage(&self, path: &Path) -> Option<String> {
        let mut short = self.dirs.iter().filter(|dir| dir.room.is_short());
        let dir = short.find(|dir| dir.files.path() == path)?;
        let free = dir.room.free_bytes();
        Some(format!(
            "the log dir {} has only {free} bytes left: delete records, or add room",
            path.display()
        ))
    }

    pub fn offline_ids(&self) -> Vec<Uuid> {
        self.dirs.iter().filter(|dir| dir.is_offline()).map(|dir| dir.files.directory_id()).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Dir>> {
        self.dirs.iter()
    }

    pub fn all_offline(&self) -> bool {
        self.dirs.iter().all(|dir| dir.is_offline())
    }

    /// Writes the checkpoints of one dir after another.
    pub async fn write_checkpoints(&self, logs: &Checkpoints, kinds: &[CheckpointKind]) {
        for dir in self.dirs.iter().filter(|dir| !dir.is_offline()) {
            let of_dir = logs.get(dir.files.path()).cloned().unwrap_or_default();
            let (job_dir, kinds) = (Arc::clone(dir), kinds.to_vec());
            let written =
                dir.disk.run_slow(move |fs| job_dir.files.write_checkpoints(fs, &of_dir, &kinds)).await;
            if let Ok(Err(error)) = written {
                self.set_offline(dir.files.path(), &error.to_string());
            }
        }
    }

    /// The end of a stop in order, once all logs are closed. Logs that were never opened in this life are as the last one left
    /// them: after an unclean end they are not in order, and the next start must not take them for that.
    pub async fn close(&self, broker_epoch: i64, were_opened: bool) {
        let in_order = |dir: &&Arc<Dir>| !dir.is_offline() && (were_opened || dir.files.was_clean());
        for dir in self.dirs.iter().filter(in_order) {
            let job_dir = Arc::clone(dir);
            let closed = dir.disk.run_slow(move |fs| job_dir.files.close(fs, broker_epoch)).await;
            if let Ok(Err(error)) = closed {
                tracing::warn!(dir = %dir.files.path().display(), %error, "log dir was not closed in order");
            }
        }
    }
}

impl Dir {
    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::SeqCst)
    }
}

/// The cluster id that the first formatted dir tells.
async fn told_cluster_id(host: &Host, paths: &[PathBuf]) -> Result<String, Error> {
    for path in paths {
        let dir = path.clone();
        if let Some(meta) = host.disk(path).run_slow(move |fs| MetaProperties::read(fs, &dir)).await?? {
            return Ok(meta.cluster_id);
        }
    }
    Err(Error::NotFormatted(paths.first().cloned().unwrap_or_default()))
}
