//! Kafka's 128-bit ids: topics, log directories, clusters, incarnations.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id, written as 22 characters of URL-safe base64 without padding (Kafka's `Uuid`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub u128);

/// The text is not 22 characters of URL-safe base64.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: 22 characters of URL-safe base64 are expected")]
pub struct ParseError(String);

impl Uuid {
    pub const ZERO: Uuid = Uuid(0);
    /// The metadata topic (Kafka's `Uuid.METADATA_TOPIC_ID`, and `ONE_UUID`).
    pub const METADATA_TOPIC: Uuid = Uuid(1);
    /// Kafka's `DirectoryId.UNASSIGNED`.
    pub const DIRECTORY_UNASSIGNED: Uuid = Uuid(0);
    /// Kafka's `DirectoryId.LOST`.
    pub const DIRECTORY_LOST: Uuid = Uuid(1);
    /// Kafka's `DirectoryId.MIGRATING`.
    pub const DIRECTORY_MIGRATING: Uuid = Uuid(2);

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// A version 4 id from random bits. The first hundred values are reserved by Kafka, and an id never begins with
    /// a dash, since tools take it for an option.
    pub fn from_random(mut next: impl FnMut() -> u128) -> Uuid {
        loop {
            let bits = next() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
            let id = Uuid(bits);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 22];
        // 128 bits in 22 characters: the last one holds the lowest two bits, shifted up by four.
        for (i, c) in text.iter_mut().enumerate().take(21) {
            *c = ALPHABET[(self.0 >> (122 - 6 * i)) as usize & 63];
        }
        text[21] = ALPHABET[(self.0 << 4) as usize & 63];
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Uuid, ParseError> {
        let bad = || ParseError(text.to_owned());
        let digit = |c: u8| ALPHABET.iter().position(|a| *a == c).map(|n| n as u128).ok_or_else(bad);
        let [head @ .., last] = text.trim_end_matches('=').as_bytes() else { return Err(bad()) };
        if head.len() != 21 {
            return Err(bad());
        }
        let mut bits = 0u128;
        for c in head {
            bits = bits << 6 | digit(*c)?;
        }
        Ok(Uuid(bits << 2 | digit(*last)? >> 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kafkas_and_goes_both_ways() {
        // From Kafka: new Uuid(1L, 2L).toString() and the reserved ids.
        assert_eq!(Uuid((1 << 64) | 2).to_string(), "AAAAAAAAAAEAAAAAAAAAAg");
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert_eq!(Uuid(bits).to_string().parse(), Ok(Uuid(bits)));
        }
        assert_eq!(
            "4L6g3nShT-eMCtK--X86sw".parse::<Uuid>().map(|u| u.to_string()),
            Ok("4L6g3nShT-eMCtK--X86sw".to_owned())
        );
        for bad in ["", "short", "4L6g3nShT-eMCtK--X86s!", "4L6g3nShT-eMCtK--X86swAAA"] {
            assert!(bad.parse::<Uuid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_ids_are_version_4_and_never_begin_with_a_dash() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u128;
        for _ in 0..1000 {
            let id = Uuid::from_random(|| {
                state =
                    state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(0x5851_f42d);
                state
            });
            assert_eq!(id.0 >> 76 & 0xf, 4);
            assert!(!id.to_string().starts_with('-'));
        }
    }
}
