//! Raft's log and vote: in memory for reading, below the kv seam for keeping.
//!
//! ```text
//!   append --> mirror (readable at once) --> queue --> writer: merges what waits into one kv batch, one fsync
//!                                                         '--> callbacks, in the order of the appends
//!   keys:  v = vote   c = committed   p = last purged   l + index u64 = entry   s = snapshot meta   S + part u32 = its bytes
//! ```
//!
//! **Invariant:** the disk sees votes, appends, truncations and purges in exactly the order in which openraft asked for
//! them, and a callback runs only after the fsync that covers its entries. After a failed write everything fails.
//!
//! The mirror holds the entries since the last purge; snapshots bound it (`bounds::CONTROLLER_LOG_*`).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use host::Disk;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use protocol::{Decoder, Encoder, bounds};
use tokio::sync::{mpsc, oneshot};

use super::codec;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::kv::{Batch, Kv};

const VOTE: &[u8] = b"v";
const COMMITTED: &[u8] = b"c";
const PURGED: &[u8] = b"p";
const LOG: u8 = b'l';
const SNAPSHOT_META: &[u8] = b"s";
const SNAPSHOT_PART: u8 = b'S';

/// The log store: a cheap handle, shared with its readers and with the state machine (which keeps its snapshots here).
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    mirror: Mutex<Mirror>,
    writes: mpsc::Sender<Write>,
}

#[derive(Default)]
struct Mirror {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
    entries_bytes: usize,
    snapshot: Option<(Bytes, Bytes)>,
    /// Index of the last entry in the newest snapshot that was given to `save_snapshot`.
    snapshot_index: Option<u64>,
}

/// One write on its way to the disk.
struct Write {
    batch: Batch,
    sync: bool,
    done: Done,
}

enum Done {
    Nobody,
    Appended(IOFlushed<TypeConfig>),
    Waiting(oneshot::Sender<io::Result<()>>),
    /// The last one: the store is closed after it.
    Closing(oneshot::Sender<()>),
}

fn entry_key(index: u64) -> Bytes {
    let mut key = Vec::with_capacity(9);
    key.push(LOG);
    key.extend_from_slice(&index.to_be_bytes());
    key.into()
}

fn part_key(part: u32) -> Bytes {
    let mut key = Vec::with_capacity(5);
    key.push(SNAPSHOT_PART);
    key.extend_from_slice(&part.to_be_bytes());
    key.into()
}

fn encoded(put: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut out = Encoder::new();
    put(&mut out);
    codec::finish(out)
}

fn decoded<T>(
    bytes: Option<Bytes>,
    take: impl FnOnce(&mut Decoder) -> Result<T, protocol::DecodeError>,
) -> io::Result<Option<T>> {
    bytes.map(|b| take(&mut Decoder::new(b)).map_err(io::Error::other)).transpose()
}

impl Mirror {
    fn load(kv: &dyn Kv, fs: &host::Fs) -> io::Result<Mirror> {
        let mut mirror = Mirror {
            vote: decoded(kv.get(fs, VOTE)?, codec::vote)?,
            committed: decoded(kv.get(fs, COMMITTED)?, codec::log_id)?,
            purged: decoded(kv.get(fs, PURGED)?, codec::log_id)?,
            ..Mirror::default()
        };
        for (_, value) in kv.scan(fs, &entry_key(0), &[LOG + 1])? {
            let entry = codec::entry(&mut Decoder::new(value)).map_err(io::Error::other)?;
            mirror.insert(entry);
        }
        mirror.check_no_hole()?;
        if let Some(meta) = kv.get(fs, SNAPSHOT_META)? {
            let mut bytes = bytes::BytesMut::new();
            for (_, part) in kv.scan(fs, &part_key(0), &[SNAPSHOT_PART + 1])? {
                bytes.extend_from_slice(&part);
            }
            mirror.snapshot = Some((meta, bytes.freeze()));
        }
        Ok(mirror)
    }

