//! Logs that a real Kafka 4.3.1 wrote (`tests/golden`), after a stop in order and after `kill -9`: what Kafka's dump-log says
//! of them is what this log says, with Kafka's indexes, without them, and after a recovery.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use protocol::batch::Batch;

use super::checks::read_all;
use super::*;
use crate::AbortedTransaction;

/// What dump-log says of a log.
struct Dump {
    /// First offset, last offset, checksum of each batch.
    batches: Vec<(i64, i64, u32)>,
    aborted: Vec<AbortedTransaction>,
    /// Of the newest snapshot: epoch and the first offset of an open transaction, by producer.
    producers: BTreeMap<i64, (i16, Option<i64>)>,
}

fn golden(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kafka-4.3.1").join(kind)
}

/// The value behind `name: ` in a line.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| word.strip_suffix(':') == Some(name))?;
    words.get(at + 1).copied()
}

fn number<T: std::str::FromStr>(line: &str, name: &str) -> T {
    field(line, name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} in {line}"))
}

fn dump(kind: &str) -> Dump {
    let text = std::fs::read_to_string(golden(kind).join("dump.txt")).expect("it is in the tree");
    let mut dump = Dump { batches: Vec::new(), aborted: Vec::new(), producers: BTreeMap::new() };
    for line in text.lines() {
        if line.starts_with("baseOffset:") {
            dump.batches.push((number(line, "baseOffset"), number(line, "lastOffset"), number(line, "crc")));
        } else if line.starts_with("version:") {
            dump.aborted.push(AbortedTransaction {
                producer_id: number(line, "producerId"),
                first_offset: number(line, "firstOffset"),
                last_offset: number(line, "lastOffset"),
                last_stable_offset: number(line, "lastStableOffset"),
            });
        } else if line.starts_with("producerId:") {
            let open = field(line, "currentTxnFirstOffset").expect("it is told");
            let open =
                open.strip_prefix("OptionalLong[").and_then(|text| text.trim_end_matches(']').parse().ok());
            dump.producers.insert(number(line, "producerId"), (number(line, "producerEpoch"), open));
        }
    }
    assert!(dump.batches.len() > 30 && dump.aborted.len() == 2, "the dump was read");
    dump
}

/// Puts Kafka's files on the simulated disk, all or without those that end in one of `without`.
fn lay_out(fs: &Fs, kind: &str, without: &[&str]) {
    fs.create_dir_all(&files(true).dir).expect("made");
    for entry in std::fs::read_dir(golden(kind).join(format!("{kind}-0"))).expect("it is in the tree") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if without.iter().any(|suffix| name.ends_with(suffix)) {
            continue;
        }
        let bytes = std::fs::read(&path).expect("readable");
        let file = fs.open(&files(true).dir.join(name), host::OpenMode::Create).expect("made");
        file.write_all_at(&bytes, 0).expect("written");
    }
}

fn golden_log(fs: &Fs, clean: bool, recovery_point: i64) -> Log {
    let files = LogFiles { topic_id: None, recovery_point, ..files(clean) };
    Log::open(fs, &files, &LogConfig::default(), 0).expect("it opens")
}

