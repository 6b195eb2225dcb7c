//! Bytes that are no messages: cut, flipped, lengthened, with lengths that lie. Nothing may panic or take much memory, and both
//! codecs must agree on what is a message. A bounded cousin of the fuzz targets that runs with stable Rust in every test run;
//! `WEIR_MUTATION_ROUNDS` makes it longer.

use bytes::Bytes;
use protocol::header::{RequestHeader, RequestPrefix};
use protocol::schema::Message;
use protocol::{ApiKey, Decoder, value};

use crate::{Typed, all, interpret, interpreted, numbers};

fn rounds() -> usize {
    std::env::var("WEIR_MUTATION_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

/// One to three changes, of the kinds that break codecs.
fn mutate(bytes: &mut Vec<u8>, next: &mut dyn FnMut() -> u64) {
    for _ in 0..1 + next() % 3 {
        let at = (next() % (bytes.len() as u64 + 1)) as usize;
        match next() % 8 {
            0 => bytes.truncate(at),
            1 => bytes.extend((0..next() % 8).map(|_| 0u8)),
            2 => bytes.insert(at, next() as u8),
            // Lengths that lie: a huge varint, a huge or negative int32 or int16.
            3 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            4 => overwrite(bytes, at, &i32::MAX.to_be_bytes()),
            5 => overwrite(bytes, at, &(-2i32).to_be_bytes()),
            6 => overwrite(bytes, at, &[0xff, 0xff]),
            _ => overwrite(bytes, at, &[next() as u8]),
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in bytes[at..].iter_mut().zip(with) {
        *to = *from;
    }
}

/// Feeds one input to both codecs; true if it is a message.
fn agree(typed: &Typed, m: &'static Message, bytes: Bytes, version: i16) -> bool {
    let a = (typed.convert)(bytes.clone(), version, version);
    let b = interpret(m, bytes.clone(), version);
    match (a, b) {
        (Ok(written), Ok(value)) => {
            let written = written.expect("what was read can be written");
            // Internal records keep unknown tags, which the interpreter skips.
            if matches!(m.category.as_str(), "request" | "response" | "header") {
                assert_eq!(interpreted(m, &value, version), Ok(written), "{} v{version} {bytes:x?}", m.name);
            }
            true
        }
        (Err(_), Err(_)) => false,
        (a, b) => panic!("{} v{version} {bytes:x?}: typed {a:?}, interpreted {b:?}", m.name),
    }
}

#[test]
fn changed_bytes_never_panic_and_mean_the_same_to_both_codecs() {
    let mut next = numbers(0x5eed);
    let (mut messages, mut refused) = (0, 0);
    for (typed, m) in all() {
        for version in m.versions.range() {
            for _ in 0..rounds() {
                let value = value::random(m, version, &mut next);
                let mut bytes = interpreted(m, &value, version).expect("made for this version").to_vec();
                mutate(&mut bytes, &mut next);
                if agree(typed, m, bytes.into(), version) { messages += 1 } else { refused += 1 }
            }
        }
    }
    assert!(messages > 1000 && refused > 1000, "{messages} messages, {refused} refused");
}

#[test]
fn every_cut_of_every_message_is_refused() {
    let mut next = numbers(8);
    for (typed, m) in all() {
        for version in m.versions.range() {
            let bytes = interpreted(m, &value::populated(m, version, &mut next), version)
                .expect("made for this version");
            for length in 0..bytes.len() {
                let cut = (typed.convert)(bytes.slice(..length), version, version);
                // What follows the fields of a message is for its reader to refuse; a cut has to be seen by the codec.
                assert!(cut.is_err(), "{} v{version} cut to {length} of {}", m.name, bytes.len());
            }
        }
    }
}

#[test]
fn random_bytes_are_refused_or_read_alike() {
    let mut next = numbers(9);
    for (typed, m) in all() {
        for version in m.versions.range() {
            for _ in 0..rounds() / 4 {
                let length = next() % 80;
                // Small numbers are likely: they pass as lengths and go deeper.
                let byte = |r: u64| if r & 0x300 == 0 { r as u8 } else { (r & 7) as u8 };
                let bytes: Bytes = (0..length).map(|_| byte(next())).collect();
                agree(typed, m, bytes, version);
            }
        }
    }
}

#[test]
fn random_headers_are_refused_or_read() {
    let mut next = numbers(10);
    let mut read = 0;
    for _ in 0..rounds() * 500 {
        let length = next() % 24;
        let mut frame: Vec<u8> =
            (0..length).map(|_| if next().is_multiple_of(2) { 0 } else { next() as u8 }).collect();
        let known: Vec<ApiKey> = ApiKey::all().collect();
        let key = known[(next() % known.len() as u64) as usize];
        overwrite(&mut frame, 0, &key.code().to_be_bytes());
        if let Ok(prefix) = RequestPrefix::peek(&frame) {
            let header = RequestHeader::decode(&mut Decoder::new(frame.into()), key, prefix.version);
            read += usize::from(header.is_ok());
        }
    }
    assert!(read > 100, "{read} headers");
}
