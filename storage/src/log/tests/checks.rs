//! Whether a log is what a model says, in everything that can be asked of it.

use std::io;

use bytes::Bytes;
use host::Fs;
use protocol::batch::{Batch, batches};
use protocol::ids::Offset;

use super::model::{Model, Stored};
use crate::log::{Log, Read, ReadError, ReadLimits};

fn read(fs: &Fs, log: &mut Log, from: i64, bytes_max: u64) -> io::Result<Option<Bytes>> {
    let limits = ReadLimits { upper: log.log_end_offset(), bytes_max, at_least_one: true };
    let slice = match log.read(fs, Offset(from), limits) {
        Ok(Read::Local(slice)) => slice,
        Err(ReadError::Io(error)) => return Err(error),
        other => panic!("{from}: {other:?}"),
    };
    let Some(region) = slice.region else { return Ok(None) };
    let mut bytes = vec![0; region.length as usize];
    region.file.read_exact_at(&mut bytes, region.position)?;
    Ok(Some(Bytes::from(bytes)))
}

/// Every batch's bytes from the log start on.
pub(super) fn read_all(fs: &Fs, log: &mut Log) -> io::Result<Vec<Bytes>> {
    let (mut found, mut at) = (Vec::new(), log.log_start_offset().0);
    while let Some(bytes) = read(fs, log, at, 700)? {
        let before = at;
        for batch in batches(bytes) {
            let batch = batch.expect("a sound batch");
            batch.check_crc().expect("a sound checksum");
            at = batch.header.next_offset().0;
            found.push(batch.to_bytes());
        }
        assert!(at > before, "a read goes on");
    }
    Ok(found)
}

/// # Errors
/// When the disk fails; what is wrong panics.
pub(super) fn check(fs: &Fs, log: &mut Log, model: &Model) -> io::Result<()> {
    let found = read_all(fs, log)?;
    let visible: Vec<&Stored> = model.visible().collect();
    assert!(found.iter().eq(visible.iter().map(|b| &b.bytes)), "the log holds the batches of the model");
    assert_eq!(log.log_start_offset().0, model.log_start);
    // A read may begin at any offset, and finds the batch that holds it or the next one.
    for stored in visible.iter().step_by(3) {
        for offset in [stored.header.base_offset.0.max(model.log_start), stored.header.last_offset().0] {
            let bytes = read(fs, log, offset, 1)?.expect("the offset is there");
            assert_eq!(bytes, stored.bytes, "read at {offset}");
        }
    }
    check_timestamps(fs, log, &visible)?;
    check_epochs(log, &visible);
    check_producers(fs, log, model)
}

fn check_timestamps(fs: &Fs, log: &mut Log, visible: &[&Stored]) -> io::Result<()> {
    let mut records = Vec::new();
    for stored in visible {
        let batch = Batch::read(&stored.bytes).expect("sound");
        records.extend(batch.records(1 << 20).expect("sound").map(|r| r.expect("sound")));
    }
    records.retain(|r| r.offset >= log.log_start_offset());
    let first_from = |t: i64| records.iter().find(|r| r.timestamp >= t).map(|r| (r.offset, r.timestamp));
    for at in [0, records.len() / 3, records.len() / 2, records.len().saturating_sub(1)] {
        let Some(t) = records.get(at).map(|r| r.timestamp) else { break };
        for t in [t - 1, t, t + 1] {
            let found = log.offset_of_timestamp(fs, t)?.map(|f| (f.offset, f.timestamp));
            assert_eq!(found, first_from(t), "the first record from {t} on");
        }
    }
    let newest = visible.iter().map(|b| b.header.max_timestamp).max();
    assert_eq!(log.max_timestamp(fs)?.map(|f| f.timestamp), newest);
    Ok(())
}

fn check_epochs(log: &Log, visible: &[&Stored]) {
    for stored in visible.iter().step_by(5) {
        let offset = stored.header.base_offset.max(log.log_start_offset());
        assert_eq!(log.leader_epoch_of(offset), Some(stored.header.leader_epoch.0), "epoch of {offset}");
    }
}

/// What is kept of a producer across openings. Below the log start nobody remembers for certain.
fn check_producers(fs: &Fs, log: &Log, model: &Model) -> io::Result<()> {
    let (state, aborted) = model.producers();
    for (id, expected) in state.producers() {
        let Some(last) = expected.batches.back().filter(|b| b.last_offset >= model.log_start) else {
            continue;
        };
        let found = log.producers().producers().get(id).unwrap_or_else(|| panic!("producer {id} is known"));
        // As in Kafka, a snapshot keeps one time for a producer: that of the last batch or marker.
        let key = |b: &crate::ProducerBatch| (b.last_sequence, b.last_offset, b.offset_delta);
        assert_eq!(found.batches.back().map(key), Some(key(last)), "the newest batch of producer {id}");
        // What a client may send again is told from a gap, whatever happened in between.
        let kept = |producer: &crate::Producer| {
            let visible = producer.batches.iter().filter(|b| b.last_offset >= model.log_start);
            visible.map(key).collect::<Vec<_>>()
        };
        assert_eq!((found.epoch, kept(found)), (expected.epoch, kept(expected)), "producer {id}");
        if expected.transaction_first_offset.is_none_or(|first| first >= model.log_start) {
            let (found, expected) = (found.transaction_first_offset, expected.transaction_first_offset);
            assert_eq!(found, expected, "transaction of producer {id}");
        }
    }
    let whole: Vec<_> = aborted.iter().filter(|t| t.first_offset >= model.log_start).collect();
    let found = log.aborted_transactions(fs, log.log_start_offset(), log.log_end_offset())?;
    let keys = |t: &crate::AbortedTransaction| (t.producer_id, t.first_offset, t.last_offset);
    for expected in whole {
        assert!(found.iter().any(|t| keys(t) == keys(expected)), "{expected:?} is in {found:?}");
    }
    for t in &found {
        let is_known =
            aborted.iter().any(|a| (a.producer_id, a.last_offset) == (t.producer_id, t.last_offset));
        assert!(is_known, "{t:?} was aborted");
    }
    Ok(())
}
