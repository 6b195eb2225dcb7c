//! Sequences, epochs, wrap-around, duplicates, transactions.

use protocol::batch::{BatchBuilder, BatchOptions};
use protocol::ids::{LeaderEpoch, Offset, ProducerId};

use super::*;

fn batch(epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
    let mut header = simple_header();
    header.base_offset = Offset(offset);
    header.producer_id = ProducerId(9);
    header.producer_epoch = epoch;
    header.base_sequence = sequence;
    header.last_offset_delta = count - 1;
    header.record_count = count;
    header.max_timestamp = 1000 + offset;
    header.leader_epoch = LeaderEpoch(0);
    header
}

fn simple_header() -> BatchHeader {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1, None, Some(b"v"), &[]);
    builder.finish().header
}

fn transactional(mut header: BatchHeader) -> BatchHeader {
    header.attributes = header.attributes.with_transactional(true);
    header
}

#[test]
fn a_sequence_continues_repeats_or_is_refused() {
    let mut state = ProducerState::default();
    for n in 0..7 {
        let next = batch(0, n * 2, 2, i64::from(n) * 2);
        assert_eq!(state.decide(&next), Ok(Verdict::Append));
        state.apply(&next);
    }
    for n in 2..7 {
        let (first, again) = (i64::from(n) * 2, batch(0, n * 2, 2, 99));
        let duplicate =
            Verdict::Duplicate { first_offset: first, last_offset: first + 1, timestamp: 1000 + first };
        assert_eq!(state.decide(&again), Ok(duplicate), "the last five are known");
    }
    for sequence in [0, 13, 15, 100] {
        let error = state.decide(&batch(0, sequence, 2, 99)).expect_err("refused");
        assert!(matches!(error, ProducerError::OutOfOrderSequence { .. }), "{sequence}: {error}");
    }
}

#[test]
fn sequences_wrap_after_the_largest_int() {
    let mut state = ProducerState::default();
    let before = batch(0, i32::MAX - 1, 2, 0);
    state.apply(&before);
    assert_eq!(state.decide(&batch(0, 0, 1, 2)), Ok(Verdict::Append));
    assert!(state.decide(&batch(0, 1, 1, 2)).is_err());
    let across = batch(0, 0, 3, 2);
    state.apply(&across);
    assert!(matches!(state.decide(&across), Ok(Verdict::Duplicate { first_offset: 2, .. })));
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() {
    let mut state = ProducerState::default();
    state.apply(&batch(3, 0, 1, 0));
    assert!(matches!(
        state.decide(&batch(2, 1, 1, 1)),
        Err(ProducerError::InvalidEpoch { current: 3, found: 2, .. })
    ));
    assert!(matches!(state.decide(&batch(4, 1, 1, 1)), Err(ProducerError::OutOfOrderSequence { .. })));
    assert_eq!(state.decide(&batch(4, 0, 1, 1)), Ok(Verdict::Append));
}

#[test]
fn the_first_unstable_offset_follows_open_and_unreplicated_transactions() {
    let mut state = ProducerState::default();
    assert_eq!(state.first_unstable_offset(), None);
    state.apply(&transactional(batch(0, 0, 2, 10)));
    assert_eq!(state.first_unstable_offset(), Some(10));
    assert!(state.decide(&batch(0, 2, 1, 12)).is_err(), "a plain write inside of a transaction");
    let marker = Marker { commit: false, coordinator_epoch: 5, timestamp: 1 };
    let end = batch(0, NO_SEQUENCE, 1, 12);
    assert!(state.decide_marker(&end, marker, 0).is_ok());
    let aborted = state.apply_marker(&end, marker).expect("it was open");
    assert_eq!((aborted.first_offset, aborted.last_offset, aborted.last_stable_offset), (10, 12, 13));
    assert_eq!(state.first_unstable_offset(), Some(10), "until the marker is replicated");
    state.advance_high_watermark(12);
    assert_eq!(state.first_unstable_offset(), Some(10));
    state.advance_high_watermark(13);
    assert_eq!(state.first_unstable_offset(), None);
    let old = Marker { commit: true, coordinator_epoch: 4, timestamp: 1 };
    assert!(matches!(state.decide_marker(&end, old, 0), Err(ProducerError::CoordinatorFenced { .. })));
}

#[test]
fn producers_expire_unless_their_transaction_is_open() {
    let mut state = ProducerState::default();
    state.apply(&batch(0, 0, 1, 0));
    let mut other = transactional(batch(0, 0, 1, 1));
    other.producer_id = ProducerId(7);
    state.apply(&other);
    state.expire(10_000, 100);
    assert_eq!(state.producers().keys().copied().collect::<Vec<_>>(), [7]);
}
