//! Zig-zag variable-length integers, as the records of a batch have them, and the two sources that they are read from:
//! a slice, and a window over a decompressor.
//!
//! A number takes at most 5 (32-bit) or 10 (64-bit) bytes. Bits beyond the type's width are an error here; Kafka's
//! readers drop them, each in its own way.

use super::BatchError;
use super::compression::Decompressor;
use crate::bounds::DECOMPRESS_WINDOW_BYTES;

/// Why a source gave no value: what is wrong with the record that is read. A plain string, so that the happy path stays
/// in registers; what a decompressor says is kept by its [`Window`].
pub(super) type Malformed = &'static str;

/// The error of the batch whose record `index` does not read from `source`.
#[cold]
pub(super) fn failure<S: Source>(source: &mut S, index: i32, what: Malformed) -> BatchError {
    source.decompress_error().unwrap_or(BatchError::Record { index, what })
}

const END: Malformed = "the bytes end within it";
const OVERLONG: Malformed = "a variable-length integer is too long";

/// Bytes to walk over, front to back.
pub(super) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Malformed>;
    /// Passes over `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), Malformed>;
    /// Bytes passed so far.
    fn position(&self) -> usize;
    /// Whether nothing follows.
    fn at_end(&mut self) -> Result<bool, Malformed>;

    /// The error behind the last failure, if the bytes did not decompress.
    fn decompress_error(&mut self) -> Option<BatchError> {
        None
    }

    /// One and two bytes, which nearly all numbers have, are decoded in line: the walk over small records is most of
    /// the cost of accepting them.
    #[inline(always)]
    fn varint(&mut self) -> Result<i32, Malformed> {
        let raw = self.varint_raw(5)?;
        u32::try_from(raw).map_err(|_| OVERLONG).map(|raw| zigzag(u64::from(raw)) as i32)
    }

    #[inline(always)]
    fn varlong(&mut self) -> Result<i64, Malformed> {
        Ok(zigzag(self.varint_raw(10)?))
    }

    /// An unsigned integer of at most `bytes_max` bytes.
    #[inline(always)]
    fn varint_raw(&mut self, bytes_max: u32) -> Result<u64, Malformed> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let second = self.byte()?;
        let low = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
        if second < 0x80 { Ok(low) } else { self.varint_rest(low, bytes_max) }
    }

    /// The rest of an unsigned integer of at most `bytes_max` bytes, after two of them.
    fn varint_rest(&mut self, low: u64, bytes_max: u32) -> Result<u64, Malformed> {
        let mut value = low;
        for index in 2..bytes_max {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return Err(OVERLONG);
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(OVERLONG)
    }
}

fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Bytes in memory.
pub(super) struct Slice<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Slice<'a> {
    /// What follows the first `position` bytes.
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Slice { rest: &bytes[position..], length: bytes.len() }
    }
}

impl Source for Slice<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(END)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline(always)]
    fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        self.rest = self.rest.get(count..).ok_or(END)?;
        Ok(())
    }

    #[inline(always)]
    fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    fn at_end(&mut self) -> Result<bool, Malformed> {
        Ok(self.rest.is_empty())
    }
}

/// A small window that runs over what a decompressor gives: memory does not grow with the records.
pub(super) struct Window<'a> {
    reader: Decompressor<'a>,
    buffer: Box<[u8]>,
    /// `buffer[start..end]` has not been passed.
    start: usize,
    end: usize,
    /// Bytes that left the window before `buffer[0]`.
    before: usize,
    error: Option<BatchError>,
}

impl<'a> Window<'a> {
    pub(super) fn new(reader: Decompressor<'a>) -> Self {
        let buffer = vec![0; DECOMPRESS_WINDOW_BYTES].into_boxed_slice();
        Window { reader, buffer, start: 0, end: 0, before: 0, error: None }
    }

    /// Fills the window anew; false at the end.
    fn refill(&mut self) -> Result<bool, Malformed> {
        debug_assert_eq!(self.start, self.end, "bytes of the window would be lost");
        self.before += self.end;
        self.start = 0;
        self.end = 0;
        match self.reader.read(&mut self.buffer) {
            Ok(count) => self.end = count,
            Err(error) => {
                self.error = Some(error);
                return Err("its bytes do not decompress");
            }
        }
        Ok(self.end > 0)
    }
}

impl Source for Window<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, Malformed> {
        if self.start == self.end && !self.refill()? {
            return Err(END);
        }
        let byte = self.buffer[self.start];
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        let mut left = count;
        loop {
            let step = left.min(self.end - self.start);
            self.start += step;
            left -= step;
            if left == 0 {
                return Ok(());
            }
            if !self.refill()? {
                return Err(END);
            }
        }
    }

    fn position(&self) -> usize {
        self.before + self.start
    }

    fn at_end(&mut self) -> Result<bool, Malformed> {
        Ok(self.start == self.end && !self.refill()?)
    }

    fn decompress_error(&mut self) -> Option<BatchError> {
        self.error.take()
    }
}

/// Appends `value` as a zig-zag variable-length integer of 32 or 64 bits; the bytes are the same.
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`put`] appends.
pub(super) fn len(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}
