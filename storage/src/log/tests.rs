//! Appending, reading, cutting and opening a log; and crashes by seed against a model.

mod checks;
mod crashes;
mod golden;
mod model;
mod segments;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::Fs;
use host::sim::World;
use protocol::batch::{
    AppendRules, BatchBuilder, BatchOptions, TimestampType, batches, end_transaction_batch,
};
use protocol::ids::{LeaderEpoch, Offset, ProducerId};

use super::*;

fn files(clean: bool) -> LogFiles {
    let topic_id = Some(Uuid(77));
    LogFiles { dir: PathBuf::from("/d/t-0"), topic_id, recovery_point: 0, log_start_offset: 0, clean }
}

/// A batch of `count` records whose values tell `tag`.
fn batch(tag: u64, count: usize, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for n in 0..count {
        builder.append(timestamp + n as i64, None, Some(format!("value-{tag}-{n}").as_bytes()), &[]);
    }
    builder.finish().to_bytes()
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

fn open(fs: &Fs, clean: bool, config: &LogConfig) -> Log {
    Log::open(fs, &files(clean), config, 0).expect("it opens")
}

/// Runs a test body inside a disk job of a simulated machine.
fn on_disk(body: impl FnOnce(&Fs) + Send + 'static) {
    let world = World::new(1);
    let disk = world.node("a").host().disk(Path::new("/d"));
    world
        .block_on(Duration::from_secs(3600), async move { disk.run(body).await })
        .expect("it ends")
        .expect("it runs");
}

fn append(log: &mut Log, fs: &Fs, records: &Bytes, config: &LogConfig) -> Appended {
    log.append_as_leader(fs, records, LeaderEpoch(0), &AppendRules::default(), config).expect("appended")
}

/// Every record value from an offset on.
fn values(log: &mut Log, fs: &Fs, from: i64) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut at = from;
    while at < log.log_end_offset().0 {
        let limits = ReadLimits { upper: log.log_end_offset(), bytes_max: 500, at_least_one: true };
        let Ok(Read::Local(Slice { region: Some(region), .. })) = log.read(fs, Offset(at), limits) else {
            break;
        };
        let mut bytes = vec![0; region.length as usize];
        region.file.read_exact_at(&mut bytes, region.position).expect("the region is there");
        for batch in batches(Bytes::from(bytes)) {
            let batch = batch.expect("a sound batch");
            batch.check_crc().expect("a sound CRC");
            for record in batch.records(1 << 20).expect("records") {
                let record = record.expect("a record");
                if record.offset.0 >= at {
                    let value =
                        String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
                    found.push((record.offset.0, value));
                }
            }
            at = batch.header.next_offset().0.max(at);
        }
    }
    found
}

fn expected(tags: std::ops::Range<u64>, count: usize) -> Vec<(i64, String)> {
    tags.flat_map(|t| (0..count).map(move |n| (t as i64 * count as i64 + n as i64, format!("value-{t}-{n}"))))
        .collect()
}

#[test]
fn a_log_gives_back_what_was_appended_across_segments_and_openings() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        for tag in 0..100 {
            let appended = append(&mut log, fs, &batch(tag, 3, 1000 * tag as i64), &config);
            assert_eq!(
                (appended.first_offset.0, appended.last_offset.0),
                (tag as i64 * 3, tag as i64 * 3 + 2)
            );
        }
        assert!(log.segment_count() > 5);
        assert_eq!(values(&mut log, fs, 0), expected(0..100, 3));
        assert_eq!(values(&mut log, fs, 151)[0].0, 151, "reading begins in the middle of a batch");
        log.close(fs).expect("closed");
        assert!(
            log.append_as_leader(fs, &batch(1, 1, 1), LeaderEpoch(0), &AppendRules::default(), &config)
                .is_err()
        );
        for clean in [true, false] {
            let mut again = open(fs, clean, &config);
            assert_eq!(again.log_end_offset().0, 300);
            assert_eq!(again.topic_id(), Some(Uuid(77)));
            assert_eq!(values(&mut again, fs, 0), expected(0..100, 3), "clean {clean}");
        }
    });
}

