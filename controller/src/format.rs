//! The metadata directory: who it belongs to, and the store in it.
//!
//! ```text
//!   <metadata_dir>/meta.properties                  version, cluster.id, node.id, directory.id (as Kafka writes it)
//!                  __cluster_metadata-0/.lock       held while the controller runs
//!                  __cluster_metadata-0/weir/       the key-value store: Raft log, vote, snapshots
//!                  __cluster_metadata-0/0...0-0...0.checkpoint    the first voters, if it was formatted for some (Kafka's file)
//! ```
//!
//! **Invariant:** a directory without meta.properties is formatted here only when this node is the only voter, or when the
//! cluster id was given. A directory of another node, of another cluster, or with a Kafka controller's log is refused.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{Fs, LockGuard};
use protocol::Uuid;
use protocol::ids::METADATA_TOPIC;

use crate::kv::{self, Kv, KvKind};
use crate::raft::batches;
use crate::raft::types::{Membership, RaftId, Voter};

/// Kafka's name of a checkpoint that covers nothing.
const FIRST_CHECKPOINT: &str = "00000000000000000000-0000000000.checkpoint";

/// Why a metadata directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    #[error("{path} says {name}={found}, but the configuration says {expected}")]
    Foreign { path: PathBuf, name: &'static str, found: String, expected: String },
    #[error("{path} has no valid {name}")]
    Property { path: PathBuf, name: &'static str },
    #[error("{0} is not formatted: a node with other voters needs cluster.id, or `weir storage format`")]
    NotFormatted(PathBuf),
    #[error("{path} does not tell the first voters: {why}")]
    FirstVoters { path: PathBuf, why: String },
    #[error("{0} holds the metadata log of a Kafka controller, which cannot be taken over yet")]
    KafkaLog(PathBuf),
}

/// What is needed to open or format a directory.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub metadata_dir: PathBuf,
    pub node_id: i32,
    pub cluster_id: Option<Uuid>,
    /// This node is the only voter: it may make up a cluster id.
    pub is_sole_voter: bool,
    pub kv: KvKind,
    /// Used if the directory is formatted now.
    pub new_cluster_id: Uuid,
    pub new_directory_id: Uuid,
}

/// An open metadata directory. Dropping it gives up the lock.
pub struct Opened {
    pub cluster_id: Uuid,
    pub directory_id: Uuid,
    /// The voters that the directory was formatted for, if it was for some.
    pub first_voters: Option<BTreeMap<RaftId, Voter>>,
    pub kv: Arc<dyn Kv>,
    pub lock: LockGuard,
}

/// The directory whose disk queue the metadata log uses: its fsyncs do not wait behind those of partitions.
pub fn log_dir(metadata_dir: &Path) -> PathBuf {
    metadata_dir.join(format!("{METADATA_TOPIC}-0"))
}

/// Opens the directory, and formats it if that is allowed. Runs inside a disk job.
pub fn open(fs: &Fs, wanted: &Wanted) -> Result<Opened, Error> {
    let dir = log_dir(&wanted.metadata_dir);
    let store = dir.join("weir");
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    kv::create_dir_durably(fs, &dir).map_err(io(&dir))?;
    let lock = fs.lock(&dir.join(".lock")).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => Error::InUse(wanted.metadata_dir.clone()),
        _ => Error::Io { path: dir.clone(), source },
    })?;
    if !fs.exists(&store) {
        let names = fs.list(&dir).map_err(io(&dir))?;
        let is_log = |name: &&String| name.ends_with(".log") || name.ends_with(".checkpoint");
        if names.iter().filter(is_log).any(|name| *name != FIRST_CHECKPOINT) {
            return Err(Error::KafkaLog(dir));
        }
    }
    let (cluster_id, directory_id) = identity(fs, wanted)?;
    let first_voters = first_voters(fs, &dir.join(FIRST_CHECKPOINT))?;
    let kv = kv::open(fs, &store, wanted.kv).map_err(io(&store))?;
    Ok(Opened { cluster_id, directory_id, first_voters, kv, lock })
}

