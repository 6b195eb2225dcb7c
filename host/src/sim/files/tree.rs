//! Directories and files with two states each: now, and after a loss of power. See `files`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Weak};

use crate::sim::executor::Life;

/// What the disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// After so many removals, what has no name any more is looked for.
const REMOVALS_UNTIL_SWEEP: usize = 64;

pub(super) type InodeId = u64;
const ROOT: InodeId = 0;

/// An opening of a file.
#[derive(Debug)]
pub(super) struct Entry;

pub(super) enum Inode {
    File(FileState),
    Dir(Dir),
}

#[derive(Default)]
pub(super) struct FileState {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
    pub(super) locked_by: Option<Life>,
    openings: Vec<Weak<Entry>>,
}

#[derive(Default)]
pub(super) struct Dir {
    now: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    /// Oldest first.
    pending: Vec<Change>,
}

/// A change of a directory that its sync makes durable.
#[derive(Clone, Debug)]
enum Change {
    Set(String, InodeId),
    Remove(String),
    /// Into this directory: both names change at once, or neither.
    Move {
        from_dir: InodeId,
        from: String,
        to: String,
        id: InodeId,
    },
}

pub(super) struct Tree {
    inodes: BTreeMap<InodeId, Inode>,
    next: InodeId,
    removals: usize,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { inodes: BTreeMap::from([(ROOT, Inode::Dir(Dir::default()))]), next: ROOT + 1, removals: 0 }
    }
}

pub(super) fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// The names on the way to `path`. The working directory of a simulated node is its root.
fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        Component::ParentDir => Some("..".to_owned()), // Never made, so never found.
        _ => None,
    })
}

impl Tree {
    fn dir(&mut self, id: InodeId) -> io::Result<&mut Dir> {
        match self.inodes.get_mut(&id) {
            Some(Inode::Dir(dir)) => Ok(dir),
            _ => Err(os_error(libc::ENOTDIR)),
        }
    }

    pub(super) fn file(&mut self, id: InodeId) -> io::Result<&mut FileState> {
        match self.inodes.get_mut(&id) {
            Some(Inode::File(file)) => Ok(file),
            Some(Inode::Dir(_)) => Err(os_error(libc::EISDIR)),
            None => Err(os_error(libc::ESTALE)),
        }
    }

