//! What other record codecs got wrong, each by name.

use bytes::Bytes;
use protocol::ErrorCode;
use protocol::batch::{
    AppendError, AppendRules, Batch, BatchBuilder, BatchError, BatchHeader, BatchOptions, Compression,
    HEADER_BYTES, RecordFault, RecordHeader, TimestampType, batches, compress, decompress,
    validate_for_append,
};
use protocol::ids::{Offset, ProducerId};

use super::{CAP, build};

fn plain(count: usize) -> Batch {
    let fields = || (Some(b"k".to_vec()), Some(b"v".to_vec()), Vec::new());
    build(BatchOptions::default(), &(0..count).map(|at| (at as i64, fields())).collect::<Vec<_>>())
}

/// `payload` as the records of a batch with a right CRC.
fn with_payload(compression: Compression, payload: Vec<u8>) -> Batch {
    let mut batch = plain(1);
    batch.header.attributes = batch.header.attributes.with_compression(compression);
    batch.header.set_payload(&payload);
    batch.payload = payload.into();
    batch
}

#[test]
fn headers_with_equal_keys_keep_their_number_and_order() {
    let headers = [("b", "1"), ("a", "2"), ("b", "3")];
    let headers = headers.map(|(key, value)| RecordHeader { key: key.into(), value: Some(value.into()) });
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, None, None, &headers);
    let record = builder.finish().records(CAP).unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers, headers);
}

#[test]
fn a_header_key_that_is_not_utf8_is_kept() {
    let header = RecordHeader { key: Bytes::from_static(&[0xff, 0xfe]), value: None };
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, None, None, std::slice::from_ref(&header));
    let batch = validate_for_append(&builder.finish().to_bytes(), &AppendRules::default()).unwrap();
    assert_eq!(batch.records(CAP).unwrap().next().unwrap().unwrap().headers, [header]);
}

#[test]
fn null_and_empty_are_told_apart() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, None, Some(b""), &[]);
    builder.append(0, Some(b""), None, &[]);
    let records: Vec<_> = builder.finish().records(CAP).unwrap().map(Result::unwrap).collect();
    assert_eq!((records[0].key.as_deref(), records[0].value.as_deref()), (None, Some(&b""[..])));
    assert_eq!((records[1].key.as_deref(), records[1].value.as_deref()), (Some(&b""[..]), None));
}

#[test]
fn sequence_numbers_wrap_from_the_largest_to_zero() {
    let options =
        BatchOptions { producer_id: ProducerId(1), base_sequence: i32::MAX, ..BatchOptions::default() };
    let batch = build(options, &[(0, (None, None, Vec::new())), (0, (None, None, Vec::new()))]);
    assert_eq!(batch.header.last_sequence(), 0);
    let sequences: Vec<_> = batch.records(CAP).unwrap().map(|record| record.unwrap().sequence).collect();
    assert_eq!(sequences, [i32::MAX, 0]);
}

#[test]
fn a_batch_cut_off_at_the_end_ends_the_iteration_without_error() {
    let one = plain(2).to_bytes();
    let mut bytes = one.to_vec();
    bytes.extend_from_slice(&one[..one.len() - 1]);
    let mut all = batches(bytes.into());
    assert!(all.next().unwrap().is_ok());
    assert!(all.next().is_none());
    assert_eq!(all.rest().len(), one.len() - 1);
}

#[test]
fn an_announced_count_reserves_no_memory() {
    let mut batch = plain(1);
    batch.header.record_count = i32::MAX;
    let mut records = batch.records(CAP).unwrap();
    assert!(records.size_hint().1.unwrap() < 10);
    assert!(records.next().unwrap().is_ok());
    assert!(matches!(records.next(), Some(Err(BatchError::Record { index: 1, .. }))));
    assert!(records.next().is_none());
}

#[test]
fn the_last_offset_of_a_header_that_lies_does_not_overflow() {
    let mut header = plain(1).header;
    header.base_offset = Offset(i64::MAX);
    header.last_offset_delta = i32::MAX;
    assert_eq!(header.next_offset(), Offset(i64::MAX));
}

#[test]
fn bombs_are_refused_in_every_compression() {
    // 32 MiB of zeros, as 24 KiB to 2 MiB.
    let zeros = vec![0; 32 << 20];
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let packed = compress(compression, None, &zeros);
        assert_eq!(decompress(compression, &packed, 1 << 20), Err(BatchError::Bomb { cap: 1 << 20 }));
        // As one record of 32 MiB, so that its structure is no reason to stop.
        let value = &zeros[..zeros.len() - 64];
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        builder.append(0, None, Some(value), &[]);
        let bytes = builder.finish().to_bytes();
        let rules =
            AppendRules { decompressed_bytes_max: 1 << 20, batch_bytes_max: CAP, ..AppendRules::default() };
        let error = validate_for_append(&bytes, &rules).unwrap_err();
        assert_eq!(error, AppendError::Malformed(BatchError::Bomb { cap: 1 << 20 }), "{compression:?}");
        assert_eq!(error.code(), ErrorCode::InvalidRecord);
    }
}

