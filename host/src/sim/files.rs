//! A node's simulated files: what is in the page cache, and what a loss of power leaves.
//!
//! Each file has two contents: the current one, and the durable one of its last sync. Names have two states as well: a
//! file that was made, renamed or removed keeps its old name until its directory is synced. When power is lost, each
//! unsynced sector and each unsynced change of a name survives or not, by the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::executor::{Executor, Life};
use crate::fs::FileKind;
use crate::sim::DiskFaults;
use crate::{File, OpenMode};

/// What the disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

type InodeId = u64;

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
    locked_by: Option<Life>,
}

/// A change of a name that its directory's sync makes durable.
#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, InodeId),
    Unlink(PathBuf),
    /// Both names change at once, or neither.
    Rename(PathBuf, PathBuf, InodeId),
}

#[derive(Default)]
struct Names {
    files: BTreeMap<PathBuf, InodeId>,
    dirs: BTreeSet<PathBuf>,
}

/// The disk of one node; it outlives the node's lives.
#[derive(Default)]
pub(crate) struct DiskState {
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    now: Names,
    durable: Names,
    /// Unsynced changes by directory, oldest first.
    pending: BTreeMap<PathBuf, Vec<NameChange>>,
    pub(crate) faults: DiskFaults,
    /// After so many more operations the node dies in the middle of a job.
    pub(crate) operations_until_crash: Option<u64>,
    /// Set when that happened: every further operation fails.
    pub(crate) crashed_in_job: bool,
}

pub(crate) type SharedDisk = Arc<Mutex<DiskState>>;

/// A node's file system in one life.
#[derive(Clone)]
pub(crate) struct SimFs {
    disk: SharedDisk,
    executor: Arc<Executor>,
    life: Life,
}

impl std::fmt::Debug for SimFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFs({:?})", self.life)
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

impl SimFs {
    pub(crate) fn new(disk: SharedDisk, executor: Arc<Executor>, life: Life) -> SimFs {
        SimFs { disk, executor, life }
    }

    /// The disk, if this life goes on and the operation does not fail by the seed.
    fn operation(&self, writes: bool) -> io::Result<MutexGuard<'_, DiskState>> {
        if !self.executor.is_alive(self.life) {
            return Err(io::Error::other("the node has crashed"));
        }
        let (dice, mut disk) = (self.executor.random(), self.disk.lock().expect("nobody panics while holding it"));
        if let Some(left) = disk.operations_until_crash {
            if left == 0 {
                disk.operations_until_crash = None;
                disk.crashed_in_job = true;
            } else {
                disk.operations_until_crash = Some(left - 1);
            }
        }
        if disk.crashed_in_job {
            return Err(io::Error::other("the node has crashed"));
        }
        let failing = if writes { disk.faults.write_errors_per_million } else { disk.faults.read_errors_per_million };
        if dice % 1_000_000 < failing {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(disk)
    }

    fn is_locked(&self, inode: &Inode) -> bool {
        inode.locked_by.is_some_and(|life| self.executor.is_alive(life))
    }

