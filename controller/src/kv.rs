//! The key-value seam under the Raft log store: three operations, two implementations.
//!
//! ```text
//!            log store, snapshots, vote            the same code in both worlds
//!   ------------------------------------------- Kv: write(batch, sync), get, scan
//!     Rocks (production)   |   Journal (an ordered map over a journal file of the host's disk)
//! ```
//!
//! **Invariant:** writes become durable in the order in which they were made. A batch is all or nothing. What was
//! written with `sync` survives a loss of power, and so does everything written before it.
//!
//! All calls are synchronous and are made inside jobs of `host.disk(dir)`. A failed write is never retried: the state on
//! disk is unknown then, and the store refuses everything that follows.

mod journal;
mod rocks;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use host::Fs;

pub use journal::Journal;
pub use rocks::Rocks;

/// Which implementation holds the metadata log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvKind {
    #[default]
    Rocks,
    /// An ordered map over the host's files. The simulation uses it, since RocksDB reaches the disk by itself.
    Journal,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Bytes, Bytes),
    Delete(Bytes),
    /// Deletes the keys from the first (inclusive) to the second (exclusive).
    DeleteRange(Bytes, Bytes),
}

/// Changes that happen together or not at all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push(Op::Put(key.into(), value.into()));
    }

    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.ops.push(Op::Delete(key.into()));
    }

    pub fn delete_range(&mut self, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.ops.push(Op::DeleteRange(from.into(), to.into()));
    }

    /// Adds the changes of `other` after these.
    pub fn extend(&mut self, other: Batch) {
        self.ops.extend(other.ops);
    }

    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Keys and values in order, small, durable on demand.
pub trait Kv: Send + Sync {
    /// Applies the batch; with `sync` it is durable when this returns, and all earlier writes with it.
    fn write(&self, fs: &Fs, batch: &Batch, sync: bool) -> io::Result<()>;

    fn get(&self, fs: &Fs, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// The entries with `from <= key < to`, in order of their keys.
    fn scan(&self, fs: &Fs, from: &[u8], to: &[u8]) -> io::Result<Vec<(Bytes, Bytes)>>;
}

/// Makes a directory and those above it, and makes the names of those above that were new survive a power cut: a synced
/// file in a directory whose own name is lost is lost.
pub(crate) fn create_dir_durably(fs: &Fs, dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !fs.exists(d)).collect();
    fs.create_dir_all(dir)?;
    // The lowest one is synced by whoever opens the store: it may be there already, and its name not durable.
    for made in missing.iter().skip(1).rev() {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Opens the store in `dir`, and creates it where there is none.
pub fn open(fs: &Fs, dir: &Path, kind: KvKind) -> io::Result<Arc<dyn Kv>> {
    create_dir_durably(fs, dir)?;
    if fs.list(dir)?.is_empty() {
        // Made just now, or by a life that ended before it had synced the name; that of the directory above likewise.
        for above in dir.ancestors().skip(1).take(2).filter(|above| !above.as_os_str().is_empty()) {
            fs.sync_dir(above)?;
        }
    }
    Ok(match kind {
        KvKind::Rocks => Arc::new(Rocks::open(dir)?),
        KvKind::Journal => Arc::new(Journal::open(fs, dir)?),
    })
}
