//! A node's simulated files: what the page cache has, and what a loss of power leaves.
//!
//!     directory  now:     a -> 7, b -> 9          file 7  data:    current bytes
//!                durable: a -> 7                          durable: bytes of the last sync
//!                pending: set b -> 9                      dirty:   ranges written since
//!
//! Directories are files too: a name that was made, renamed or removed is durable once *its* directory is synced, and a
//! synced file in a directory whose own name is lost is lost. When power goes, of each file the unsynced sectors survive
//! one by one, of each directory the oldest unsynced changes, by the seed. A sync that fails as such (`sync_errors_per_million`) forgets
//! what it did not write, as Linux does: a later sync does not bring it back, nor does a restart of the process.

mod tree;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use self::tree::{Entry, FileState, Inode, InodeId, Tree, not_found};
use super::executor::{BYTES_WRITTEN, DISK, Executor, Life, fingerprint};
use super::world::CrashKind;
use crate::fs::FileKind;
use crate::sim::DiskFaults;
use crate::{File, OpenMode};

/// The disk of one node; it outlives the node's lives.
#[derive(Default)]
pub(crate) struct DiskState {
    tree: Tree,
    pub(crate) faults: DiskFaults,
    /// After so many more operations the node dies in the middle of a job.
    pub(crate) operations_until_crash: Option<(u64, CrashKind)>,
    /// Set when that happened: every further operation of this life fails.
    pub(crate) crashed_in_job: Option<CrashKind>,
}

pub(crate) type SharedDisk = Arc<Mutex<DiskState>>;

impl DiskState {
    /// What a crash leaves: all of the page cache, or what the seed says of what was not synced.
    pub(crate) fn crash(&mut self, kind: CrashKind, random: impl FnMut() -> u64) {
        self.operations_until_crash = None;
        self.crashed_in_job = None;
        match kind {
            CrashKind::Process => self.tree.sweep(false),
            CrashKind::Power => self.tree.lose_power(random),
        }
    }

    fn free_bytes(&self) -> u64 {
        match self.faults.capacity_bytes {
            u64::MAX => u64::MAX,
            capacity => capacity.saturating_sub(self.tree.used_bytes()),
        }
    }
}

/// What is done to the disk, for the trace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Look,
    ReadBytes,
    Write,
    Sync,
    Names,
}

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

fn crashed() -> io::Error {
    io::Error::other("the node has crashed")
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl SimFs {
    pub(crate) fn new(disk: SharedDisk, executor: Arc<Executor>, life: Life) -> SimFs {
        SimFs { disk, executor, life }
    }

    /// The disk, and how this operation fails if it does so by the seed. An error if this life is over.
    fn begin(
        &self,
        what: Operation,
        about: u64,
    ) -> io::Result<(MutexGuard<'_, DiskState>, Option<io::Error>)> {
        if !self.executor.is_alive(self.life) {
            return Err(crashed());
        }
        self.executor.trace(&[DISK, what as u64, about]);
        let dice = self.executor.random() % 1_000_000;
        let mut disk = self.disk.lock().expect("nobody panics while holding it");
        if disk.crashed_in_job.is_some() {
            return Err(crashed());
        }
        match disk.operations_until_crash {
            Some((0, kind)) => {
                disk.operations_until_crash = None;
                disk.crashed_in_job = Some(kind);
                return Ok((disk, Some(crashed())));
            }
            Some((left, kind)) => disk.operations_until_crash = Some((left - 1, kind)),
            None => {}
        }
        let failing = match what {
            Operation::Look | Operation::ReadBytes => disk.faults.read_errors_per_million,
            Operation::Write | Operation::Names => disk.faults.write_errors_per_million,
            Operation::Sync => disk.faults.write_errors_per_million.max(disk.faults.sync_errors_per_million),
        };
        let error = (dice < failing).then(|| io::Error::from_raw_os_error(libc::EIO));
        Ok((disk, error))
    }

    /// The disk, if the operation goes well.
    fn operation(&self, what: Operation, path: &Path) -> io::Result<MutexGuard<'_, DiskState>> {
        let (disk, error) = self.begin(what, fingerprint(path.as_os_str().as_encoded_bytes()))?;
        error.map_or(Ok(disk), Err)
    }

    pub(crate) fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let makes = matches!(mode, OpenMode::Create | OpenMode::CreateNew);
        let what = if makes { Operation::Names } else { Operation::Look };
        let mut disk = self.operation(what, path)?;
        let id = match (disk.tree.find(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), _) => id,
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(not_found(path)),
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                if disk.free_bytes() == 0 {
                    return Err(no_space());
                }
                disk.tree.make(path, Inode::File(FileState::default()))?
            }
        };
        let open = disk.tree.file(id)?.open();
        drop(disk);
        Ok(File(FileKind::Sim(SimFile { fs: self.clone(), id, open })))
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operation(Operation::Names, path)?.tree.make_dirs(path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(Operation::Names, to)?.tree.rename(from, to)
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation(Operation::Names, path)?.tree.remove_file(path)
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operation(Operation::Names, path)?.tree.remove_dir_all(path)
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.operation(Operation::Look, path)?.tree.list(path)
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.operation(Operation::Look, path).is_ok_and(|disk| disk.tree.find(path).is_some())
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.operation(Operation::Look, path).is_ok_and(|disk| disk.tree.is_dir(path))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(Operation::Sync, path)?.tree.sync_dir(path)
    }

    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.disk.lock().expect("nobody panics while holding it").faults.capacity_bytes
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.disk.lock().expect("nobody panics while holding it").free_bytes()
    }
}