    fn child(&self, dir: InodeId, name: &str) -> Option<InodeId> {
        match self.inodes.get(&dir) {
            Some(Inode::Dir(dir)) => dir.now.get(name).copied(),
            _ => None,
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<InodeId> {
        names(path).try_fold(ROOT, |dir, name| self.child(dir, &name))
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.find(path).is_some_and(|id| matches!(self.inodes.get(&id), Some(Inode::Dir(_))))
    }

    /// The directory that `path` is in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(InodeId, String)> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = names(path).last().ok_or_else(|| os_error(libc::EINVAL))?;
        Ok((self.find(parent).ok_or_else(|| not_found(parent))?, name))
    }

    fn change(&mut self, dir: InodeId, change: Change) -> io::Result<()> {
        if let Change::Move { from_dir, from, .. } = &change {
            self.dir(*from_dir)?.now.remove(from);
        }
        let dir = self.dir(dir)?;
        match &change {
            Change::Set(name, id) | Change::Move { to: name, id, .. } => {
                dir.now.insert(name.clone(), *id);
            }
            Change::Remove(name) => {
                dir.now.remove(name);
            }
        }
        dir.pending.push(change);
        Ok(())
    }

    /// Makes a file or a directory of a new name.
    pub(super) fn make(&mut self, path: &Path, inode: Inode) -> io::Result<InodeId> {
        let (dir, name) = self.place(path)?;
        let id = self.next;
        self.change(dir, Change::Set(name, id))?;
        self.next += 1;
        self.inodes.insert(id, inode);
        Ok(id)
    }

    pub(super) fn make_dirs(&mut self, path: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for path in above.into_iter().filter(|p| names(p).next().is_some()) {
            if self.find(path).is_none() {
                self.make(path, Inode::Dir(Dir::default()))?;
            } else if !self.is_dir(path) {
                return Err(os_error(libc::ENOTDIR));
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from).ok_or_else(|| not_found(from))?;
        let ((from_dir, from_name), (to_dir, to_name)) = (self.place(from)?, self.place(to)?);
        if let Some(replaced) = self.find(to) {
            if replaced == id {
                return Ok(());
            }
            match (&self.inodes[&id], &self.inodes[&replaced]) {
                (Inode::File(_), Inode::File(_)) => {}
                (Inode::Dir(_), Inode::Dir(old)) if old.now.is_empty() => {}
                (Inode::Dir(_), Inode::Dir(_)) => return Err(os_error(libc::ENOTEMPTY)),
                (Inode::File(_), Inode::Dir(_)) => return Err(os_error(libc::EISDIR)),
                (Inode::Dir(_), Inode::File(_)) => return Err(os_error(libc::ENOTDIR)),
            }
            self.removals += 1;
        }
        self.change(to_dir, Change::Move { from_dir, from: from_name, to: to_name, id })
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path).ok_or_else(|| not_found(path))?;
        self.file(id)?;
        self.removals += 1;
        let (dir, name) = self.place(path)?;
        self.change(dir, Change::Remove(name))
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path).ok_or_else(|| not_found(path))?;
        let inside: Vec<String> = self.dir(id)?.now.keys().cloned().collect();
        for name in inside {
            let path = path.join(name);
            if self.is_dir(&path) { self.remove_dir_all(&path)? } else { self.remove_file(&path)? }
        }
        let (dir, name) = self.place(path)?;
        self.change(dir, Change::Remove(name))
    }

    pub(super) fn list(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let id = self.find(path).ok_or_else(|| not_found(path))?;
        Ok(self.dir(id)?.now.keys().cloned().collect())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path).ok_or_else(|| not_found(path))?;
        for change in std::mem::take(&mut self.dir(id)?.pending) {
            self.make_durable(id, change);
        }
        if self.removals >= REMOVALS_UNTIL_SWEEP {
            self.sweep(true);
        }
        Ok(())
    }

    fn make_durable(&mut self, dir: InodeId, change: Change) {
        if let Change::Move { from_dir, from, id, .. } = &change
            && let Ok(source) = self.dir(*from_dir)
        {
            if source.durable.get(from) == Some(id) {
                source.durable.remove(from);
            }
            // What brought the old name must not bring it back.
            let is_old = |c: &Change| match c {
                Change::Set(name, i) | Change::Move { to: name, id: i, .. } => name == from && i == id,
                Change::Remove(_) => false,
            };
            source.pending.retain(|c| !is_old(c));
        }
        let Ok(dir) = self.dir(dir) else { return };
        match change {
            Change::Set(name, id) | Change::Move { to: name, id, .. } => drop(dir.durable.insert(name, id)),
            Change::Remove(name) => drop(dir.durable.remove(&name)),
        }
    }

    /// Bytes of files that have a name or are open.
    pub(super) fn used_bytes(&self) -> u64 {
        let mut named = BTreeSet::new();
        self.reach(&mut named, &|dir| dir.now.values().copied().collect());
        let used = self.inodes.iter().filter_map(|(id, inode)| match inode {
            Inode::File(file) if named.contains(id) || file.is_open() => Some(file.data.len() as u64),
            _ => None,
        });
        used.sum()
    }

    fn reach(&self, reached: &mut BTreeSet<InodeId>, children: &dyn Fn(&Dir) -> Vec<InodeId>) {
        let mut next = vec![ROOT];
        while let Some(id) = next.pop() {
            if reached.insert(id)
                && let Some(Inode::Dir(dir)) = self.inodes.get(&id)
            {
                next.extend(children(dir));
            }
        }
    }

    /// Forgets what has no name any more, now or after a loss of power. Open files are kept if `running`.
    pub(super) fn sweep(&mut self, running: bool) {
        let mut kept = BTreeSet::new();
        self.reach(&mut kept, &|dir| {
            let pending = dir.pending.iter().filter_map(|c| match c {
                Change::Set(_, id) | Change::Move { id, .. } => Some(*id),
                Change::Remove(_) => None,
            });
            dir.now.values().chain(dir.durable.values()).copied().chain(pending).collect()
        });
        self.inodes.retain(|id, inode| match inode {
            Inode::File(file) => kept.contains(id) || running && file.is_open(),
            Inode::Dir(_) => kept.contains(id),
        });
        self.removals = 0;
    }

    pub(super) fn lose_power(&mut self, mut random: impl FnMut() -> u64) {
        let ids: Vec<InodeId> = self.inodes.keys().copied().collect();
        for id in &ids {
            let pending = match self.inodes.get_mut(id) {
                Some(Inode::Dir(dir)) => std::mem::take(&mut dir.pending),
                Some(Inode::File(file)) => {
                    file.lose_power(&mut random);
                    continue;
                }
                None => continue,
            };
            // A directory's changes reach the disk in order: some first ones did.
            let survived = (random() % (pending.len() as u64 + 1)) as usize;
            for change in pending.into_iter().take(survived) {
                self.make_durable(*id, change);
            }
        }
        for inode in self.inodes.values_mut() {
            if let Inode::Dir(dir) = inode {
                dir.now = dir.durable.clone();
            }
        }
        self.sweep(false);
    }
}

