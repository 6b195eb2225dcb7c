//! The seam over a file of the host: an ordered map in memory, and a journal of its batches.
//!
//! ```text
//!   kv.journal:  | length u32 | crc32c u32 | ops ... | length | crc32c | ops ... | <torn tail: cut off at open>
//!                                            op = kind u8, key, value, each with its length (u32)
//! ```
//!
//! **Invariant:** replaying the journal gives the map. Replay ends at the first frame that is short or does not match its
//! checksum: a torn write is always the last one, since whatever lay before a synced frame was synced with it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use host::{File, Fs, OpenMode};
use protocol::bounds;

use super::{Batch, Kv, Op};

const FRAME_HEADER_BYTES: usize = 8;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

pub struct Journal {
    dir: PathBuf,
    state: Mutex<State>,
}

struct State {
    map: BTreeMap<Bytes, Bytes>,
    /// Keys and values in the map.
    map_bytes: usize,
    file: File,
    end: u64,
    /// Set by a failed write: what the file holds is not known any more.
    failed: bool,
}

impl Journal {
    pub fn open(fs: &Fs, dir: &Path) -> io::Result<Journal> {
        let path = journal_path(dir);
        let file = fs.open(&path, OpenMode::Create)?;
        if file.is_empty()? {
            // Made just now, or by a life that ended before it had synced the name.
            fs.sync_dir(dir)?;
        }
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let mut rest = Bytes::from(bytes);
        let total = rest.len();
        let mut map = BTreeMap::new();
        let (mut map_bytes, mut end) = (0, 0);
        while let Some(ops) = next_frame(&mut rest) {
            for op in &ops {
                apply(&mut map, &mut map_bytes, op);
            }
            end = (total - rest.len()) as u64;
        }
        if end < total as u64 {
            // The torn tail must go before anything is appended, or a later replay could stop in front of it.
            file.set_len(end)?;
            file.sync()?;
        }
        Ok(Journal {
            dir: dir.to_owned(),
            state: Mutex::new(State { map, map_bytes, file, end, failed: false }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code that holds this lock panics")
    }
}

fn journal_path(dir: &Path) -> PathBuf {
    dir.join("kv.journal")
}

impl State {
    fn append(&mut self, ops: &[Op], sync: bool) -> io::Result<()> {
        let frame = frame(ops);
        self.file.write_all_at(&frame, self.end)?;
        if sync {
            self.file.sync()?;
        }
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Rewrites the journal when most of it is history.
    fn compact(&mut self, fs: &Fs, dir: &Path) -> io::Result<()> {
        let live = self.map_bytes as u64 + bounds::CONTROLLER_KV_BUFFER_BYTES as u64;
        if self.end < 2 * live {
            return Ok(());
        }
        let next = dir.join("kv.journal.next");
        let file = fs.open(&next, OpenMode::Create)?;
        file.set_len(0)?;
        let puts: Vec<Op> = self.map.iter().map(|(k, v)| Op::Put(k.clone(), v.clone())).collect();
        let frame = frame(&puts);
        file.write_all_at(&frame, 0)?;
        file.sync()?;
        fs.rename(&next, &journal_path(dir))?;
        fs.sync_dir(dir)?;
        self.file = file;
        self.end = frame.len() as u64;
        Ok(())
    }
}

fn apply(map: &mut BTreeMap<Bytes, Bytes>, map_bytes: &mut usize, op: &Op) {
    let mut remove = |map: &mut BTreeMap<Bytes, Bytes>, key: &Bytes| {
        if let Some(value) = map.remove(key) {
            *map_bytes -= key.len() + value.len();
        }
    };
    match op {
        Op::Put(key, value) => {
            remove(map, key);
            *map_bytes += key.len() + value.len();
            map.insert(key.clone(), value.clone());
        }
        Op::Delete(key) => remove(map, key),
        Op::DeleteRange(from, to) => {
            let gone: Vec<Bytes> = range(map, from, to).map(|(k, _)| k.clone()).collect();
            for key in gone {
                remove(map, &key);
            }
        }
    }
}

fn range<'a>(
    map: &'a BTreeMap<Bytes, Bytes>,
    from: &[u8],
    to: &[u8],
) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
    // An empty or turned range is no entries; `BTreeMap::range` would panic.
    let from = from.min(to);
    map.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
}

fn frame(ops: &[Op]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_bytes(0, FRAME_HEADER_BYTES);
    let field = |out: &mut BytesMut, bytes: &[u8]| {
        out.put_u32(
            u32::try_from(bytes.len()).expect("a value is smaller than a snapshot, which is bounded"),
        );
        out.put_slice(bytes);
    };
    for op in ops {
        let (kind, key, value): (u8, &[u8], &[u8]) = match op {
            Op::Put(key, value) => (PUT, key, value),
            Op::Delete(key) => (DELETE, key, &[]),
            Op::DeleteRange(from, to) => (DELETE_RANGE, from, to),
        };
        out.put_u8(kind);
        field(&mut out, key);
        field(&mut out, value);
    }
    let length = u32::try_from(out.len() - FRAME_HEADER_BYTES).expect("a batch is smaller than a snapshot");
    let crc = crc32c::crc32c(&out[FRAME_HEADER_BYTES..]);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out[4..8].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The next whole frame; None at the end and at a torn tail.
fn next_frame(rest: &mut Bytes) -> Option<Vec<Op>> {
    let mut ahead = rest.clone();
    let length = ahead.try_get_u32().ok()? as usize;
    let crc = ahead.try_get_u32().ok()?;
    if length == 0 || length > ahead.len() || crc32c::crc32c(&ahead[..length]) != crc {
        return None;
    }
    let mut body = ahead.split_to(length);
    let mut ops = Vec::new();
    while !body.is_empty() {
        let kind = body.try_get_u8().ok()?;
        let key = field(&mut body)?;
        let value = field(&mut body)?;
        ops.push(match kind {
            PUT => Op::Put(key, value),
            DELETE => Op::Delete(key),
            DELETE_RANGE => Op::DeleteRange(key, value),
            _ => return None,
        });
    }
    *rest = ahead;
    Some(ops)
}

fn field(body: &mut Bytes) -> Option<Bytes> {
    let length = body.try_get_u32().ok()? as usize;
    (length <= body.len()).then(|| body.split_to(length))
}

impl Kv for Journal {
    fn write(&self, fs: &Fs, batch: &Batch, sync: bool) -> io::Result<()> {
        let mut state = self.state();
        if state.failed {
            return Err(io::Error::other("an earlier write of the metadata log failed"));
        }
        // An empty batch with `sync` still makes what came before durable.
        let written = if batch.is_empty() {
            if sync { state.file.sync() } else { Ok(()) }
        } else {
            state.append(batch.ops(), sync)
        };
        state.failed = written.is_err();
        written?;
        let State { map, map_bytes, .. } = &mut *state;
        for op in batch.ops() {
            apply(map, map_bytes, op);
        }
        let compacted = state.compact(fs, &self.dir);
        state.failed = compacted.is_err();
        compacted
    }

    fn get(&self, _fs: &Fs, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.state().map.get(key).cloned())
    }

    fn scan(&self, _fs: &Fs, from: &[u8], to: &[u8]) -> io::Result<Vec<(Bytes, Bytes)>> {
        Ok(range(&self.state().map, from, to).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