#[test]
fn a_read_ends_below_its_upper_bound_and_gives_at_least_one_batch() {
    on_disk(|fs| {
        let config = LogConfig::default();
        let mut log = open(fs, false, &config);
        for tag in 0..50 {
            append(&mut log, fs, &batch(tag, 2, 0), &config);
        }
        let size = batch(0, 2, 0).len() as u64;
        let mut read = |from: i64, upper: i64, bytes_max: u64, at_least_one: bool| {
            let limits = ReadLimits { upper: Offset(upper), bytes_max, at_least_one };
            match log.read(fs, Offset(from), limits) {
                Ok(Read::Local(slice)) => slice.region.map_or(0, |r| r.length),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read(0, 0, 1000, true), 0);
        assert!(read(0, 2, 1 << 20, true) >= size - 4 && read(0, 2, 1 << 20, true) <= size + 4);
        assert_eq!(read(0, 100, size + 10, false), size + 10, "the last batch may be cut off, as in Kafka");
        assert_eq!(read(0, 100, size - 1, false), 0, "the first may not: consumers give up on it");
        assert_eq!(read(0, 100, 1, true), size);
        assert_eq!(read(100, 100, 1000, true), 0);
        assert_eq!(read(40, 41, 1000, true), 0, "the batch that holds the bound is not given");
        let limits = ReadLimits { upper: Offset(100), bytes_max: 1, at_least_one: true };
        assert!(matches!(log.read(fs, Offset(101), limits), Err(ReadError::OutOfRange { .. })));
        log.advance_log_start(fs, Offset(10)).expect("moved");
        assert!(matches!(log.read(fs, Offset(9), limits), Err(ReadError::OutOfRange { start: 10, .. })));
    });
}

#[test]
fn timestamps_find_their_offsets() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        for tag in 0..60u64 {
            append(&mut log, fs, &batch(tag, 2, 1000 + 10 * tag as i64), &config);
        }
        for reopened in [false, true] {
            if reopened {
                log.close(fs).expect("closed");
                log = open(fs, true, &config);
            }
            let mut find =
                |t| log.offset_of_timestamp(fs, t).expect("read").map(|f| (f.offset.0, f.timestamp));
            assert_eq!(find(0), Some((0, 1000)));
            assert_eq!(find(1001), Some((1, 1001)));
            assert_eq!(find(1002), Some((2, 1010)));
            assert_eq!(find(1305), Some((62, 1310)));
            assert_eq!(find(2000), None);
            assert_eq!(log.max_timestamp(fs).expect("read").map(|f| f.offset.0), Some(119));
        }
    });
}

#[test]
fn log_append_time_replaces_the_producers_time() {
    on_disk(|fs| {
        let config = LogConfig::default();
        let mut log = open(fs, false, &config);
        let rules = AppendRules {
            timestamp_type: TimestampType::LogAppendTime,
            now_ms: 5000,
            ..AppendRules::default()
        };
        let appended =
            log.append_as_leader(fs, &batch(0, 2, 1), LeaderEpoch(3), &rules, &config).expect("appended");
        assert_eq!(appended.log_append_time_ms, 5000);
        assert_eq!(values(&mut log, fs, 0).len(), 2, "the CRC was made again");
        assert_eq!(log.offset_of_timestamp(fs, 5000).expect("read").map(|f| f.leader_epoch), Some(Some(3)));
    });
}

