//! When segments begin and end, and what is left of those that were deleted.

use super::*;

/// Appends a batch at a time of the wall clock.
fn append_at(log: &mut Log, fs: &Fs, timestamp: i64, now_ms: i64, config: &LogConfig) -> bool {
    let rules = AppendRules { now_ms, ..AppendRules::default() };
    let appended = log.append_as_leader(fs, &batch(1, 1, timestamp), LeaderEpoch(0), &rules, config);
    appended.expect("appended").rolled
}

#[test]
fn a_segment_ages_by_its_records_time_or_by_its_own_where_they_tell_none() {
    on_disk(|fs| {
        let config = LogConfig { segment_ms: 1000, ..LogConfig::default() };
        let mut log = open(fs, false, &config);
        assert!(!append_at(&mut log, fs, 5000, 1, &config));
        assert!(!append_at(&mut log, fs, 6000, 1_000_000, &config), "the wall clock does not count");
        assert!(!append_at(&mut log, fs, -1, 1_000_000, &config), "a batch without a time is not younger");
        assert!(append_at(&mut log, fs, 6001, 2, &config));
        let mut log =
            Log::open(fs, &LogFiles { dir: "/d/t-1".into(), ..files(false) }, &config, 0).expect("it opens");
        assert!(!append_at(&mut log, fs, -1, 10_000, &config));
        assert!(!append_at(&mut log, fs, -1, 11_000, &config));
        assert!(append_at(&mut log, fs, -1, 11_001, &config));
        assert!(!append_at(&mut log, fs, 5, 12_001, &config), "the new segment began later");
    });
}

#[test]
fn segments_with_jitter_end_earlier_each_by_its_own_time() {
    on_disk(|fs| {
        let config = LogConfig { segment_ms: 1000, segment_jitter_ms: 900, ..LogConfig::default() };
        let ends = |name: &str| {
            let dir = PathBuf::from("/d").join(name);
            let mut log = Log::open(fs, &LogFiles { dir, ..files(false) }, &config, 0).expect("it opens");
            append_at(&mut log, fs, 0, 0, &config);
            let ends = (1..2000).find(|time| append_at(&mut log, fs, *time, 0, &config));
            ends.expect("it ends")
        };
        let all: std::collections::BTreeSet<i64> = (0..8).map(|n| ends(&format!("t-{n}"))).collect();
        assert!(all.len() > 5, "not all at once: {all:?}");
        assert!(all.iter().all(|end| (101..=1001).contains(end)), "{all:?}");
    });
}

#[test]
fn deleted_segments_lie_aside_until_they_are_taken() {
    on_disk(|fs| {
        let config = small_segments();
        let mut log = open(fs, false, &config);
        for tag in 0..120 {
            append(&mut log, fs, &batch(tag, 2, 5), &config);
        }
        log.set_high_watermark(log.log_end_offset());
        let start = log.segments[2].base_offset;
        log.advance_log_start(fs, Offset(start)).expect("deleted");
        let deleted = log.take_deleted();
        let logs = deleted.iter().filter(|path| path.to_string_lossy().ends_with(".log.deleted")).count();
        assert_eq!(logs, 2);
        assert!(deleted.iter().all(|path| fs.exists(path)));
        assert_eq!(log.take_deleted(), Vec::<PathBuf>::new());
        let files = LogFiles { log_start_offset: start, ..files(false) };
        let reopened = Log::open(fs, &files, &config, 0).expect("it opens");
        assert!(!deleted.iter().any(|path| fs.exists(path)), "an opening removes what is left");
        assert_eq!(reopened.log_start_offset().0, start);
    });
}

/// Seed 99546 of the crash suite: the length of an entry outlived a loss of power, and so did an older write of its first
/// eight bytes; the offset behind them was zero.
#[test]
fn a_torn_entry_of_a_time_index_hides_no_timestamp() {
    on_disk(|fs| {
        let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
        let mut log = open(fs, false, &config);
        for (tag, timestamp) in [(1, 1000), (2, 2000), (3, 1500)] {
            append(&mut log, fs, &batch(tag, 2, timestamp), &config);
        }
        log.close(fs).expect("closed");
        let path = Path::new("/d/t-0/00000000000000000000.timeindex");
        let file = fs.open(path, host::OpenMode::ReadWrite).expect("it is there");
        assert_eq!(file.len().expect("a length"), 12, "one entry");
        file.write_all_at(&[0; 4], 8).expect("written");
        let files = LogFiles { recovery_point: 6, ..files(false) };
        let mut log = Log::open(fs, &files, &config, 0).expect("it opens");
        let newest = log.max_timestamp(fs).expect("read").map(|found| (found.timestamp, found.offset.0));
        assert_eq!(newest, Some((2001, 3)));
    });
}