    fn check_no_hole(&self) -> io::Result<()> {
        let mut next = self.purged.map(|id| id.index + 1);
        for index in self.entries.keys() {
            if next.is_some_and(|next| next != *index) {
                return Err(io::Error::other(format!("the metadata log has a hole before entry {index}")));
            }
            next = Some(index + 1);
        }
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        self.entries_bytes += codec::entry_bytes(&entry);
        if let Some(old) = self.entries.insert(entry.log_id.index, entry) {
            self.entries_bytes -= codec::entry_bytes(&old);
        }
    }

    fn remove(&mut self, range: impl RangeBounds<u64>) {
        let gone: Vec<u64> = self.entries.range(range).map(|(index, _)| *index).collect();
        for index in gone {
            if let Some(old) = self.entries.remove(&index) {
                self.entries_bytes -= codec::entry_bytes(&old);
            }
        }
    }
}

/// The first and the last index (exclusive) of a range.
fn ends(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end.max(start))
}

impl LogStore {
    /// Loads what is on disk and starts the writer, a task of `host` that ends when the last handle is dropped.
    pub async fn open(host: &host::Host, disk: Disk, kv: Arc<dyn Kv>) -> io::Result<LogStore> {
        let reading = kv.clone();
        let mirror =
            disk.run_slow(move |fs| Mirror::load(&*reading, fs)).await.map_err(io::Error::other)??;
        let (writes, queue) = mpsc::channel(bounds::CONTROLLER_LOG_WRITES_MAX);
        host.spawn("raft log writer", write_loop(disk, kv, queue));
        Ok(LogStore { shared: Arc::new(Shared { mirror: Mutex::new(mirror), writes }) })
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.shared.mirror.lock().expect("no code that holds this lock panics")
    }

    /// Bytes of the entries that are held in memory.
    pub fn entries_bytes(&self) -> usize {
        self.mirror().entries_bytes
    }

    /// The stored snapshot: its meta and its bytes.
    pub fn snapshot(&self) -> Option<(Bytes, Bytes)> {
        self.mirror().snapshot.clone()
    }

    /// Replaces the stored snapshot, durably. One that was overtaken (built while a newer one came from the leader) is
    /// not stored; `last_index` is the last entry in it.
    pub async fn save_snapshot(&self, last_index: Option<u64>, meta: Bytes, bytes: Bytes) -> io::Result<()> {
        {
            let mut mirror = self.mirror();
            if mirror.snapshot_index > last_index {
                return Ok(());
            }
            mirror.snapshot_index = last_index;
        }
        let mut batch = Batch::default();
        batch.delete_range(part_key(0), vec![SNAPSHOT_PART + 1]);
        let parts = bytes.chunks(bounds::CONTROLLER_SNAPSHOT_CHUNK_BYTES_MAX);
        for (n, part) in parts.enumerate() {
            batch.put(part_key(n as u32), bytes.slice_ref(part));
        }
        batch.put(SNAPSHOT_META, meta.clone());
        self.write_and_wait(batch, true).await?;
        let mut mirror = self.mirror();
        if mirror.snapshot_index == last_index {
            mirror.snapshot = Some((meta, bytes));
        }
        Ok(())
    }

    /// Writes what is queued and closes the store. Whatever comes afterwards fails.
    pub async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        let last = Write { batch: Batch::default(), sync: false, done: Done::Closing(sender) };
        if self.send(last).await.is_ok() {
            // The writer is gone if the node's disk is.
            let _ = closed.await;
        }
    }

    async fn send(&self, write: Write) -> io::Result<()> {
        self.shared
            .writes
            .send(write)
            .await
            .map_err(|_| io::Error::other("the writer of the metadata log has ended"))
    }

    async fn write_and_wait(&self, batch: Batch, sync: bool) -> io::Result<()> {
        let (sender, done) = oneshot::channel();
        self.send(Write { batch, sync, done: Done::Waiting(sender) }).await?;
        done.await.map_err(io::Error::other)?
    }
}

