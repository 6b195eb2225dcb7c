//! Zig-zag variable-length integers, as the records of a batch have them, and the two sources that they are read from:
//! a slice, and a window over a decompressor.
//!
//! A number takes at most 5 (32-bit) or 10 (64-bit) bytes. Bits beyond the type's width are an error here; Kafka's
//! readers drop them, each in its own way.

use super::BatchError;
use super::compression::Decompressor;
use crate::bounds::DECOMPRESS_WINDOW_BYTES;

/// Why a source gave no value.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The bytes are not records.
    Malformed(&'static str),
    /// The bytes do not decompress, or to too many.
    Decompress(BatchError),
}

impl ReadError {
    /// The error of the batch whose record `index` this is about.
    pub(super) fn at(self, index: i32) -> BatchError {
        match self {
            ReadError::Malformed(what) => BatchError::Record { index, what },
            ReadError::Decompress(error) => error,
        }
    }
}

const END: ReadError = ReadError::Malformed("the bytes end within it");
const OVERLONG: ReadError = ReadError::Malformed("a variable-length integer is too long");

/// Bytes to walk over, front to back.
pub(super) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, ReadError>;
    /// Passes over `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), ReadError>;
    /// Bytes passed so far.
    fn position(&self) -> usize;
    /// Whether nothing follows.
    fn at_end(&mut self) -> Result<bool, ReadError>;

    fn varint(&mut self) -> Result<i32, ReadError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(zigzag(u64::from(first)) as i32);
        }
        let raw = self.varint_rest(first, 5)?;
        u32::try_from(raw).map_err(|_| OVERLONG).map(|raw| zigzag(u64::from(raw)) as i32)
    }

    fn varlong(&mut self) -> Result<i64, ReadError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(zigzag(u64::from(first))) } else { Ok(zigzag(self.varint_rest(first, 10)?)) }
    }

    /// The value of an unsigned integer of at most `bytes_max` bytes, whose first byte is given.
    fn varint_rest(&mut self, first: u8, bytes_max: u32) -> Result<u64, ReadError> {
        let mut value = u64::from(first & 0x7f);
        for index in 1..bytes_max {
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
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Slice<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Slice { bytes, position }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }
}

impl Source for Slice<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, ReadError> {
        let byte = *self.bytes.get(self.position).ok_or(END)?;
        self.position += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), ReadError> {
        if count > self.remaining() {
            return Err(END);
        }
        self.position += count;
        Ok(())
    }

    fn position(&self) -> usize {
        self.position
    }

    fn at_end(&mut self) -> Result<bool, ReadError> {
        Ok(self.remaining() == 0)
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
}

impl<'a> Window<'a> {
    pub(super) fn new(reader: Decompressor<'a>) -> Self {
        let buffer = vec![0; DECOMPRESS_WINDOW_BYTES].into_boxed_slice();
        Window { reader, buffer, start: 0, end: 0, before: 0 }
    }

    /// Fills the window anew; false at the end.
    fn refill(&mut self) -> Result<bool, ReadError> {
        debug_assert_eq!(self.start, self.end, "bytes of the window would be lost");
        self.before += self.end;
        self.start = 0;
        self.end = 0;
        self.end = self.reader.read(&mut self.buffer).map_err(ReadError::Decompress)?;
        Ok(self.end > 0)
    }
}

impl Source for Window<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, ReadError> {
        if self.start == self.end && !self.refill()? {
            return Err(END);
        }
        let byte = self.buffer[self.start];
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), ReadError> {
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

    fn at_end(&mut self) -> Result<bool, ReadError> {
        Ok(self.start == self.end && !self.refill()?)
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
