//! `Str`: a string that shares the frame it was read from.

use bytes::Bytes;

/// UTF-8 text over `Bytes`: cloning is cheap, and reading one from a frame copies nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Str(Bytes);

impl Str {
    pub const fn from_static(text: &'static str) -> Str {
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// None if the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Str> {
        std::str::from_utf8(&bytes).is_ok().then_some(Str(bytes))
    }

    #[allow(unsafe_code)]
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes a `str` or checks the bytes, and nothing changes them afterwards.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// A copy that does not keep the frame alive. Whoever stores a name for long wants this one.
    pub fn detached(&self) -> Str {
        Str(Bytes::copy_from_slice(&self.0))
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl std::ops::Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl std::borrow::Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(Bytes::from(text.into_bytes()))
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl std::fmt::Debug for Str {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

impl std::fmt::Display for Str {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_make_one_gives_utf8() {
        let text = "a\u{e9}\u{4e16}";
        let made = [
            Str::from_static("a\u{e9}\u{4e16}"),
            Str::from(text),
            Str::from(text.to_owned()),
            Str::from_utf8(Bytes::from(text)).expect("UTF-8"),
            Str::from(text).detached(),
        ];
        for one in made {
            assert_eq!(std::str::from_utf8(one.as_str().as_bytes()), Ok(text));
            assert_eq!(one.into_bytes(), text.as_bytes());
        }
        assert_eq!(Str::default().as_str(), "");
        // Half a character, an overlong form, a surrogate.
        for bad in [&[0xe4, 0xb8][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80]] {
            assert_eq!(Str::from_utf8(Bytes::copy_from_slice(bad)), None);
        }
    }

    #[test]
    fn only_utf8_becomes_text_and_order_is_that_of_str() {
        assert!(Str::from_utf8(Bytes::from_static(&[0xff])).is_none());
        let (a, b) = (Str::from("a"), Str::from("\u{e9}"));
        assert_eq!(a.cmp(&b), "a".cmp("\u{e9}"));
        assert_eq!(a, "a");
        // Looked up by &str in ordered maps: Borrow must agree with Eq and Ord.
        let map = std::collections::BTreeMap::from([(a, 1), (b, 2)]);
        assert_eq!(map.get("\u{e9}"), Some(&2));
    }
}
