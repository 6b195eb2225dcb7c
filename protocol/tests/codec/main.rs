//! The codec against everything that knows Kafka's bytes: the interpreter of the same table (`typed`), Kafka's own converters
//! (`golden`), an independent crate (`other_crate`), the traps that other codecs fell into (`traps`), and bytes that are
//! no messages at all (`mutations`).
#![allow(clippy::unwrap_used)]

mod golden;
mod memory;
mod mutations;
mod other_crate;
mod tables;
mod traps;
mod typed;

use bytes::Bytes;
use protocol::schema;
use protocol::value::{self, Value};
use protocol::{DecodeError, Decoder, EncodeError, Encoder, Message};

/// What could be read, written again.
pub type Converted = Result<Result<Bytes, EncodeError>, DecodeError>;

/// The typed codec of a message behind function pointers, so that tests can go over all of them.
pub struct Typed {
    pub name: &'static str,
    /// Reads at the first version, writes at the second.
    pub convert: fn(Bytes, i16, i16) -> Converted,
    /// Writes the default value.
    pub default: fn(i16) -> Result<Bytes, EncodeError>,
}

fn convert<M: Message>(bytes: Bytes, from: i16, to: i16) -> Converted {
    let mut input = Decoder::new(bytes);
    let message = M::decode(&mut input, from)?;
    input.finish()?;
    Ok(write(&message, to))
}

fn write<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    message.encode(&mut out, version)?;
    let length = out.len();
    let bytes = out.into_bytes().expect("all in memory");
    assert_eq!(length, bytes.len() as u64, "the encoder counts what it holds");
    Ok(bytes)
}

macro_rules! table {
    ($($name:ident)*) => {
        /// Every message, in the order of the schema.
        pub const TYPED: &[Typed] = &[$(Typed {
            name: stringify!($name),
            convert: convert::<protocol::messages::$name>,
            default: |version| write(&protocol::messages::$name::default(), version),
        }),*];
    };
}
protocol::each_message!(table);

/// Every message with its schema.
pub fn all() -> impl Iterator<Item = (&'static Typed, &'static schema::Message)> {
    TYPED.iter().map(|t| (t, value::message(t.name).expect("both come from one table")))
}

/// SplitMix64: small, and the same everywhere.
pub fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What the interpreter writes.
pub fn interpreted(
    message: &'static schema::Message,
    value: &Value,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    value::encode(message, value, &mut out, version)?;
    Ok(out.into_bytes().expect("all in memory"))
}

/// What the interpreter reads; everything must be read.
pub fn interpret(
    message: &'static schema::Message,
    bytes: Bytes,
    version: i16,
) -> Result<Value, DecodeError> {
    let mut input = Decoder::new(bytes);
    let value = value::decode(message, &mut input, version)?;
    input.finish()?;
    Ok(value)
}
