//! Writing Kafka's primitive types as chunks.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Chunk, Records, Str, Uuid};

/// A payload of at least this size is passed on as a chunk of its own; a smaller one is cheaper to copy.
const SHARED_BYTES_MIN: usize = 1 << 10;

/// Why a message cannot be written at a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("{field} is set, but version {version} cannot carry it")]
    NotInVersion { field: &'static str, version: i16 },
    #[error("{field} is null, but version {version} does not allow that")]
    Null { field: &'static str, version: i16 },
    #[error("a string, array or payload of {0} is too long for its length field")]
    TooLong(usize),
}

/// Gathers what is written: small fields into one buffer, large payloads as they are.
#[derive(Debug, Default)]
pub struct Encoder {
    chunks: Vec<Chunk>,
    /// Bytes in `chunks`.
    sealed_bytes: u64,
    tail: BytesMut,
    errors: ErrorTally,
}

/// The error codes of one message: how often each was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorTally {
    /// Fields that said "no error".
    pub none: u32,
    /// The others by their code; few, and mostly none.
    pub others: Vec<(i16, u32)>,
}

impl ErrorTally {
    fn add(&mut self, code: i16) {
        if code == 0 {
            self.none += 1;
        } else if let Some((_, count)) = self.others.iter_mut().find(|(known, _)| *known == code) {
            *count += 1;
        } else {
            self.others.push((code, 1));
        }
    }
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// An encoder whose first buffer takes `capacity` bytes without growing.
    pub fn with_capacity(capacity: usize) -> Encoder {
        Encoder { tail: BytesMut::with_capacity(capacity), ..Encoder::default() }
    }

    /// Bytes written so far, file regions included.
    pub fn len(&self) -> u64 {
        self.sealed_bytes + self.tail.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn into_chunks(mut self) -> Vec<Chunk> {
        self.seal();
        self.chunks
    }

    /// Everything in one piece. A file region among the chunks cannot be flattened here and makes this None.
    pub fn into_bytes(mut self) -> Option<Bytes> {
        if self.chunks.is_empty() {
            return Some(self.tail.freeze());
        }
        self.seal();
        Records::from(self.chunks).to_bytes()
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.sealed_bytes += self.tail.len() as u64;
            self.chunks.push(Chunk::Bytes(self.tail.split().freeze()));
        }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    /// Appends a payload without a length; large ones are shared, not copied.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.raw(bytes);
        }
        self.chunk(Chunk::Bytes(bytes.clone()));
    }

    fn chunk(&mut self, chunk: Chunk) {
        self.seal();
        self.sealed_bytes += chunk.len();
        self.chunks.push(chunk);
    }

    pub fn bool(&mut self, value: bool) {
        self.tail.put_u8(u8::from(value));
    }

    pub fn i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    /// An `i16` that is an error code: it is counted.
    pub fn error_code(&mut self, value: i16) {
        self.errors.add(value);
        self.i16(value);
    }

    /// The error codes that were written so far; they are counted anew from here on.
    pub fn take_errors(&mut self) -> ErrorTally {
        std::mem::take(&mut self.errors)
    }

    pub fn u16(&mut self, value: u16) {
        self.tail.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.tail.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.tail.put_f64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.tail.put_u128(value.0);
    }

    /// An unsigned LEB128 integer.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    fn compact_length(&mut self, length: usize) -> Result<(), EncodeError> {
        let length = u32::try_from(length)
            .ok()
            .filter(|n| *n < i32::MAX as u32)
            .ok_or(EncodeError::TooLong(length))?;
        self.uvarint(length + 1);
        Ok(())
    }

    fn wide_length(&mut self, length: usize, flexible: bool) -> Result<(), EncodeError> {
        if flexible {
            return self.compact_length(length);
        }
        self.i32(i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?);
        Ok(())
    }

    fn wide_null(&mut self, flexible: bool) {
        if flexible { self.uvarint(0) } else { self.i32(-1) }
    }

    pub fn string(&mut self, value: &Str, flexible: bool) -> Result<(), EncodeError> {
        let short = i16::try_from(value.len()).map_err(|_| EncodeError::TooLong(value.len()))?;
        if flexible {
            self.compact_length(value.len())?
        } else {
            self.i16(short)
        }
        self.raw(value.as_bytes());
        Ok(())
    }

    pub fn nullable_string(&mut self, value: Option<&Str>, flexible: bool) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(value, flexible)?,
            None if flexible => self.uvarint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    pub fn bytes(&mut self, value: &Bytes, flexible: bool) -> Result<(), EncodeError> {
        self.wide_length(value.len(), flexible)?;
        self.shared(value);
        Ok(())
    }

    pub fn nullable_bytes(&mut self, value: Option<&Bytes>, flexible: bool) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(value, flexible)?,
            None => self.wide_null(flexible),
        }
        Ok(())
    }

    pub fn records(&mut self, value: &Records, flexible: bool) -> Result<(), EncodeError> {
        let length = usize::try_from(value.len()).map_err(|_| EncodeError::TooLong(usize::MAX))?;
        self.wide_length(length, flexible)?;
        for chunk in value.chunks() {
            match chunk {
                Chunk::Bytes(bytes) => self.shared(bytes),
                region => self.chunk(region.clone()),
            }
        }
        Ok(())
    }

    pub fn nullable_records(&mut self, value: Option<&Records>, flexible: bool) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(value, flexible)?,
            None => self.wide_null(flexible),
        }
        Ok(())
    }

    pub fn array<T>(
        &mut self,
        items: &[T],
        flexible: bool,
        mut element: impl FnMut(&mut Encoder, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.wide_length(items.len(), flexible)?;
        items.iter().try_for_each(|item| element(self, item))
    }

    pub fn nullable_array<T>(
        &mut self,
        items: Option<&[T]>,
        flexible: bool,
        element: impl FnMut(&mut Encoder, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match items {
            Some(items) => self.array(items, flexible, element),
            None => {
                self.wide_null(flexible);
                Ok(())
            }
        }
    }

    /// A struct that may be null: -1, or 1 and the struct.
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        encode: impl FnOnce(&mut Encoder, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.i8(1);
                encode(self, value)
            }
            None => {
                self.i8(-1);
                Ok(())
            }
        }
    }

    /// Writes a field as tagged: its size comes first, so it is written apart.
    pub fn tagged(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut inner = Encoder::new();
        write(&mut inner)?;
        self.uvarint(tag);
        self.uvarint(u32::try_from(inner.len()).map_err(|_| EncodeError::TooLong(usize::MAX))?);
        for chunk in inner.into_chunks() {
            match chunk {
                Chunk::Bytes(bytes) => self.shared(&bytes),
                region => self.chunk(region),
            }
        }
        Ok(())
    }
}
