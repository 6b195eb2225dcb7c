//! The state of a log's producers as a file: `00000000000000001200.snapshot`, Kafka's format.
//!
//!     [version i16 = 1][crc32c u32 of what follows][entries: count i32, then 52 bytes each]
//!
//! The name is the offset up to which the log is in it. A log opens with its newest snapshot and the batches after it.
//!
//! Kafka has one entry of each producer, its newest batch; after a restart it cannot tell the other four from a gap, and a
//! client that sends them again writes them twice. Here a producer has an entry for each batch that is kept of it, the newest
//! last: Kafka's loader takes the last one that it reads (`ProducerStateManager.loadProducerEntry`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use host::{File, Fs};
use protocol::batch::NO_SEQUENCE;
use protocol::messages::ProducerSnapshot;
use protocol::messages::producer_snapshot::ProducerEntry;
use protocol::{Decoder, Encoder, Message};

use crate::producer_state::{Producer, ProducerBatch, ProducerState};

const VERSION: i16 = 1;
/// Version and CRC: what the CRC does not cover.
const CRC_COVERS_FROM: usize = 6;

pub(crate) fn path(dir: &Path, offset: i64) -> PathBuf {
    dir.join(format!("{offset:020}.snapshot"))
}

/// The offsets of the snapshots in a log's directory, ascending.
pub(crate) fn list(names: &[String]) -> Vec<i64> {
    names.iter().filter_map(|n| n.strip_suffix(".snapshot")?.parse().ok()).collect()
}

/// The entries of a producer, the oldest batch first.
fn entries(id: i64, producer: &Producer) -> impl Iterator<Item = ProducerEntry> {
    let without_batch = ProducerEntry {
        producer_id: id,
        epoch: producer.epoch,
        last_sequence: NO_SEQUENCE,
        last_offset: -1,
        offset_delta: 0,
        timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_first_offset: producer.transaction_first_offset.unwrap_or(-1),
    };
    let newest = producer.batches.len().saturating_sub(1);
    let of_batches = producer.batches.iter().enumerate().map({
        let without_batch = without_batch.clone();
        move |(at, batch)| ProducerEntry {
            last_sequence: batch.last_sequence,
            last_offset: batch.last_offset,
            offset_delta: batch.offset_delta,
            timestamp: if at == newest { producer.last_timestamp } else { batch.timestamp },
            ..without_batch.clone()
        }
    });
    of_batches.chain(producer.batches.is_empty().then_some(without_batch))
}

pub(crate) fn write(fs: &Fs, dir: &Path, offset: i64, state: &ProducerState, sync: bool) -> io::Result<()> {
    let entries = state.producers().iter().flat_map(|(id, producer)| entries(*id, producer));
    let snapshot =
        ProducerSnapshot { crc: 0, producer_entries: entries.collect(), ..ProducerSnapshot::default() };
    let mut out = Encoder::new();
    out.i16(VERSION);
    snapshot.encode(&mut out, VERSION).map_err(io::Error::other)?;
    let mut bytes = out.into_bytes().expect("it is in memory").to_vec();
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[2..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
    let file = fs.open(&path(dir, offset), host::OpenMode::Create)?;
    file.set_len(0)?;
    file.write_all_at(&bytes, 0)?;
    if sync {
        file.sync()?;
    }
    Ok(())
}

/// The file of a snapshot, if there is one.
pub(crate) fn file(fs: &Fs, dir: &Path, offset: i64) -> io::Result<Option<File>> {
    let path = path(dir, offset);
    if fs.exists(&path) { fs.open(&path, host::OpenMode::ReadWrite).map(Some) } else { Ok(None) }
}

/// Reads a snapshot; None if it is not sound: then an older one has to do.
pub(crate) fn read(fs: &Fs, dir: &Path, offset: i64) -> io::Result<Option<ProducerState>> {
    let bytes = Bytes::from(fs.read_to_end(&path(dir, offset))?);
    let mut input = Decoder::new(bytes.clone());
    if bytes.len() < CRC_COVERS_FROM || input.i16() != Ok(VERSION) {
        return Ok(None);
    }
    let Ok(snapshot) = ProducerSnapshot::decode(&mut input, VERSION) else { return Ok(None) };
    if snapshot.crc != crc32c::crc32c(&bytes[CRC_COVERS_FROM..]) {
        return Ok(None);
    }
    let mut producers: BTreeMap<i64, Producer> = BTreeMap::new();
    for entry in snapshot.producer_entries {
        let batch = ProducerBatch {
            last_sequence: entry.last_sequence,
            last_offset: entry.last_offset,
            offset_delta: entry.offset_delta,
            timestamp: entry.timestamp,
        };
        let mut batches = producers.remove(&entry.producer_id).map(|older| older.batches).unwrap_or_default();
        if entry.last_offset >= 0 {
            batches.push_back(batch);
        }
        let producer = Producer {
            epoch: entry.epoch,
            batches,
            coordinator_epoch: entry.coordinator_epoch,
            last_timestamp: entry.timestamp,
            transaction_first_offset: (entry.current_txn_first_offset >= 0)
                .then_some(entry.current_txn_first_offset),
        };
        producers.insert(entry.producer_id, producer);
    }
    let mut state = ProducerState::default();
    producers.into_iter().for_each(|(id, producer)| state.restore(id, producer));
    Ok(Some(state))
}
