//! Kafka's primitive types, byte by byte.

use bytes::Bytes;

use super::*;
use crate::{Chunk, Records, Str};

fn written(write: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut out = Encoder::new();
    write(&mut out);
    out.into_bytes().expect("in memory")
}

fn input(bytes: &[u8]) -> Decoder {
    Decoder::new(Bytes::copy_from_slice(bytes))
}

#[test]
fn unsigned_varints_take_seven_bits_a_byte() {
    for (value, bytes) in [
        (0u32, &[0u8][..]),
        (127, &[0x7f]),
        (128, &[0x80, 0x01]),
        (300, &[0xac, 0x02]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        assert_eq!(written(|e| e.uvarint(value)), bytes);
        assert_eq!(input(bytes).uvarint(), Ok(value));
    }
    // More than 32 bits, more than five bytes, an end too early.
    assert_eq!(input(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(), Err(DecodeError::BadVarint));
    assert_eq!(input(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).uvarint(), Err(DecodeError::BadVarint));
    assert_eq!(input(&[0x80]).uvarint(), Err(DecodeError::TooShort { missing: 1 }));
}

#[test]
fn error_codes_are_counted_as_they_are_written() {
    let mut out = Encoder::new();
    for code in [0, 3, 0, -1, 3] {
        out.error_code(code);
    }
    out.i16(3);
    assert_eq!(out.take_errors(), ErrorTally { none: 2, others: vec![(3, 2), (-1, 1)] });
    assert_eq!(out.take_errors(), ErrorTally::default());
    assert_eq!(out.into_bytes().expect("in memory")[..4], [0, 0, 0, 3]);
}

#[test]
fn null_and_empty_are_different_in_both_encodings() {
    for (flexible, null, empty) in [(false, &[0xff, 0xff][..], &[0, 0][..]), (true, &[0], &[1])] {
        let encode = |value: Option<&Str>| written(|e| e.nullable_string(value, flexible).expect("short"));
        assert_eq!(encode(None), null);
        assert_eq!(encode(Some(&Str::default())), empty);
        assert_eq!(input(null).nullable_string(flexible), Ok(None));
        assert_eq!(input(empty).nullable_string(flexible), Ok(Some(Str::default())));
        assert_eq!(input(null).string(flexible), Err(DecodeError::Null));
    }
    for (flexible, null, empty) in [(false, &[0xff; 4][..], &[0; 4][..]), (true, &[0], &[1])] {
        assert_eq!(input(null).nullable_bytes(flexible), Ok(None));
        assert_eq!(input(empty).nullable_bytes(flexible), Ok(Some(Bytes::new())));
        assert_eq!(input(null).nullable_array(flexible, 1, |d| d.i8()), Ok(None));
        assert_eq!(input(empty).nullable_array(flexible, 1, |d| d.i8()), Ok(Some(Vec::new())));
        assert_eq!(written(|e| e.nullable_records(None, flexible).expect("short")), null);
        assert_eq!(written(|e| e.array::<i8>(&[], flexible, |_, _| Ok(())).expect("short")), empty);
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    assert_eq!(input(&[0, 5, b'a']).string(false), Err(DecodeError::TooShort { missing: 4 }));
    assert_eq!(input(&[0xff, 0xfe]).nullable_string(false), Err(DecodeError::BadLength(-2)));
    assert_eq!(input(&[0x80, 0, 0, 0]).nullable_bytes(false), Err(DecodeError::BadLength(i32::MIN.into())));
    assert_eq!(
        input(&[0xff, 0xff, 0xff, 0xff, 0x0f]).bytes(true),
        Err(DecodeError::TooShort { missing: 0xffff_fffe })
    );
    let count = input(&[0x7f, 0xff, 0xff, 0xff, 1, 2]).array(false, 2, |d| d.i16());
    assert_eq!(count, Err(DecodeError::TooShort { missing: 2 * 0x7fff_ffff - 2 }));
    assert_eq!(input(&[2, 0xff]).string(true), Err(DecodeError::NotUtf8));
}

#[test]
fn small_payloads_are_gathered_and_large_ones_are_chunks_of_their_own() {
    let (small, large) = (Bytes::from(vec![1; 1023]), Bytes::from(vec![2; 1024]));
    let mut out = Encoder::new();
    out.i32(7);
    for payload in [&small, &large, &small, &small, &large] {
        out.records(&Records::from(payload.clone()), true).expect("short");
    }
    out.i8(0);
    assert_eq!(out.len(), 4 + 3 * (2 + 1023) + 2 * (2 + 1024) + 1);
    let chunks = out.into_chunks();
    assert_eq!(chunks.len(), 5);
    let Chunk::Bytes(shared) = &chunks[1] else { panic!("{:?}", chunks[1]) };
    assert_eq!(shared.as_ptr(), large.as_ptr(), "not copied");
}

#[test]
fn a_tag_is_read_inside_of_its_payload_only() {
    // Tag 0 of two bytes, then one byte of the message; the field tries to read four.
    let mut d = input(&[1, 0, 2, 9, 9, 7]);
    let read = d.tagged(|_, inner| inner.i32().map(|_| true));
    assert_eq!(read, Err(DecodeError::TooShort { missing: 2 }));
    let mut d = input(&[1, 5, 2, 9, 9, 7]);
    assert_eq!(d.tagged_keeping(|_, _| Ok(false)), Ok(vec![(5, Bytes::from_static(&[9, 9]))]));
    assert_eq!(d.i8(), Ok(7));
    // Four billion tags in a frame of six bytes.
    let mut d = input(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    assert!(matches!(d.tagged_keeping(|_, _| Ok(false)), Err(DecodeError::TooShort { .. })));
}

#[test]
fn what_follows_a_message_is_left_and_counted() {
    let mut d = input(&[0, 1, 2]);
    assert_eq!(d.i16(), Ok(1));
    assert_eq!(d.finish(), Err(DecodeError::LeftOver(1)));
    assert_eq!(d.into_rest(), &[2][..]);
}
