//! Reading Kafka's primitive types from a frame.

use bytes::Bytes;

use crate::bounds::{ARRAY_RESERVE_BYTES_MAX, DECODED_BYTES_MAX, STRING_BYTES_MAX, TAGGED_FIELDS_MAX};
use crate::{Records, Str, Uuid};

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends {missing} bytes too early")]
    TooShort { missing: usize },
    #[error("a length of {0} is not possible here")]
    BadLength(i64),
    #[error("null where null is not allowed")]
    Null,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a variable-length integer is too long")]
    BadVarint,
    #[error("the message would take more memory than a frame may")]
    TooMuchMemory,
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("{0} bytes are left over after the message")]
    LeftOver(usize),
    #[error("unknown {what} {value}")]
    Unknown { what: &'static str, value: i64 },
}

/// A position in a frame. Cloning is cheap; the frame is shared.
///
/// `budget_bytes` is what the elements of arrays may still take in memory: an empty string is one byte on the wire and 32
/// in memory, and a frame of nothing but those must not take 32 times its size.
#[derive(Clone, Debug)]
pub struct Decoder {
    rest: Bytes,
    budget_bytes: usize,
}

impl Decoder {
    pub fn new(frame: Bytes) -> Decoder {
        Decoder { rest: frame, budget_bytes: DECODED_BYTES_MAX }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Everything that has not been read.
    pub fn into_rest(self) -> Bytes {
        self.rest
    }

    /// Fails unless everything has been read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::LeftOver(self.rest.len())) }
    }

    /// The next `length` bytes, as a slice of the frame.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::TooShort { missing: length - self.rest.len() });
        }
        Ok(self.rest.split_to(length))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(head) = self.rest.first_chunk::<N>().copied() else {
            return Err(DecodeError::TooShort { missing: N - self.rest.len() });
        };
        bytes::Buf::advance(&mut self.rest, N);
        Ok(head)
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.fixed()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(u128::from_be_bytes(self.fixed()?)))
    }

    /// An unsigned LEB128 integer of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.i8()? as u8;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(DecodeError::BadVarint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::BadVarint)
    }

    /// The length of a string, bytes or array that follows; None for null.
    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (flexible, short) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match length {
            -1 => Ok(None),
            n if n < -1 => Err(DecodeError::BadLength(n)),
            n if n as usize > self.rest.len() => {
                Err(DecodeError::TooShort { missing: n as usize - self.rest.len() })
            }
            n => Ok(Some(n as usize)),
        }
    }

    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str>, DecodeError> {
        match self.length(flexible, true)? {
            None => Ok(None),
            Some(n) if n > STRING_BYTES_MAX => Err(DecodeError::BadLength(n as i64)),
            Some(n) => Str::from_utf8(self.take(n)?).map(Some).ok_or(DecodeError::NotUtf8),
        }
    }

    pub fn string(&mut self, flexible: bool) -> Result<Str, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::Null)
    }

    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        self.length(flexible, false)?.map(|n| self.take(n)).transpose()
    }

    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::Null)
    }

    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(flexible)?.map(Records::from))
    }

    pub fn records(&mut self, flexible: bool) -> Result<Records, DecodeError> {
        self.nullable_records(flexible)?.ok_or(DecodeError::Null)
    }

    /// An array whose elements take at least `element_bytes_min` on the wire.
    ///
    /// The count is believed only as far as the frame can hold that many elements, and memory is reserved in steps: a
    /// frame of a few bytes cannot make us allocate.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        mut element: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let count = match if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) } {
            -1 => return Ok(None),
            n if n < -1 => return Err(DecodeError::BadLength(n)),
            n => n as usize,
        };
        let needed = count.saturating_mul(element_bytes_min.max(1));
        if needed > self.rest.len() {
            return Err(DecodeError::TooShort { missing: needed - self.rest.len() });
        }
        let memory = count.saturating_mul(size_of::<T>());
        self.budget_bytes = self.budget_bytes.checked_sub(memory).ok_or(DecodeError::TooMuchMemory)?;
        let mut items = Vec::with_capacity(count.min(ARRAY_RESERVE_BYTES_MAX / size_of::<T>().max(1)));
        for _ in 0..count {
            items.push(element(self)?);
        }
        Ok(Some(items))
    }

    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, element_bytes_min, element)?.ok_or(DecodeError::Null)
    }

    /// A struct that may be null: one byte, -1 for null and 1 otherwise.
    pub fn nullable_struct<T>(
        &mut self,
        decode: impl FnOnce(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { Ok(None) } else { decode(self).map(Some) }
    }

    /// The tagged fields at the end of a struct. `field` reads the payload of a tag that it knows and returns true; the
    /// payloads of all others are skipped. Any order of the tags is taken, and the last of equal ones counts, as in Kafka.
    pub fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &mut Decoder) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        self.each_tag(|tag, _, input| if field(tag, input)? { input.finish() } else { Ok(()) })
    }

    /// The same, and returns the tags that `field` does not know with their payloads.
    pub fn tagged_keeping(
        &mut self,
        mut field: impl FnMut(u32, &mut Decoder) -> Result<bool, DecodeError>,
    ) -> Result<Vec<(u32, Bytes)>, DecodeError> {
        let mut unknown = Vec::new();
        self.each_tag(|tag, payload, input| {
            if field(tag, input)? {
                return input.finish();
            }
            if unknown.len() == TAGGED_FIELDS_MAX {
                return Err(DecodeError::TooMuchMemory);
            }
            unknown.push((tag, payload));
            Ok(())
        })?;
        Ok(unknown)
    }

    fn each_tag(
        &mut self,
        mut field: impl FnMut(u32, Bytes, &mut Decoder) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let payload = self.take(size)?;
            let mut inner = Decoder { rest: payload.clone(), budget_bytes: self.budget_bytes };
            field(tag, payload, &mut inner)?;
            self.budget_bytes = inner.budget_bytes;
        }
        Ok(())
    }
}
