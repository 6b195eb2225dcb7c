//! Every bound of Weir in one place: queues, frames, batches, waits, caches.
//!
//! A bound that Kafka has as a config is named after it here and is the default; those without a config are ours.
//! Sizes are bytes unless the name says otherwise.

use std::time::Duration;

// --- frames and connections

/// `socket.request.max.bytes`: the largest request frame; a longer one closes the connection.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The largest answer that our own client accepts.
pub const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// `queued.max.request.bytes` of ours (Kafka's default is "no limit"): memory of all frames being received.
pub const REQUEST_BYTES_IN_FLIGHT_MAX: usize = 512 * 1024 * 1024;
/// Requests of one connection that were dispatched and whose answers are not written yet.
pub const PENDING_ANSWERS_MAX: usize = 128;
/// Bytes of those answers that may lie in memory (file regions do not count).
pub const PENDING_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A frame buffer starts with this and grows with the bytes received, never with the length announced.
pub const FRAME_BUFFER_BYTES_FIRST: usize = 4 * 1024;
/// A frame that was begun must be complete within this, or the connection is closed.
pub const FRAME_RECEIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// `max.connections` of ours: connections of one listener.
pub const CONNECTIONS_MAX: usize = 100_000;

// --- codec

/// What an array of the wire may reserve before its elements are read: elements are then added one by one.
pub const ARRAY_RESERVE_BYTES_MAX: usize = 64 * 1024;
/// What the elements of all arrays of one frame may take in memory. Kafka knows no such bound; a real message stays far below.
pub const DECODED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Kafka's limit on strings, in both encodings.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// Unknown tagged fields of one struct that are kept (internal records only; elsewhere they are skipped).
pub const TAGGED_FIELDS_MAX: usize = 1024;

// --- record batches

/// `message.max.bytes`: the largest batch that a topic accepts by default.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024 + 12;
/// What one batch may decompress to; more is taken for a decompression bomb.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The window through which compressed records are walked when a produce request is checked.
pub const DECOMPRESS_WINDOW_BYTES: usize = 16 * 1024;
/// The largest power of two of a zstd window: what `compression.zstd.level=22` writes (128 MiB, touched only as used).
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Record errors that are named one by one in the answer to a refused batch.
pub const RECORD_ERRORS_MAX: usize = 1000;
