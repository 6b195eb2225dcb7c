//! Files, as a job sees them: synchronous, and reachable only inside `Disk::run` and `Disk::read`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::real;
use crate::sim;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; made if it does not exist, kept as it is if it does.
    Create,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// The file system of a node.
#[derive(Clone, Debug)]
pub struct Fs(pub(crate) FsKind);

#[derive(Clone, Debug)]
pub(crate) enum FsKind {
    Real,
    Sim(sim::SimFs),
}

/// An open file. Cloning shares it; it is closed with its last clone.
#[derive(Clone, Debug)]
pub struct File(pub(crate) FileKind);

#[derive(Clone, Debug)]
pub(crate) enum FileKind {
    Real(Arc<std::os::fd::OwnedFd>),
    Sim(sim::SimFile),
}

/// Holds an exclusive lock on a file until it is dropped.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // The kernel unlocks a real file when it is closed.
        if let FileKind::Sim(file) = &self.file.0 {
            file.unlock();
        }
    }
}

macro_rules! either {
    ($self:expr, $real:expr, $sim:ident => $simulated:expr) => {
        match &$self.0 {
            FsKind::Real => $real,
            FsKind::Sim($sim) => $simulated,
        }
    };
}

impl Fs {
    pub fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        either!(self, real::fs::open(path, mode), s => s.open(path, mode))
    }

    /// Makes a directory and those above it. Their names are durable once the parents are synced.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        either!(self, real::fs::create_dir_all(path), s => s.create_dir_all(path))
    }

    /// Replaces `to` if it exists. Durable once the directory is synced.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        either!(self, real::fs::rename(from, to), s => s.rename(from, to))
    }

    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        either!(self, real::fs::remove_file(path), s => s.remove_file(path))
    }

    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        either!(self, real::fs::remove_dir_all(path), s => s.remove_dir_all(path))
    }

    /// The names in a directory, sorted.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        either!(self, real::fs::list(path), s => s.list(path))
    }

    pub fn exists(&self, path: &Path) -> bool {
        either!(self, path.exists(), s => s.exists(path))
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        either!(self, path.is_dir(), s => s.is_dir(path))
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        either!(self, real::fs::sync_dir(path), s => s.sync_dir(path))
    }

    /// Bytes that may still be written to the file system of `path`.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        either!(self, real::fs::free_bytes(path), s => Ok(s.free_bytes()))
    }

    /// The size of the file system of `path`, and how much of it may still be written.
    pub fn room_bytes(&self, path: &Path) -> io::Result<(u64, u64)> {
        either!(self, real::fs::room_bytes(path), s => Ok((s.capacity_bytes(), s.free_bytes())))
    }

    pub fn read_to_end(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Replaces a small file as a whole: written aside, synced, renamed, its directory synced. Afterwards it is durable;
    /// after a crash it is the old or the new one.
    pub fn atomic_write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".tmp");
        let aside = Path::new(&aside);
        let file = self.open(aside, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.rename(aside, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Locks a file against other processes (and other nodes), making it if need be. `WouldBlock` if somebody has it.
    pub fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let file = self.open(path, OpenMode::Create)?;
        match &file.0 {
            FileKind::Real(fd) => real::fs::lock(fd)?,
            FileKind::Sim(f) => f.lock()?,
        }
        Ok(LockGuard { file })
    }
}

impl File {
    /// Reads at most `buffer.len()` bytes at `position`; 0 at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match &self.0 {
            FileKind::Real(fd) => real::fs::read_at(fd, buffer, position),
            FileKind::Sim(f) => f.read_at(buffer, position),
        }
    }

    /// Fills `buffer`, or fails with `UnexpectedEof`.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut position: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, position)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    buffer = &mut buffer[n..];
                    position += n as u64;
                }
            }
        }
        Ok(())
    }

    pub fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_vectored_at(&[bytes], position)
    }

    /// Writes all parts one after the other, in one system call where the kernel takes them.
    pub fn write_all_vectored_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(fd) => real::fs::write_all_vectored_at(fd, parts, position),
            FileKind::Sim(f) => f.write_all_vectored_at(parts, position),
        }
    }

    /// fdatasync: what was written, and the length, survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(fd) => Ok(rustix::fs::fdatasync(fd)?),
            FileKind::Sim(f) => f.sync(),
        }
    }

    pub fn len(&self) -> io::Result<u64> {
        match &self.0 {
            FileKind::Real(fd) => Ok(rustix::fs::fstat(fd)?.st_size as u64),
            FileKind::Sim(f) => f.len(),
        }
    }

    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    pub fn set_len(&self, length: u64) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(fd) => Ok(rustix::fs::ftruncate(fd, length)?),
            FileKind::Sim(f) => f.set_len(length),
        }
    }

    /// Takes room for the first `bytes` of the file on the disk, without making it longer. A file system that cannot do
    /// that does nothing; cutting the file to its length gives the room back.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(fd) => real::fs::reserve(fd, bytes),
            FileKind::Sim(_) => Ok(()),
        }
    }

    /// Whether both are the same open file.
    pub fn is_same(&self, other: &File) -> bool {
        match (&self.0, &other.0) {
            (FileKind::Real(a), FileKind::Real(b)) => Arc::ptr_eq(a, b),
            (FileKind::Sim(a), FileKind::Sim(b)) => a.is_same(b),
            _ => false,
        }
    }
}