impl FileState {
    pub(super) fn open(&mut self) -> Arc<Entry> {
        let opening = Arc::new(Entry);
        self.openings.retain(|o| o.strong_count() > 0);
        self.openings.push(Arc::downgrade(&opening));
        opening
    }

    fn is_open(&self) -> bool {
        self.openings.iter().any(|o| o.strong_count() > 0)
    }

    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], position: usize) -> usize {
        let from = position.min(self.data.len());
        let n = buffer.len().min(self.data.len() - from);
        buffer[..n].copy_from_slice(&self.data[from..from + n]);
        n
    }

    /// Writes the first `count` bytes of `parts`.
    pub(super) fn write_at(&mut self, parts: &[&[u8]], count: usize, position: usize) {
        let to = position + count;
        if count > 0 && self.data.len() < to {
            self.data.resize(to, 0);
        }
        let (mut at, mut left) = (position, count);
        for part in parts {
            let n = part.len().min(left);
            self.data[at..at + n].copy_from_slice(&part[..n]);
            at += n;
            left -= n;
        }
        self.mark_dirty(position, to);
    }

    fn mark_dirty(&mut self, from: usize, to: usize) {
        match self.dirty.last_mut() {
            // Logs are appended to: one range grows.
            Some(last) if last.1 == from => last.1 = to,
            _ if from < to => self.dirty.push((from, to)),
            _ => {}
        }
    }

    pub(super) fn set_len(&mut self, length: usize) {
        let before = self.data.len();
        self.data.resize(length, 0);
        // What is cut off and written again must not come back as it was.
        self.dirty.push((before.min(length), before.max(length)));
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.data.len(), 0);
        for (from, to) in self.dirty.drain(..) {
            let to = to.min(self.data.len());
            if from < to {
                self.durable[from..to].copy_from_slice(&self.data[from..to]);
            }
        }
    }

    /// A sync failed: the pages count as clean, and what they hold reaches the disk no more.
    pub(super) fn forget_dirty(&mut self) {
        self.dirty.clear();
    }

    fn lose_power(&mut self, random: &mut impl FnMut() -> u64) {
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
        self.data.clone_from(&self.durable);
        self.locked_by = None;
    }
}