    pub(crate) fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let mut disk = self.operation(mode == OpenMode::Create || mode == OpenMode::CreateNew)?;
        let inode = match (disk.now.files.get(path).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(not_found(path)),
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                let dir = parent(path);
                if !dir.as_os_str().is_empty() && !disk.now.dirs.contains(&dir) {
                    return Err(not_found(&dir));
                }
                let inode = disk.next_inode;
                disk.next_inode += 1;
                disk.inodes.insert(inode, Inode::default());
                disk.link(path, inode);
                inode
            }
        };
        drop(disk);
        Ok(File(FileKind::Sim(SimFile { fs: self.clone(), inode })))
    }

    /// Directories are durable at once: what is tested is the loss of files in them.
    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.operation(true)?;
        for dir in path.ancestors().filter(|d| !d.as_os_str().is_empty()) {
            if disk.now.files.contains_key(dir) {
                return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
            }
            disk.now.dirs.insert(dir.to_owned());
            disk.durable.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.operation(true)?;
        if let Some(inode) = disk.now.files.get(from).copied() {
            disk.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
            return Ok(());
        }
        if !disk.now.dirs.contains(from) {
            return Err(not_found(from));
        }
        disk.rename_dir(from, to);
        Ok(())
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.operation(true)?;
        if !disk.now.files.contains_key(path) {
            return Err(not_found(path));
        }
        disk.unlink(path);
        Ok(())
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.operation(true)?;
        if !disk.now.dirs.contains(path) {
            return Err(not_found(path));
        }
        disk.now.files.retain(|p, _| !p.starts_with(path));
        disk.durable.files.retain(|p, _| !p.starts_with(path));
        disk.now.dirs.retain(|p| !p.starts_with(path));
        disk.durable.dirs.retain(|p| !p.starts_with(path));
        disk.pending.retain(|p, _| !p.starts_with(path));
        Ok(())
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let disk = self.operation(false)?;
        if !disk.now.dirs.contains(path) {
            return Err(not_found(path));
        }
        let inside = |p: &&PathBuf| p.parent() == Some(path);
        let name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut names: Vec<String> = disk.now.files.keys().filter(inside).filter_map(name).collect();
        names.extend(disk.now.dirs.iter().filter(inside).filter_map(name));
        names.sort();
        Ok(names)
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.operation(false).is_ok_and(|disk| disk.now.files.contains_key(path) || disk.now.dirs.contains(path))
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.operation(false).is_ok_and(|disk| disk.now.dirs.contains(path))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.operation(true)?;
        let changes = disk.pending.remove(path).unwrap_or_default();
        for change in changes {
            disk.durable.apply(&change);
        }
        Ok(())
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.disk.lock().expect("nobody panics while holding it").free_bytes()
    }
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                self.files.remove(path);
            }
            NameChange::Rename(from, to, inode) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *inode);
            }
        }
    }
}

impl DiskState {
    fn change(&mut self, change: NameChange) {
        self.now.apply(&change);
        let (NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(_, path, _)) = &change;
        self.pending.entry(parent(path)).or_default().push(change);
    }

    fn link(&mut self, path: &Path, inode: InodeId) {
        self.change(NameChange::Link(path.to_owned(), inode));
    }

    fn unlink(&mut self, path: &Path) {
        self.change(NameChange::Unlink(path.to_owned()));
    }

    /// A directory is renamed with all that is in it, and that is durable at once.
    fn rename_dir(&mut self, from: &Path, to: &Path) {
        let moved = |p: &Path| p.strip_prefix(from).map(|rest| if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) });
        for names in [&mut self.now, &mut self.durable] {
            let files = std::mem::take(&mut names.files);
            names.files = files.into_iter().map(|(p, i)| (moved(&p).unwrap_or(p), i)).collect();
            let dirs = std::mem::take(&mut names.dirs);
            names.dirs = dirs.into_iter().map(|p| moved(&p).unwrap_or(p)).collect();
        }
        let pending = std::mem::take(&mut self.pending);
        for (dir, changes) in pending {
            let renamed = changes.into_iter().map(|change| match change {
                NameChange::Link(p, i) => NameChange::Link(moved(&p).unwrap_or(p), i),
                NameChange::Unlink(p) => NameChange::Unlink(moved(&p).unwrap_or(p)),
                NameChange::Rename(a, b, i) => NameChange::Rename(moved(&a).unwrap_or(a), moved(&b).unwrap_or(b), i),
            });
            self.pending.insert(moved(&dir).unwrap_or(dir), renamed.collect());
        }
    }

    fn free_bytes(&self) -> u64 {
        let used: usize = self.inodes.values().map(|i| i.data.len()).sum();
        self.faults.capacity_bytes.saturating_sub(used as u64)
    }

    /// What a loss of power leaves.
    pub(crate) fn lose_power(&mut self, mut random: impl FnMut() -> u64) {
        for inode in self.inodes.values_mut() {
            inode.lose_power(&mut random);
        }
        for (_, changes) in std::mem::take(&mut self.pending) {
            // A directory's changes reach the disk in order: some first ones did.
            let survived = (random() % (changes.len() as u64 + 1)) as usize;
            for change in &changes[..survived] {
                self.durable.apply(change);
            }
        }
        self.now.files = self.durable.files.clone();
        self.now.dirs = self.durable.dirs.clone();
        self.forget_unnamed();
    }

    /// Frees what has no name any more; call it when no file is open.
    pub(crate) fn forget_unnamed(&mut self) {
        let named: BTreeSet<InodeId> = self.now.files.values().chain(self.durable.files.values()).copied().collect();
        let pending: BTreeSet<InodeId> = self
            .pending
            .values()
            .flatten()
            .filter_map(|c| match c {
                NameChange::Link(_, inode) | NameChange::Rename(_, _, inode) => Some(*inode),
                NameChange::Unlink(_) => None,
            })
            .collect();
        self.inodes.retain(|id, _| named.contains(id) || pending.contains(id));
    }
}

