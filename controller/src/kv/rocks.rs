//! The seam over RocksDB, with the options of a small database: the metadata of a cluster is megabytes, not gigabytes.
//!
//! **Invariant:** every change goes through the write-ahead log, so `sync` on a batch makes all earlier ones durable too.

use std::io;
use std::path::Path;

use bytes::Bytes;
use host::Fs;
use protocol::bounds;
use rocksdb::{
    DB, DBCompressionType, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{Batch, Kv, Op};

pub struct Rocks {
    db: DB,
}

impl Rocks {
    pub fn open(dir: &Path) -> io::Result<Rocks> {
        let db = DB::open(&options(), dir).map_err(io::Error::other)?;
        Ok(Rocks { db })
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(bounds::CONTROLLER_KV_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_max_background_jobs(1);
    options.set_max_total_wal_size(4 * bounds::CONTROLLER_KV_BUFFER_BYTES as u64);
    options.set_max_open_files(64);
    options.set_compression_type(DBCompressionType::Lz4);
    // Each of these costs a thread, a file or a write while opening, and tells nothing about a database of this size.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options.set_keep_log_file_num(1);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(rocksdb::LogLevel::Warn);
    options
}

impl Kv for Rocks {
    fn write(&self, _fs: &Fs, batch: &Batch, sync: bool) -> io::Result<()> {
        let mut writes = WriteBatch::default();
        for op in batch.ops() {
            match op {
                Op::Put(key, value) => writes.put(key, value),
                Op::Delete(key) => writes.delete(key),
                Op::DeleteRange(from, to) => writes.delete_range(from, to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(writes, &options).map_err(io::Error::other)
    }

    fn get(&self, _fs: &Fs, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.db.get(key).map_err(io::Error::other)?.map(Bytes::from))
    }

    fn scan(&self, _fs: &Fs, from: &[u8], to: &[u8]) -> io::Result<Vec<(Bytes, Bytes)>> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to.to_vec());
        let entries = self.db.iterator_opt(IteratorMode::From(from, Direction::Forward), options);
        entries
            .map(|entry| entry.map(|(k, v)| (Bytes::from(k), Bytes::from(v))).map_err(io::Error::other))
            .collect()
    }
}