/// Writes what is queued, as much as has gathered at a time: that is group commit.
async fn write_loop(disk: Disk, kv: Arc<dyn Kv>, mut queue: mpsc::Receiver<Write>) {
    let mut failed: Option<String> = None;
    while let Some(first) = queue.recv().await {
        let Write { mut batch, mut sync, done } = first;
        let mut waiting = vec![done];
        while let Ok(next) = queue.try_recv() {
            batch.extend(next.batch);
            sync |= next.sync;
            waiting.push(next.done);
        }
        if failed.is_none() {
            let kv = kv.clone();
            let written = disk.run_slow(move |fs| kv.write(fs, &batch, sync)).await;
            let error = match written {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(e.to_string()),
                Err(e) => Some(e.to_string()),
            };
            if let Some(error) = &error {
                tracing::error!(%error, "the metadata log cannot be written: this controller stops");
            }
            failed = error;
        }
        let mut closing = None;
        for done in waiting {
            let result = failed.as_ref().map_or(Ok(()), |e| Err(io::Error::other(e.clone())));
            match done {
                Done::Nobody => {}
                Done::Appended(callback) => callback.io_completed(result),
                Done::Waiting(sender) => {
                    // Whoever gave up waiting does not need the answer.
                    let _ = sender.send(result);
                }
                Done::Closing(sender) => closing = Some(sender),
            }
        }
        if let Some(sender) = closing {
            // Closing a database writes: that too is a job.
            let _ = disk.run_slow(move |_| drop(kv)).await;
            let _ = sender.send(());
            return;
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = ends(&range);
        Ok(self.mirror().entries.range(start..end).map(|(_, entry)| entry.clone()).collect())
    }

    /// As many entries as fit in one request, and at least one.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mirror = self.mirror();
        let mut room = bounds::CONTROLLER_APPEND_BYTES_MAX;
        let mut entries = Vec::new();
        for (_, entry) in mirror.entries.range(start..end.max(start)) {
            let bytes = codec::entry_bytes(entry);
            if !entries.is_empty() && bytes > room {
                break;
            }
            room = room.saturating_sub(bytes);
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.mirror().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let mirror = self.mirror();
        let last = mirror.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: mirror.purged, last_log_id: last.or(mirror.purged) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        batch.put(VOTE, encoded(|out| codec::put_vote(out, vote)));
        self.write_and_wait(batch, true).await?;
        self.mirror().vote = Some(*vote);
        Ok(())
    }

    /// Not synced: it only shortens recovery, and what it says is confirmed by a quorum anyway.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        match &committed {
            Some(id) => batch.put(COMMITTED, encoded(|out| codec::put_log_id(out, id))),
            None => batch.delete(COMMITTED),
        }
        self.mirror().committed = committed;
        self.send(Write { batch, sync: false, done: Done::Nobody }).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.mirror().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        {
            let mut mirror = self.mirror();
            for entry in entries {
                batch.put(entry_key(entry.log_id.index), encoded(|out| codec::put_entry(out, &entry)));
                mirror.insert(entry);
            }
        }
        self.send(Write { batch, sync: true, done: Done::Appended(callback) }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let first_gone = last.map_or(0, |id| id.index + 1);
        self.mirror().remove(first_gone..);
        let mut batch = Batch::default();
        batch.delete_range(entry_key(first_gone), vec![LOG + 1]);
        self.write_and_wait(batch, true).await
    }

    /// Not synced: entries that come back after a crash are purged again.
    async fn purge(&mut self, up_to: LogId) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        {
            let mut mirror = self.mirror();
            mirror.remove(..=up_to.index);
            mirror.purged = Some(up_to);
        }
        batch.put(PURGED, encoded(|out| codec::put_log_id(out, &up_to)));
        batch.delete_range(entry_key(0), entry_key(up_to.index + 1));
        self.send(Write { batch, sync: false, done: Done::Nobody }).await
    }
}