impl Inode {
    fn sync(&mut self) {
        self.durable.resize(self.data.len(), 0);
        for (from, to) in self.dirty.drain(..) {
            let to = to.min(self.data.len());
            if from < to {
                self.durable[from..to].copy_from_slice(&self.data[from..to]);
            }
        }
    }

    fn lose_power(&mut self, random: &mut impl FnMut() -> u64) {
        if self.dirty.is_empty() && self.data.len() == self.durable.len() {
            return;
        }
        let (old, new) = (self.durable.len(), self.data.len());
        // The length is metadata of its own: anything between the synced and the current one.
        let length = old.min(new) + (random() % (old.abs_diff(new) as u64 + 1)) as usize;
        self.durable.resize(length, 0);
        for (from, to) in std::mem::take(&mut self.dirty) {
            let to = to.min(length).min(new);
            let mut at = from;
            while at < to {
                let end = to.min((at / SECTOR_BYTES + 1) * SECTOR_BYTES);
                if random().is_multiple_of(2) {
                    self.durable[at..end].copy_from_slice(&self.data[at..end]);
                }
                at = end;
            }
        }
        self.data = self.durable.clone();
    }
}

/// An open file of a simulated node, in one life.
#[derive(Clone, Debug)]
pub(crate) struct SimFile {
    fs: SimFs,
    inode: InodeId,
}

impl SimFile {
    fn with<T>(&self, writes: bool, act: impl FnOnce(&mut Inode, u64) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.fs.operation(writes)?;
        let free = disk.free_bytes();
        let inode = disk.inodes.get_mut(&self.inode).expect("an open file keeps its inode");
        act(inode, free)
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(false, |inode, _| {
            let from = (position as usize).min(inode.data.len());
            let n = buffer.len().min(inode.data.len() - from);
            buffer[..n].copy_from_slice(&inode.data[from..from + n]);
            Ok(n)
        })
    }

    pub(crate) fn write_all_vectored_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        let total: usize = parts.iter().map(|p| p.len()).sum();
        self.with(true, |inode, free| {
            let (from, to) = (position as usize, position as usize + total);
            let grows = to.saturating_sub(inode.data.len()) as u64;
            if grows > free {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            if inode.data.len() < to {
                inode.data.resize(to, 0);
            }
            let mut at = from;
            for part in parts {
                inode.data[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            inode.dirty.push((from, to));
            Ok(())
        })
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.with(true, |inode, _| {
            inode.sync();
            Ok(())
        })
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.with(false, |inode, _| Ok(inode.data.len() as u64))
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(true, |inode, _| {
            let before = inode.data.len();
            inode.data.resize(length as usize, 0);
            // What is cut off and written again must not come back as it was.
            inode.dirty.push((before.min(length as usize), before.max(length as usize)));
            Ok(())
        })
    }

    pub(crate) fn lock(&self) -> io::Result<()> {
        let mut disk = self.fs.operation(true)?;
        let inode = disk.inodes.get_mut(&self.inode).expect("an open file keeps its inode");
        if self.fs.is_locked(inode) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inode.locked_by = Some(self.fs.life);
        Ok(())
    }

    pub(crate) fn unlock(&self) {
        let mut disk = self.fs.disk.lock().expect("nobody panics while holding it");
        if let Some(inode) = disk.inodes.get_mut(&self.inode) {
            inode.locked_by = None;
        }
    }

    pub(crate) fn is_same(&self, other: &SimFile) -> bool {
        self.inode == other.inode && self.fs.life == other.fs.life
    }
}