#[test]
fn a_snappy_block_that_announces_four_gigabytes_reserves_nothing() {
    let announced = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    assert!(matches!(decompress(Compression::Snappy, &announced, CAP), Err(BatchError::Decompress(_))));
    let mut framed = compress(Compression::Snappy, None, b"");
    framed.extend_from_slice(&(announced.len() as u32).to_be_bytes());
    framed.extend_from_slice(&announced);
    assert!(matches!(decompress(Compression::Snappy, &framed, CAP), Err(BatchError::Decompress(_))));
}

#[test]
fn snappy_of_librdkafka_is_one_raw_block() {
    let plain = b"abcabcabcabc".repeat(100);
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, CAP).unwrap(), plain);
}

#[test]
fn an_lz4_frame_without_its_end_mark_is_cut_off() {
    let packed = compress(Compression::Lz4, None, b"abc");
    let cut = &packed[..packed.len() - 4];
    assert!(matches!(decompress(Compression::Lz4, cut, CAP), Err(BatchError::Decompress(_))));
}

#[test]
fn compressed_records_are_checked_where_the_window_ends() {
    // Values around the size of the window, so that every field lies across its end once.
    let value = vec![7; 16 * 1024 - 40];
    for compression in Compression::ALL {
        for pad in 0..60 {
            let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
            let header = RecordHeader { key: "header".into(), value: Some("value".into()) };
            builder.append(1, None, Some(&value[..value.len() - pad]), &[]);
            builder.append(1 << 40, Some(&value[..200]), Some(&value), std::slice::from_ref(&header));
            builder.append(3, Some(&value[..300]), None, &[header]);
            let batch = builder.finish();
            assert_eq!(validate_for_append(&batch.to_bytes(), &AppendRules::default()).as_ref(), Ok(&batch));
        }
    }
}

#[test]
fn every_refused_record_is_named_with_its_index() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for at in 0..6 {
        builder.append(1000, (at % 2 == 0).then_some(&b"key"[..]), None, &[]);
    }
    let rules = AppendRules { compacted: true, ..AppendRules::default() };
    let error = validate_for_append(&builder.finish().to_bytes(), &rules).unwrap_err();
    let refused: Vec<_> = error.record_errors().iter().map(|e| (e.index, e.fault.clone())).collect();
    assert_eq!(refused, [(1, RecordFault::NoKey), (3, RecordFault::NoKey), (5, RecordFault::NoKey)]);
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
}

#[test]
fn an_accepted_batch_shares_the_bytes_of_the_request() {
    let bytes = plain(3).to_bytes();
    let rules =
        AppendRules { timestamp_type: TimestampType::LogAppendTime, now_ms: 9, ..AppendRules::default() };
    let batch = validate_for_append(&bytes, &rules).unwrap();
    assert_eq!(batch.payload.as_ptr(), bytes[HEADER_BYTES..].as_ptr());
    batch.check_crc().unwrap();
    assert_eq!(
        (batch.header.max_timestamp, batch.header.timestamp_type()),
        (9, TimestampType::LogAppendTime)
    );
}

#[test]
fn the_lies_of_a_compression_bit_are_found() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = with_payload(compression, plain(1).payload.to_vec());
        let answer = validate_for_append(&batch.to_bytes(), &AppendRules::default());
        assert!(matches!(answer, Err(AppendError::Malformed(BatchError::Decompress(_)))), "{answer:?}");
        let packed = with_payload(Compression::None, compress(compression, None, &plain(1).payload));
        assert!(validate_for_append(&packed.to_bytes(), &AppendRules::default()).is_err());
    }
}

#[test]
fn a_topic_with_a_compression_of_its_own_recompresses() {
    let records = [(5, (Some(b"key".to_vec()), Some(vec![1; 5000]), Vec::new()))];
    for source in Compression::ALL {
        for target in Compression::ALL {
            let batch = build(BatchOptions { compression: source, ..BatchOptions::default() }, &records);
            let rules = AppendRules { compression: Some(target), ..AppendRules::default() };
            let stored = validate_for_append(&batch.to_bytes(), &rules).unwrap();
            stored.check_crc().unwrap();
            assert_eq!(stored.header.compression(), Ok(target));
            let read = |batch: &Batch| batch.records(CAP).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(read(&stored), read(&batch));
        }
    }
}

#[test]
fn old_formats_are_recognised_by_their_magic_whatever_their_length() {
    let mut old = vec![0; 40];
    old[8..12].copy_from_slice(&28_i32.to_be_bytes());
    for magic in [0, 1] {
        old[16] = magic;
        assert_eq!(BatchHeader::read(&old), Err(BatchError::Magic(magic as i8)));
        let error = validate_for_append(&old.clone().into(), &AppendRules::default()).unwrap_err();
        assert_eq!(error, AppendError::OldFormat(magic as i8));
        assert_eq!(error.code(), ErrorCode::InvalidRecord);
    }
}
