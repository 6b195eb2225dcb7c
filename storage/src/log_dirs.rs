//! A broker's log dirs: whose they are, what is in them, and whether they can be trusted.
//!
//!     <log dir>/meta.properties                      version, cluster.id, node.id, directory.id
//!              /.lock                                held while the broker runs
//!              /.kafka_cleanshutdown                 written by a stop in order, removed at the next start
//!              /recovery-point-offset-checkpoint     up to where each log is durable
//!              /log-start-offset-checkpoint          where each log begins
//!              /replication-offset-checkpoint        the high watermarks
//!              /orders-0/  orders-1/                 the logs
//!              /orders-2.<uuid>-delete/              a log that is being deleted
//!
//! A node has a list of them; one that fails is not used again until the next start, and its partitions move.
//!
//! Invariant: the clean-shutdown file is written by `close` alone, after every log of the directory is closed, and never in a
//! directory that has failed. A checkpoint may be older than the truth, never ahead of what is durable.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use host::{Fs, LockGuard};
use protocol::Uuid;
use protocol::ids::METADATA_TOPIC;

use crate::{checkpoint, partition_metadata};

const META: &str = "meta.properties";
const LOCK: &str = ".lock";
const CLEAN: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const DELETED: &str = "-delete";
/// Ends the name of a log that was found and is nobody's here.
const STRAY: &str = "-stray";

/// Why a log dir cannot be used. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum LogDirError {
    #[error("the log dir {} is in use by another process", dir.display())]
    InUse { dir: PathBuf },
    #[error("the log dir {} belongs to node {found}, but node.id is {expected}", dir.display())]
    OtherNode { dir: PathBuf, found: i32, expected: i32 },
    #[error("the log dir {} belongs to cluster {found}, but this is cluster {expected}", dir.display())]
    OtherCluster { dir: PathBuf, found: String, expected: String },
    #[error("the log dir {} cannot be used: {source}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
    #[error("the log dir {}: {reason}", dir.display())]
    Malformed { dir: PathBuf, reason: String },
}

/// One open log dir.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    directory_id: Uuid,
    /// The last life ended in order, with this broker epoch.
    clean: Option<i64>,
    checkpoints: Checkpoints,
    failed: OnceLock<String>,
    _lock: LockGuard,
}

/// A log that lies in a log dir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    pub topic: String,
    pub partition: i32,
    /// None if its file is missing or was torn by a crash.
    pub topic_id: Option<Uuid>,
}

#[derive(Debug, Default)]
struct Checkpoints {
    recovery_points: BTreeMap<(String, i32), i64>,
    log_starts: BTreeMap<(String, i32), i64>,
    high_watermarks: BTreeMap<(String, i32), i64>,
}

/// What a log's checkpoints say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCheckpoint {
    pub recovery_point: i64,
    pub log_start_offset: i64,
    pub high_watermark: i64,
}

/// The checkpoint files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckpointKind {
    RecoveryPoint,
    LogStart,
    HighWatermark,
}

impl CheckpointKind {
    pub const ALL: [CheckpointKind; 3] =
        [CheckpointKind::RecoveryPoint, CheckpointKind::LogStart, CheckpointKind::HighWatermark];

    /// What the file says of a log.
    pub fn of(self, log: &LogCheckpoint) -> i64 {
        match self {
            CheckpointKind::RecoveryPoint => log.recovery_point,
            CheckpointKind::LogStart => log.log_start_offset,
            CheckpointKind::HighWatermark => log.high_watermark,
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            CheckpointKind::RecoveryPoint => RECOVERY_POINTS,
            CheckpointKind::LogStart => LOG_STARTS,
            CheckpointKind::HighWatermark => HIGH_WATERMARKS,
        }
    }
}

/// The content of `meta.properties`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: i32,
    pub directory_id: Uuid,
}

impl MetaProperties {
    /// None if the file does not exist.
    ///
    /// # Errors
    /// `Malformed`, `Io`.
    pub fn read(fs: &Fs, dir: &Path) -> Result<Option<MetaProperties>, LogDirError> {
        let path = dir.join(META);
        if !fs.exists(&path) {
            return Ok(None);
        }
        let bytes =
            fs.read_to_end(&path).map_err(|source| LogDirError::Io { dir: dir.to_owned(), source })?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let value = |name: &str| -> Result<String, LogDirError> {
            let lines = text.lines().filter(|l| !l.starts_with('#'));
            let found = lines.filter_map(|l| l.split_once('=')).find(|(n, _)| n.trim() == name);
            found.map(|(_, v)| v.trim().to_owned()).ok_or_else(|| LogDirError::Malformed {
                dir: dir.to_owned(),
                reason: format!("{META} has no {name}"),
            })
        };
        let malformed = |name: &str| LogDirError::Malformed {
            dir: dir.to_owned(),
            reason: format!("{META}: {name} is malformed"),
        };
        let version = value("version")?;
        if version != "1" {
            let reason = format!("{META} has version {version}, this program knows version 1");
            return Err(LogDirError::Malformed { dir: dir.to_owned(), reason });
        }
        Ok(Some(MetaProperties {
            cluster_id: value("cluster.id")?,
            node_id: value("node.id")?.parse().map_err(|_| malformed("node.id"))?,
            directory_id: value("directory.id")?.parse().map_err(|_| malformed("directory.id"))?,
        }))
    }