#[test]
fn a_follower_keeps_offsets_and_epochs_and_may_have_gaps() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        let given = |base: i64, epoch: i32| {
            let mut b = protocol::batch::Batch::read(&batch(base as u64, 2, 0)).expect("a batch");
            (b.header.base_offset, b.header.leader_epoch) = (Offset(base), LeaderEpoch(epoch));
            b.to_bytes()
        };
        for (base, epoch) in [(0, 1), (2, 1), (10, 4), (12, 4)] {
            log.append_as_follower(fs, given(base, epoch), 0, &config).expect("appended").expect("one batch");
        }
        assert!(matches!(
            log.append_as_follower(fs, given(5, 4), 0, &config),
            Err(AppendError::OffsetsOutOfOrder { expected: 14, found: 5 })
        ));
        let offsets: Vec<i64> = values(&mut log, fs, 0).iter().map(|(o, _)| *o).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 10, 11, 12, 13]);
        assert_eq!(log.leader_epochs(), [(1, 0), (4, 10)]);
        assert_eq!(log.end_of_leader_epoch(1), Some((1, Offset(10))));
        assert_eq!(log.end_of_leader_epoch(3), Some((1, Offset(10))));
        assert_eq!(log.end_of_leader_epoch(4), Some((4, Offset(14))));
        assert_eq!(log.end_of_leader_epoch(5), None);
        log.truncate_to(fs, Offset(11)).expect("truncated");
        assert_eq!(log.log_end_offset().0, 4, "a batch goes as a whole, and the gap before it");
        assert_eq!(log.leader_epochs(), [(1, 0)]);
        log.truncate_fully_and_start_at(fs, Offset(500)).expect("truncated");
        log.append_as_follower(fs, given(500, 9), 0, &config).expect("appended");
        assert_eq!((log.log_start_offset().0, log.log_end_offset().0), (500, 502));
        let reopened =
            Log::open(fs, &LogFiles { log_start_offset: 500, ..files(false) }, &config, 0).expect("it opens");
        assert_eq!((reopened.log_start_offset().0, reopened.log_end_offset().0), (500, 502));
    });
}

fn idempotent(sequence: i32, transactional: bool) -> Bytes {
    let options = BatchOptions {
        producer_id: ProducerId(9),
        producer_epoch: 0,
        base_sequence: sequence,
        transactional,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder.append(1, None, Some(b"x"), &[]);
    builder.finish().to_bytes()
}

#[test]
fn producers_and_transactions_survive_openings_of_both_kinds() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        for sequence in 0..40 {
            append(&mut log, fs, &idempotent(sequence, true), &config);
        }
        log.set_high_watermark(Offset(40));
        assert_eq!(log.last_stable_offset().0, 0, "the transaction is open");
        let abort = end_transaction_batch(false, ProducerId(9), 0, 3, 1);
        log.append_own(fs, abort, LeaderEpoch(0), 1, &config).expect("appended");
        append(&mut log, fs, &idempotent(40, true), &config);
        let aborted = log.aborted_transactions(fs, Offset(0), Offset(42)).expect("read");
        assert_eq!(aborted.iter().map(|t| (t.first_offset, t.last_offset)).collect::<Vec<_>>(), [(0, 40)]);
        assert_eq!(log.aborted_transactions(fs, Offset(41), Offset(42)).expect("read"), []);
        for round in 0..4 {
            if round % 2 == 0 {
                log.close(fs).expect("closed");
            }
            log = open(fs, round % 2 == 0, &config);
            log.set_high_watermark(Offset(42));
            assert_eq!(log.last_stable_offset().0, 41, "round {round}");
            assert_eq!(
                log.aborted_transactions(fs, Offset(0), Offset(42)).expect("read").len(),
                1,
                "round {round}"
            );
            let again = append(&mut log, fs, &idempotent(40, true), &config);
            assert!(again.duplicate && again.first_offset.0 == 41);
            let gap = log.append_as_leader(
                fs,
                &idempotent(43, true),
                LeaderEpoch(0),
                &AppendRules::default(),
                &config,
            );
            assert!(matches!(gap, Err(AppendError::Producer(_))), "{gap:?}");
        }
    });
}

