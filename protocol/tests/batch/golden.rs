//! `tests/golden/batches/batches.txt`, which `GoldenBatches.java` beside it writes with Kafka 4.3.1's jars.

use bytes::Bytes;
use protocol::ErrorCode;
use protocol::batch::{
    AppendRules, Batch, BatchBuilder, BatchOptions, Compression, ControlRecord, Record, TimestampType,
    batches, decompress, end_transaction_batch, validate_for_append,
};
use protocol::ids::{LeaderEpoch, Offset, ProducerId};
use protocol::messages::EndTxnMarker;

use super::CAP;

const GOLDEN: &str = include_str!("../golden/batches/batches.txt");
const NOW_MS: i64 = 1_700_000_000_000;

fn bytes(hex: &str) -> Option<Bytes> {
    match hex {
        "null" => None,
        "empty" => Some(Bytes::new()),
        hex => Some(
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect(),
        ),
    }
}

fn hex(bytes: Option<&Bytes>) -> String {
    match bytes {
        None => "null".into(),
        Some(b) if b.is_empty() => "empty".into(),
        Some(b) if b.len() > 256 => format!("crc32c:{}:{}", b.len(), crc32c(b)),
        Some(b) => b.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// Slow and independent of the crate under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

/// A record as a line of the golden file.
fn line(record: &Record) -> String {
    let mut line = format!("record {} {} {}", record.offset, record.timestamp, record.sequence);
    for field in [&record.key, &record.value] {
        line += &format!(" {}", hex(field.as_ref()));
    }
    for header in &record.headers {
        line += &format!(" {}={}", hex(Some(&header.key)), hex(header.value.as_ref()));
    }
    line
}

/// Name, batch, and the lines of its records.
fn built() -> Vec<(&'static str, Batch, Vec<&'static str>)> {
    let mut all: Vec<(&str, Batch, Vec<&str>)> = Vec::new();
    for text in GOLDEN.lines() {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["batch", name, hex] => {
                let bytes = bytes(hex).unwrap();
                let batch = Batch::read(&bytes).unwrap();
                assert_eq!(batch.to_bytes(), bytes, "{name}");
                all.push((name, batch, Vec::new()));
            }
            ["record", ..] => all.last_mut().unwrap().2.push(text),
            _ => {}
        }
    }
    assert!(all.len() >= 15);
    all
}

fn find(name: &str) -> Batch {
    built().into_iter().find(|(found, ..)| *found == name).unwrap().1
}

#[test]
fn reads_every_batch_of_kafka() {
    for (name, batch, lines) in built() {
        batch.check_crc().unwrap();
        let records: Vec<_> = batch.records(CAP).unwrap().map(|record| line(&record.unwrap())).collect();
        assert_eq!(records, lines, "{name}");
    }
}

#[test]
fn builds_every_batch_as_kafka_does() {
    for (name, batch, _) in built() {
        let header = batch.header;
        let compression = header.compression().unwrap();
        let append_time =
            (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: header.base_offset,
            leader_epoch: header.leader_epoch,
            compression,
            compression_level: None,
            log_append_time: append_time,
            transactional: header.is_transactional(),
            control: header.is_control(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
        // What the producer had set cannot be seen any more under LogAppendTime.
        let hidden = append_time.map(|_| [-5, -7, 9, 0].map(|delta| NOW_MS + delta));
        for (index, record) in batch.records(CAP).unwrap().enumerate() {
            let mut record = record.unwrap();
            record.timestamp = hidden.map_or(record.timestamp, |hidden| hidden[index]);
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.append_at(record.offset, record.timestamp, key, value, &record.headers);
        }
        builder.end_at(header.last_offset());
        let ours = builder.finish();
        if compression == Compression::None {
            assert_eq!(ours, batch, "{name}");
        } else {
            let plain = |batch: &Batch| decompress(compression, &batch.payload, CAP).unwrap();
            assert_eq!(plain(&ours), plain(&batch), "{name}");
            let same = protocol::batch::BatchHeader { length: header.length, crc: header.crc, ..ours.header };
            assert_eq!(same, header, "{name}");
        }
    }
}

#[test]
fn ends_transactions_with_kafkas_markers() {
    for (commit, name) in [(true, "commit-marker"), (false, "abort-marker")] {
        let mut ours = end_transaction_batch(commit, ProducerId(4711), 2, 17, NOW_MS);
        ours.header.base_offset = Offset(33);
        ours.header.leader_epoch = LeaderEpoch(5);
        assert_eq!(ours, find(name));
    }
}

#[test]
fn reads_and_writes_kafkas_control_records() {
    let names = ["leader-change", "snapshot-header", "snapshot-footer", "kraft-version", "voters"];
    for (index, name) in names.into_iter().enumerate() {
        let batch = find(name);
        let record = batch.records(CAP).unwrap().next().unwrap().unwrap();
        let control = ControlRecord::read(&record).unwrap().unwrap();
        assert_eq!(control.kind() as usize, index + 2);
        let (offset, epoch) = (batch.header.base_offset, batch.header.leader_epoch);
        assert_eq!(ControlRecord::batch(&[control], offset, epoch, NOW_MS).unwrap(), batch, "{name}");
    }
    let marker = find("commit-marker").records(CAP).unwrap().next().unwrap().unwrap();
    let marker = ControlRecord::read(&marker).unwrap();
    assert_eq!(marker, Some(ControlRecord::Commit(EndTxnMarker { coordinator_epoch: 17 })));
}

/// Where we refuse what Kafka stores, because some consumer cannot read it; by prefix of the name.
const STRICTER: [(&str, ErrorCode); 10] = [
    // Kafka checks offsets of compressed records only: the Java consumer would see these out of order.
    ("offset-delta-", ErrorCode::InvalidRecord),
    // Kafka does not compare a compressed record's length with its fields: the Java consumer fails on it.
    ("record-length-negative-", ErrorCode::InvalidRecord),
    ("record-length-zero-", ErrorCode::InvalidRecord),
    ("record-length-too-long-", ErrorCode::InvalidRecord),
    ("record-length-too-short-", ErrorCode::InvalidRecord),
    // Only -1 is null; clients disagree on what other negative lengths mean.
    ("key-length-below-null-", ErrorCode::InvalidRecord),
    ("value-length-below-null-", ErrorCode::InvalidRecord),
    ("header-value-below-null-", ErrorCode::InvalidRecord),
    // Bytes behind the compressed records are ignored by some decoders only.
    ("compressed-byte-behind-", ErrorCode::InvalidRecord),
    ("compressed-nothing-", ErrorCode::InvalidRecord),
];

/// Kafka's answer, or ours where Kafka has none (an exception that it did not foresee) or is too lenient.
fn expected(name: &str, kafka: &str) -> ErrorCode {
    match kafka {
        "UNKNOWN_SERVER_ERROR" if name.starts_with("compression") => ErrorCode::UnsupportedCompressionType,
        "UNKNOWN_SERVER_ERROR" => ErrorCode::InvalidRecord,
        "NONE" => STRICTER
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
            .map_or(ErrorCode::None, |(_, code)| *code),
        kafka => (-1..=133).map(ErrorCode::from_code).find(|code| code.name() == kafka).unwrap(),
    }
}

#[test]
fn accepts_and_refuses_what_kafka_does() {
    let mut seen = 0;
    for text in GOLDEN.lines().filter(|line| line.starts_with("verdict")) {
        let words: Vec<_> = text.split_whitespace().collect();
        let [_, name, hex, ref settings @ .., _, _] = words[..] else { panic!("{text}") };
        let setting =
            |key: &str| settings.iter().chain(&words[7..8]).find_map(|s| s.strip_prefix(key)).unwrap();
        let rules = AppendRules {
            produce_version: setting("version=").parse().unwrap(),
            batch_bytes_max: setting("max=").parse().unwrap(),
            compacted: setting("compacted=") == "1",
            timestamp_type: match setting("type=") {
                "create" => TimestampType::CreateTime,
                _ => TimestampType::LogAppendTime,
            },
            timestamp_before_ms_max: 86_400_000,
            timestamp_after_ms_max: 3_600_000,
            now_ms: NOW_MS,
            compression: Compression::from_name(setting("target=")),
            ..AppendRules::default()
        };
        let answer = validate_for_append(&bytes(hex).unwrap(), &rules);
        let code = answer.as_ref().map_or_else(|error| error.code(), |_| ErrorCode::None);
        assert_eq!(code, expected(name, words[8]), "{name}: {answer:?}");
        if let Ok(mut batch) = answer {
            batch.header.base_offset = Offset(100);
            batch.header.leader_epoch = LeaderEpoch(7);
            batch.check_crc().unwrap();
            assert_eq!(batches(batch.to_bytes()).count(), 1);
            if let Some(stored) = words.get(9) {
                assert_eq!(batch.to_bytes(), bytes(stored).unwrap(), "{name}");
            }
            for record in batch.records(CAP).unwrap() {
                record.unwrap();
            }
        }
        seen += 1;
    }
    assert!(seen > 200, "{seen}");
}
