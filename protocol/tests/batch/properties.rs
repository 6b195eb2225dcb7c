//! Random contents survive every compression; random damage is refused or harmless, within bounds of memory.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol::batch::{
    AppendRules, Batch, BatchError, BatchOptions, Compression, TimestampType, batches, compress, decompress,
    set_base_offset, set_leader_epoch, set_timestamps, validate_for_append,
};
use protocol::ids::{LeaderEpoch, Offset, ProducerId};

use super::{CAP, Fields, build};

fn fields() -> impl Strategy<Value = Fields> {
    let bytes = || vec(any::<u8>(), 0..40);
    (option::of(bytes()), option::of(vec(any::<u8>(), 0..300)), vec((bytes(), option::of(bytes())), 0..4))
}

fn records() -> impl Strategy<Value = Vec<(i64, Fields)>> {
    vec((0_i64..1 << 50, fields()), 1..20)
}

fn compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_accepted_and_read_back(records in records(), compression in compression(), sequence in 0_i32.., ) {
        let options = BatchOptions {
            compression, producer_id: ProducerId(7), producer_epoch: 3, base_sequence: sequence, transactional: true,
            ..BatchOptions::default()
        };
        let batch = build(options, &records);
        let accepted = validate_for_append(&batch.to_bytes(), &AppendRules::default()).unwrap();
        prop_assert_eq!(&accepted, &batch);
        let back: Vec<_> = batch.records(CAP).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(back.len(), records.len());
        for (index, (record, (timestamp, (key, value, headers)))) in back.iter().zip(&records).enumerate() {
            prop_assert_eq!(record.offset, Offset(index as i64));
            prop_assert_eq!(record.timestamp, *timestamp);
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
            let kept: Vec<_> = record.headers.iter().map(|h| (h.key.to_vec(), h.value.as_ref().map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&kept, headers);
        }
    }

    #[test]
    fn a_damaged_batch_is_refused_and_never_panics(
        records in records(), compression in compression(), at in any::<proptest::sample::Index>(), bit in 0_u8..8,
    ) {
        let batch = build(BatchOptions { compression, ..BatchOptions::default() }, &records);
        let mut bytes = batch.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // The leader epoch of a produced batch means nothing; all other bytes count.
        let answer = validate_for_append(&bytes.into(), &AppendRules::default());
        prop_assert_eq!(answer.is_ok(), (12..16).contains(&at));
    }

    #[test]
    fn damage_under_a_right_crc_never_panics(
        records in records(), compression in compression(), damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        count in option::of(any::<i32>()),
    ) {
        let mut batch = build(BatchOptions { compression, ..BatchOptions::default() }, &records);
        let mut payload = batch.payload.to_vec();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Some(count) = count {
            batch.header.record_count = count;
            batch.header.last_offset_delta = count.wrapping_sub(1);
        }
        batch.header.set_payload(&payload);
        batch.payload = payload.into();
        let accepted = validate_for_append(&batch.to_bytes(), &AppendRules::default());
        let read = batch.records(CAP).and_then(|records| records.collect::<Result<Vec<_>, _>>());
        // What is stored can be read.
        prop_assert!(accepted.is_err() || read.is_ok(), "{:?} {:?}", accepted, read);
    }

    #[test]
    fn truncations_are_a_cut_off_batch(records in records(), compression in compression(), at in any::<proptest::sample::Index>()) {
        let bytes = build(BatchOptions { compression, ..BatchOptions::default() }, &records).to_bytes();
        let at = at.index(bytes.len());
        let mut cut = batches(bytes.slice(..at));
        prop_assert!(cut.next().is_none());
        prop_assert_eq!(cut.rest().len(), at);
        let read = matches!(Batch::read(&bytes.slice(..at)), Err(BatchError::Incomplete { have, .. }) if have == at);
        prop_assert!(read);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), compression in compression()) {
        let bytes = Bytes::from(bytes);
        let _ = batches(bytes.clone()).count();
        let _ = validate_for_append(&bytes, &AppendRules::default());
        if let Ok(out) = decompress(compression, &bytes, 1 << 16) {
            prop_assert!(out.len() <= 1 << 16);
        }
    }

    #[test]
    fn decompresses_what_was_compressed_and_not_a_byte_more_than_allowed(
        chunk in vec(any::<u8>(), 1..2000), times in 1_usize..200, compression in compression(),
    ) {
        let plain = chunk.repeat(times);
        let packed = compress(compression, None, &plain);
        prop_assert_eq!(&decompress(compression, &packed, plain.len()).unwrap(), &plain);
        let cap = plain.len() - 1;
        prop_assert_eq!(decompress(compression, &packed, cap), Err(BatchError::Bomb { cap }));
    }

    #[test]
    fn patches_only_what_they_name(records in records(), offset in 0_i64.., epoch in 0_i32.., time in 0_i64..) {
        let batch = build(BatchOptions::default(), &records);
        let mut bytes = batch.to_bytes().to_vec();
        set_base_offset(&mut bytes, Offset(offset));
        set_leader_epoch(&mut bytes, LeaderEpoch(epoch));
        set_timestamps(&mut bytes, TimestampType::LogAppendTime, time).unwrap();
        let patched = Batch::read(&bytes.into()).unwrap();
        patched.check_crc().unwrap();
        let mut expected = batch.header;
        expected.base_offset = Offset(offset);
        expected.leader_epoch = LeaderEpoch(epoch);
        expected.max_timestamp = time;
        expected.attributes = expected.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        expected.crc = patched.header.crc;
        prop_assert_eq!(patched.header, expected);
        prop_assert!(patched.records(CAP).unwrap().all(|record| record.unwrap().timestamp == time));
    }
}