#[test]
fn a_failed_write_puts_the_log_offline_for_good() {
    let world = World::new(9);
    let node = world.node("a");
    let disk = node.host().disk(Path::new("/d"));
    let log = Arc::new(Mutex::new(None));
    let append_with = |capacity_bytes: u64, sequence: i32| {
        node.set_disk_faults(host::sim::DiskFaults { capacity_bytes, ..host::sim::DiskFaults::default() });
        let (disk, log) = (disk.clone(), Arc::clone(&log));
        let job = async move {
            let append = move |fs: &Fs| {
                let (mut log, config) = (log.lock().expect("unpoisoned"), LogConfig::default());
                let log = log.get_or_insert_with(|| open(fs, false, &config));
                let rules = AppendRules::default();
                let records = idempotent(sequence, false);
                let result = log.append_as_leader(fs, &records, LeaderEpoch(0), &rules, &config).map(drop);
                (result, log.failure().is_some(), log.flush(fs).is_err())
            };
            disk.run(append).await
        };
        world.block_on(Duration::from_secs(60), job).expect("it ends").expect("it runs")
    };
    assert!(matches!(append_with(u64::MAX, 0), (Ok(()), false, false)));
    assert!(matches!(append_with(0, 1), (Err(AppendError::Io(_)), true, true)));
    assert!(
        matches!(append_with(u64::MAX, 1), (Err(AppendError::Io(_)), true, true)),
        "it is not tried again"
    );
    // A gap in the sequence would make a producer begin a new epoch, and write again what is here and elsewhere.
    assert!(matches!(append_with(u64::MAX, 2), (Err(AppendError::Io(_)), true, true)), "nor judged");
    assert!(matches!(append_with(u64::MAX, 0), (Err(AppendError::Io(_)), true, true)), "nor a repetition");
}

#[test]
fn old_segments_go_when_all_their_records_are_old_and_committed() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        for tag in 0..120 {
            append(&mut log, fs, &batch(tag, 2, 1000 * tag as i64), &config);
        }
        let bases: Vec<i64> = log.segments.iter().map(|s| s.base_offset).collect();
        assert!(bases.len() > 3);
        let old = Retention { age_ms_max: Some(1_000), size_bytes_max: None };
        // The newest record of the first segment has this time; a millisecond earlier its segment is young enough.
        let newest_ms = 1000 * (bases[1] / 2 - 1) + 1;
        assert_eq!(
            log.delete_old_segments(fs, old, newest_ms + 1_001).expect("done"),
            0,
            "nothing is committed"
        );
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(log.delete_old_segments(fs, old, newest_ms + 1_000).expect("done"), 0);
        assert_eq!(log.delete_old_segments(fs, old, newest_ms + 1_001).expect("done"), 1);
        assert_eq!(log.log_start_offset().0, bases[1]);
        assert_eq!(log.delete_old_segments(fs, old, i64::MAX).expect("done"), bases.len() - 1);
        assert_eq!((log.log_start_offset().0, log.log_end_offset().0, log.segment_count()), (240, 240, 1));
        assert_eq!(log.delete_old_segments(fs, old, i64::MAX).expect("done"), 0, "an empty log stays");
        assert_eq!(append(&mut log, fs, &batch(1, 1, 5), &config).first_offset.0, 240);
    });
}

#[test]
fn a_log_that_is_too_large_keeps_at_least_its_limit() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        for tag in 0..120 {
            append(&mut log, fs, &batch(tag, 2, 5), &config);
        }
        log.set_high_watermark(log.log_end_offset());
        let limit = |bytes| Retention { age_ms_max: None, size_bytes_max: Some(bytes) };
        let size = log.size_bytes();
        assert_eq!(log.delete_old_segments(fs, limit(size), 1).expect("done"), 0);
        let first = log.segments[0].size_bytes;
        assert_eq!(log.delete_old_segments(fs, limit(size - first + 1), 1).expect("done"), 0);
        assert_eq!(log.delete_old_segments(fs, limit(size - first), 1).expect("done"), 1);
        assert_eq!(log.size_bytes(), size - first);
        assert!(log.delete_old_segments(fs, limit(0), 1).expect("done") > 1, "nothing need be kept");
        assert_eq!((log.size_bytes(), log.log_start_offset().0), (0, 240));
    });
}
