//! Bytes to values and back: what the generated messages stand on.
//!
//! Decoding borrows: strings and bytes are slices of the frame. A length from the wire never reserves more memory than
//! the frame can hold, and nothing panics. Encoding yields chunks: small fields are gathered, large payloads and file
//! regions are passed on without a copy.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, Decoder};
pub use encode::{EncodeError, Encoder, ErrorTally};

use std::ops::RangeInclusive;

use crate::ApiKey;

/// A message with its versions. Implemented by generated code only.
pub trait Message: Clone + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    const NAME: &'static str;
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact encodings and tagged fields.
    const FLEXIBLE_FROM: Option<i16>;

    /// Appends the message. Fails when a field is set that the version cannot carry.
    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError>;

    /// Reads the message from the front of `input`; what follows is left there.
    fn decode(input: &mut Decoder, version: i16) -> Result<Self, DecodeError>;
}

/// A request, and the response that belongs to it.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}

/// The records of one internal log (or the keys, or the values of it), told apart by a type number. Implemented by generated
/// code only: `MetadataRecord`, `GroupKey`, `GroupValue`, `TransactionKey`, ...
pub trait LogRecord: Sized {
    /// The type's number in the log.
    fn record_type(&self) -> i16;

    /// The newest version of this type.
    fn newest_version(&self) -> i16;

    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError>;

    /// Reads a record of type `record_type`. A type that this version does not know is `DecodeError::Unknown`.
    fn decode(record_type: i16, input: &mut Decoder, version: i16) -> Result<Self, DecodeError>;
}