/// Everything that dump-log says, asked of the log.
fn agrees(fs: &Fs, log: &mut Log, dump: &Dump, what: &str) {
    let found = read_all(fs, log).expect("read");
    let told = |bytes: &Bytes| {
        let header = Batch::read(bytes).expect("sound").header;
        (header.base_offset.0, header.last_offset().0, header.crc)
    };
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), dump.batches, "{what}");
    let end = dump.batches.last().expect("batches").1 + 1;
    assert_eq!(log.log_end_offset().0, end, "{what}");
    let aborted = log.aborted_transactions(fs, Offset(0), Offset(end)).expect("read");
    assert_eq!(aborted, dump.aborted, "{what}");
    for (offset, last, _) in &dump.batches {
        let limits = ReadLimits { upper: Offset(end), bytes_max: 1, at_least_one: true };
        match log.read(fs, Offset(*last), limits).expect("read") {
            Read::Local(slice) => assert_eq!(slice.base_offset.0, *offset, "{what}: the batch of {last}"),
            Read::Remote => panic!("nothing is remote"),
        }
    }
    let records = found.iter().flat_map(|bytes| {
        let batch = Batch::read(bytes).expect("sound");
        batch.records(1 << 20).expect("sound").map(|record| record.expect("sound")).collect::<Vec<_>>()
    });
    let times: Vec<(i64, i64)> = records.map(|record| (record.timestamp, record.offset.0)).collect();
    for (asked, _) in &times {
        let first = times.iter().find(|(timestamp, _)| timestamp >= asked).map(|(_, offset)| *offset);
        let found = log.offset_of_timestamp(fs, *asked).expect("read").map(|found| found.offset.0);
        assert_eq!(found, first, "{what}: the first record from {asked} on");
    }
    let open = dump.producers.values().filter_map(|(_, open)| *open).min();
    log.set_high_watermark(Offset(end));
    assert_eq!(log.last_stable_offset().0, open.unwrap_or(end), "{what}");
    for (id, (epoch, open)) in &dump.producers {
        let known = log.producers().producers().get(id).unwrap_or_else(|| panic!("{what}: producer {id}"));
        assert_eq!((known.epoch, known.transaction_first_offset), (*epoch, *open), "{what}: {id}");
    }
    assert_eq!(log.leader_epoch_of(Offset(0)), Some(0), "{what}");
}

#[test]
fn kafkas_log_after_a_stop_in_order_is_read_as_kafka_reads_it() {
    on_disk(|fs| {
        lay_out(fs, "clean", &[]);
        let mut log = golden_log(fs, true, 109);
        assert_eq!(log.recovered_bytes(), 0, "its files are believed");
        assert!(log.topic_id().is_some_and(|id| !id.is_zero()));
        agrees(fs, &mut log, &dump("clean"), "as it was left");
    });
}

#[test]
fn kafkas_log_is_made_whole_again_without_its_indexes_and_snapshots() {
    for kind in ["clean", "killed"] {
        for without in [
            &[][..],
            &["index", ".timeindex", ".txnindex"],
            &[".snapshot"],
            &["index", ".snapshot", "-checkpoint"],
        ] {
            on_disk(move |fs| {
                lay_out(fs, kind, without);
                let mut log = golden_log(fs, false, 0);
                let mut dump = dump(kind);
                // What a killed Kafka had written last stands in no snapshot: its markers ended transactions since.
                dump.producers.retain(|_, _| kind == "clean");
                if kind == "killed" {
                    log.set_high_watermark(log.log_end_offset());
                    dump.producers.extend(
                        log.producers()
                            .producers()
                            .iter()
                            .map(|(id, producer)| (*id, (producer.epoch, producer.transaction_first_offset))),
                    );
                    assert!(dump.producers.len() >= 3, "all producers are known again");
                }
                agrees(fs, &mut log, &dump, &format!("{kind} without {without:?}"));
            });
        }
    }
}

#[test]
fn a_kafka_log_is_written_on_and_keeps_its_producers_sequences() {
    on_disk(|fs| {
        lay_out(fs, "clean", &[]);
        let mut log = golden_log(fs, true, 109);
        let config = LogConfig::default();
        let next = |sequence| {
            let options = BatchOptions {
                producer_id: ProducerId(0),
                producer_epoch: 0,
                base_sequence: sequence,
                ..BatchOptions::default()
            };
            let mut builder = BatchBuilder::new(options);
            builder.append(1_700_000_002_000, None, Some(b"next"), &[]);
            builder.finish().to_bytes()
        };
        let mut write = |records: Bytes| {
            log.append_as_leader(fs, &records, LeaderEpoch(4), &AppendRules::default(), &config)
        };
        assert!(write(next(30)).is_err(), "a gap in the sequence that Kafka has begun");
        assert_eq!(write(next(11)).expect("the next one").first_offset.0, 109);
        assert!(write(next(11)).expect("the same again").duplicate);
    });
}