    /// Whether the directory may be this node's.
    ///
    /// # Errors
    /// `OtherNode`, `OtherCluster`.
    pub fn check(&self, dir: &Path, cluster_id: &str, node_id: i32) -> Result<(), LogDirError> {
        let dir = || dir.to_owned();
        if self.node_id != node_id {
            return Err(LogDirError::OtherNode { dir: dir(), found: self.node_id, expected: node_id });
        }
        if self.cluster_id != cluster_id {
            let (found, expected) = (self.cluster_id.clone(), cluster_id.to_owned());
            return Err(LogDirError::OtherCluster { dir: dir(), found, expected });
        }
        Ok(())
    }

    /// # Errors
    /// When writing fails.
    pub fn write(&self, fs: &Fs, dir: &Path) -> io::Result<()> {
        let MetaProperties { cluster_id, node_id, directory_id } = self;
        let text =
            format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n");
        fs.atomic_write(&dir.join(META), text.as_bytes())
    }
}

impl LogDir {
    /// Locks a log dir and reads what it says of itself, making it if it is new. A new one gets `new_directory_id`.
    ///
    /// # Errors
    /// See [`LogDirError`].
    pub fn open(
        fs: &Fs,
        path: &Path,
        cluster_id: &str,
        node_id: i32,
        new_directory_id: Uuid,
    ) -> Result<LogDir, LogDirError> {
        let io = |source| LogDirError::Io { dir: path.to_owned(), source };
        if !fs.is_dir(path) {
            fs.create_dir_all(path).map_err(io)?;
            // Whatever is durable in it is lost unless its own name is.
            fs.sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        }
        let lock = fs.lock(&path.join(LOCK)).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => LogDirError::InUse { dir: path.to_owned() },
            _ => io(source),
        })?;
        let meta = match MetaProperties::read(fs, path)? {
            Some(meta) => meta,
            None => {
                let meta = MetaProperties {
                    cluster_id: cluster_id.to_owned(),
                    node_id,
                    directory_id: new_directory_id,
                };
                meta.write(fs, path).map_err(io)?;
                meta
            }
        };
        meta.check(path, cluster_id, node_id)?;
        let clean = take_clean_shutdown(fs, path).map_err(io)?;
        let checkpoints = Checkpoints {
            recovery_points: read_offsets(fs, &path.join(RECOVERY_POINTS)).map_err(io)?,
            log_starts: read_offsets(fs, &path.join(LOG_STARTS)).map_err(io)?,
            high_watermarks: read_offsets(fs, &path.join(HIGH_WATERMARKS)).map_err(io)?,
        };
        Ok(LogDir {
            path: path.to_owned(),
            directory_id: meta.directory_id,
            clean,
            checkpoints,
            failed: OnceLock::new(),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn directory_id(&self) -> Uuid {
        self.directory_id
    }

    /// The broker epoch of the last life, if it ended in order.
    pub fn clean_shutdown_epoch(&self) -> Option<i64> {
        self.clean
    }

    pub fn was_clean(&self) -> bool {
        self.clean.is_some()
    }

    pub fn checkpoint(&self, topic: &str, partition: i32) -> LogCheckpoint {
        let of = |map: &BTreeMap<(String, i32), i64>| {
            map.get(&(topic.to_owned(), partition)).copied().unwrap_or(0)
        };
        LogCheckpoint {
            recovery_point: of(&self.checkpoints.recovery_points),
            log_start_offset: of(&self.checkpoints.log_starts),
            high_watermark: of(&self.checkpoints.high_watermarks),
        }
    }

    /// The logs in the directory, by topic and partition. Directories of other names are left alone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn partitions(&self, fs: &Fs) -> io::Result<Vec<(String, i32)>> {
        Ok(fs.list(&self.path)?.iter().filter_map(|name| parse_partition_dir(name)).collect())
    }

    /// The logs in the directory and whose they are.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn logs(&self, fs: &Fs) -> io::Result<Vec<FoundLog>> {
        let mut logs = Vec::new();
        for (topic, partition) in self.partitions(fs)? {
            let topic_id = partition_metadata::read(fs, &self.partition_dir(&topic, partition), false)?;
            logs.push(FoundLog { topic, partition, topic_id });
        }
        Ok(logs)
    }

    /// Takes the directory out of use, for the first reason given. Nothing tries it again before the next start.
    pub fn fail(&self, reason: &str) {
        if self.failed.set(reason.to_owned()).is_ok() {
            tracing::error!(log_dir = %self.path.display(), reason, "the log dir is offline");
        }
    }

    /// Why the directory is out of use, if it is.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn usable(&self) -> io::Result<()> {
        match self.failure() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!("{} is offline: {reason}", self.path.display()))),
        }
    }

    pub fn partition_dir(&self, topic: &str, partition: i32) -> PathBuf {
        self.path.join(format!("{topic}-{partition}"))
    }

    /// Takes a log out of sight at once, and returns the directory that is left to be removed. The next start removes what
    /// is left.
    ///
    /// # Errors
    /// When there is no such log, or renaming fails.
    pub fn mark_deleted(&self, fs: &Fs, topic: &str, partition: i32, unique: Uuid) -> io::Result<PathBuf> {
        self.mark(fs, topic, partition, unique, DELETED)
    }

    /// Sets a log aside that this broker has no replica of, and returns where it is. Nobody removes it: it may be all that an
    /// operator has left. As Kafka's `LogManager` does with stray replicas.
    ///
    /// # Errors
    /// When there is no such log, or renaming fails.
    pub fn mark_stray(&self, fs: &Fs, topic: &str, partition: i32, unique: Uuid) -> io::Result<PathBuf> {
        self.mark(fs, topic, partition, unique, STRAY)
    }

    fn mark(&self, fs: &Fs, topic: &str, partition: i32, unique: Uuid, mark: &str) -> io::Result<PathBuf> {
        let from = self.partition_dir(topic, partition);
        // A file name has at most 255 bytes; Kafka cuts the topic to make room for the rest.
        let suffix = format!("-{partition}.{:032x}{mark}", unique.0);
        let room = 255 - suffix.len();
        let topic: String = topic.chars().take(room).collect();
        let to = self.path.join(format!("{topic}{suffix}"));
        fs.rename(&from, &to)?;
        fs.sync_dir(&self.path)?;
        Ok(to)
    }

    /// Removes the logs that were marked.
    ///
    /// # Errors
    /// When removing fails.
    pub fn remove_deleted(&self, fs: &Fs) -> io::Result<()> {
        for name in fs.list(&self.path)?.iter().filter(|n| n.ends_with(DELETED)) {
            fs.remove_dir_all(&self.path.join(name))?;
        }
        Ok(())
    }

    /// Replaces checkpoint files, one entry for each log of the directory.
    ///
    /// # Errors
    /// When writing fails, or the directory has failed.
    pub fn write_checkpoints(
        &self,
        fs: &Fs,
        logs: &BTreeMap<(String, i32), LogCheckpoint>,
        kinds: &[CheckpointKind],
    ) -> io::Result<()> {
        self.usable()?;
        kinds.iter().try_for_each(|kind| {
            let line =
                |((topic, p), log): (&(String, i32), &LogCheckpoint)| format!("{topic} {p} {}", kind.of(log));
            let lines: Vec<String> = logs.iter().map(line).collect();
            checkpoint::write(fs, &self.path.join(kind.file_name()), &lines)
        })
    }

    /// The end of a stop in order: call it once every log of the directory is closed.
    ///
    /// # Errors
    /// When writing fails, or the directory has failed.
    pub fn close(&self, fs: &Fs, broker_epoch: i64) -> io::Result<()> {
        self.usable()?;
        let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        fs.atomic_write(&self.path.join(CLEAN), text.as_bytes())
    }
}

