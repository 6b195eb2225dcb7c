//! Kafka's nouns and bytes: ids, error codes, the codec of every message, record batches, config definitions.
//!
//! **Invariant:** knows no sockets, files or clocks. Nothing here panics on bytes from outside, and a length from the wire
//! never reserves more memory than the frame can hold.

pub mod access;
mod api_key;
pub mod batch;
pub mod bounds;
pub mod chunk;
pub mod codec;
pub mod config;
mod error;
pub mod header;
pub mod ids;
pub mod messages;
pub mod record_frame;
pub mod schema;
mod text;
pub mod uuid;
pub mod value;

pub use api_key::ApiKey;
pub use chunk::{Chunk, Records, Region};
pub use codec::{DecodeError, Decoder, EncodeError, Encoder, ErrorTally, LogRecord, Message, Request};
pub use error::ErrorCode;
pub use text::Str;
pub use uuid::Uuid;