fn first_voters(fs: &Fs, path: &Path) -> Result<Option<BTreeMap<RaftId, Voter>>, Error> {
    if !fs.exists(path) {
        return Ok(None);
    }
    let bytes = fs.read_to_end(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let voters = batches::first_voters(&bytes.into());
    let bad = |e: batches::Error| Error::FirstVoters { path: path.to_owned(), why: e.to_string() };
    voters.map(Some).map_err(bad)
}

/// Formats a directory for its first voters: of a node that is among them, the quorum is founded when it starts.
///
/// # Errors
/// Of the disk.
pub fn write_first_voters(
    fs: &Fs,
    metadata_dir: &Path,
    voters: &BTreeMap<RaftId, Voter>,
    timestamp_ms: i64,
) -> io::Result<()> {
    let members = Membership::new(vec![voters.keys().copied().collect()], voters.clone());
    let members = members.expect("every voter has a node, and who formats names one at least");
    let dir = log_dir(metadata_dir);
    kv::create_dir_durably(fs, &dir)?;
    fs.atomic_write(&dir.join(FIRST_CHECKPOINT), &batches::first_checkpoint(&members, timestamp_ms))?;
    // The names of both directories too: who forgot them after a power cut would observe instead of voting.
    for above in dir.ancestors().skip(1).take(2).filter(|above| !above.as_os_str().is_empty()) {
        fs.sync_dir(above)?;
    }
    Ok(())
}

/// Cluster id and directory id from meta.properties, which is written if there is none.
fn identity(fs: &Fs, wanted: &Wanted) -> Result<(Uuid, Uuid), Error> {
    let path = wanted.metadata_dir.join("meta.properties");
    let io = |source| Error::Io { path: path.clone(), source };
    if !fs.exists(&path) {
        let cluster_id = match wanted.cluster_id {
            Some(id) => id,
            None if wanted.is_sole_voter => wanted.new_cluster_id,
            None => return Err(Error::NotFormatted(wanted.metadata_dir.clone())),
        };
        let text = meta_properties(wanted.node_id, cluster_id, wanted.new_directory_id);
        fs.atomic_write(&path, text.as_bytes()).map_err(io)?;
        return Ok((cluster_id, wanted.new_directory_id));
    }
    let text = String::from_utf8(fs.read_to_end(&path).map_err(io)?).map_err(io::Error::other).map_err(io)?;
    let properties = parse(&text);
    let get = |name: &'static str| {
        let value = properties.get(name).copied();
        value.ok_or_else(|| Error::Property { path: path.clone(), name })
    };
    let id = |name: &'static str| {
        get(name)?.parse::<Uuid>().map_err(|_| Error::Property { path: path.clone(), name })
    };
    let foreign =
        |name, found: String, expected: String| Error::Foreign { path: path.clone(), name, found, expected };
    let (cluster_id, directory_id) = (id("cluster.id")?, id("directory.id")?);
    if get("node.id")? != wanted.node_id.to_string() {
        return Err(foreign("node.id", get("node.id")?.to_owned(), wanted.node_id.to_string()));
    }
    match wanted.cluster_id {
        Some(expected) if expected != cluster_id => {
            Err(foreign("cluster.id", cluster_id.to_string(), expected.to_string()))
        }
        _ => Ok((cluster_id, directory_id)),
    }
}

pub(crate) fn meta_properties(node_id: i32, cluster_id: Uuid, directory_id: Uuid) -> String {
    format!("#\ncluster.id={cluster_id}\ndirectory.id={directory_id}\nnode.id={node_id}\nversion=1\n")
}

/// `name=value` lines; Kafka escapes `:` and `=` in values, which do not occur in ids.
fn parse(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.trim(), value.trim())).collect()
}