/// Reads and removes the clean-shutdown file: a crash from now on is a crash.
fn take_clean_shutdown(fs: &Fs, dir: &Path) -> io::Result<Option<i64>> {
    let path = dir.join(CLEAN);
    if !fs.exists(&path) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&fs.read_to_end(&path)?).into_owned();
    let digits = text.split("\"brokerEpoch\":").nth(1).map(|t| t.trim_start());
    let number: Option<String> =
        digits.map(|t| t.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect());
    fs.remove_file(&path)?;
    fs.sync_dir(dir)?;
    Ok(Some(number.and_then(|n| n.parse().ok()).unwrap_or(-1)))
}

fn read_offsets(fs: &Fs, path: &Path) -> io::Result<BTreeMap<(String, i32), i64>> {
    let mut offsets = BTreeMap::new();
    for words in checkpoint::read(fs, path)? {
        let topic = words.first().cloned().unwrap_or_default();
        offsets.insert((topic, checkpoint::number(path, &words, 1)?), checkpoint::number(path, &words, 2)?);
    }
    Ok(offsets)
}

/// `orders-eu-3` is partition 3 of `orders-eu`.
fn parse_partition_dir(name: &str) -> Option<(String, i32)> {
    // Deleted, being moved here from another log dir, or not known to the cluster: Kafka's suffixes.
    if [DELETED, "-future", STRAY].iter().any(|s| name.ends_with(s)) {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    // The metadata log of a controller that shares the directory is no broker's.
    let is_replica = !topic.is_empty() && topic != METADATA_TOPIC;
    let partition = partition.parse().ok().filter(|p| is_replica && *p >= 0)?;
    Some((topic.to_owned(), partition))
}