/// An open file of a simulated node, in one life.
#[derive(Clone, Debug)]
pub(crate) struct SimFile {
    fs: SimFs,
    id: InodeId,
    /// Keeps the inode while it has no name.
    open: Arc<Entry>,
}

impl SimFile {
    fn with<T>(&self, what: Operation, act: impl FnOnce(&mut FileState) -> T) -> io::Result<T> {
        let (mut disk, error) = self.fs.begin(what, self.id)?;
        match error {
            Some(error) => Err(error),
            None => Ok(act(disk.tree.file(self.id)?)),
        }
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(Operation::ReadBytes, |file| file.read_at(buffer, position as usize))
    }

    /// A write that fails may have written its first part.
    pub(crate) fn write_all_vectored_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        let total: usize = parts.iter().map(|p| p.len()).sum();
        for part in parts {
            self.fs.executor.trace(&[BYTES_WRITTEN, position, fingerprint(part)]);
        }
        let part = self.fs.executor.below(total as u64 + 1) as usize;
        let (mut disk, error) = self.fs.begin(Operation::Write, self.id)?;
        let free = disk.free_bytes();
        let file = disk.tree.file(self.id)?;
        let grows = (position as usize + total).saturating_sub(file.len()) as u64;
        let result = match error {
            None if grows <= free => Ok(total),
            None => Err((no_space(), total.saturating_sub((grows - free) as usize).min(part))),
            Some(error) => Err((error, if grows <= free { part } else { 0 })),
        };
        match result {
            Ok(all) => {
                file.write_at(parts, all, position as usize);
                Ok(())
            }
            Err((error, some)) => {
                file.write_at(parts, some, position as usize);
                Err(error)
            }
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let (mut disk, error) = self.fs.begin(Operation::Sync, self.id)?;
        let forgets = disk.faults.sync_errors_per_million > 0 && disk.crashed_in_job.is_none();
        let file = disk.tree.file(self.id)?;
        match error {
            Some(error) => {
                if forgets {
                    file.forget_dirty();
                }
                Err(error)
            }
            None => {
                file.sync();
                Ok(())
            }
        }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.with(Operation::Look, |file| file.len() as u64)
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(Operation::Write, |file| file.set_len(length as usize))
    }

    pub(crate) fn lock(&self) -> io::Result<()> {
        let executor = Arc::clone(&self.fs.executor);
        let life = self.fs.life;
        self.with(Operation::Look, |file| {
            if file.locked_by.is_some_and(|holder| executor.is_alive(holder)) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            file.locked_by = Some(life);
            Ok(())
        })?
    }

    /// The guard of a life that is over unlocks nothing.
    pub(crate) fn unlock(&self) {
        let mut disk = self.fs.disk.lock().expect("nobody panics while holding it");
        if let Ok(file) = disk.tree.file(self.id)
            && file.locked_by == Some(self.fs.life)
        {
            file.locked_by = None;
        }
    }

    pub(crate) fn is_same(&self, other: &SimFile) -> bool {
        Arc::ptr_eq(&self.open, &other.open)
    }
}
