//! The five compressions of a batch's records: none, gzip, snappy, lz4, zstd.
//!
//! Decompression is a stream with a cap: it gives at most so many bytes, and holds little more than the codec's own
//! window in memory. What consumers are known to refuse is refused here too:
//!
//! - snappy: xerial's framing (`82 "SNAPPY" 0`, versions, then blocks with 32-bit lengths), as the Java client writes,
//!   or one raw block, as librdkafka writes;
//! - lz4: one frame with its end mark, independent blocks, no dictionary (Kafka's Lz4BlockInputStream);
//! - gzip: one or more members; zstd: one or more frames.

use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::BatchError;
use super::snappy::{self, SnappyReader};
use crate::bounds::{DECOMPRESS_WINDOW_BYTES, ZSTD_WINDOW_LOG_MAX};

/// How the records of a batch are compressed; the number is that of the attribute bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    /// All of them, by number.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn id(self) -> i8 {
        self as i8
    }

    pub fn from_id(id: i8) -> Option<Compression> {
        Self::ALL.into_iter().find(|c| c.id() == id)
    }

    /// Kafka's name in configs: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The compression of that name; `compression.type` also takes `uncompressed` for none.
    pub fn from_name(name: &str) -> Option<Compression> {
        if name == "uncompressed" {
            return Some(Compression::None);
        }
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// Compresses `records`, as Kafka's own producer would: `level` is that of `compression.<name>.level` and counts for
/// gzip (1-9, -1 is the default) and zstd; the lz4 encoder here has one level.
pub fn compress(compression: Compression, level: Option<i32>, records: &[u8]) -> Vec<u8> {
    const MEMORY: &str = "writing to memory cannot fail";
    match compression {
        Compression::None => records.to_vec(),
        Compression::Gzip => {
            let level = level
                .and_then(|level| u32::try_from(level).ok())
                .map_or_else(flate2::Compression::default, |l| flate2::Compression::new(l.min(9)));
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(records).expect(MEMORY);
            out.finish().expect(MEMORY)
        }
        Compression::Snappy => snappy::compress(records),
        Compression::Lz4 => {
            let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
            let mut out = FrameEncoder::with_frame_info(info, Vec::new());
            out.write_all(records).expect(MEMORY);
            out.finish().expect(MEMORY)
        }
        Compression::Zstd => {
            let range = zstd::compression_level_range();
            let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL).clamp(*range.start(), *range.end());
            zstd::bulk::compress(records, level).expect(MEMORY)
        }
    }
}

/// Decompresses all of `payload`, to at most `cap` bytes.
///
/// Memory grows with the bytes that come out, not with a length that the payload announces.
///
/// # Errors
/// `Decompress`, `Bomb`.
pub fn decompress(compression: Compression, payload: &[u8], cap: usize) -> Result<Vec<u8>, BatchError> {
    let mut reader = Decompressor::new(compression, payload, cap)?;
    let mut out = Vec::new();
    let mut filled = 0;
    loop {
        if filled == out.len() {
            out.resize((filled * 2).max(DECOMPRESS_WINDOW_BYTES).min(cap.saturating_add(1)), 0);
        }
        match reader.read(&mut out[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    out.truncate(filled);
    Ok(out)
}

enum Codec<'a> {
    None(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a>),
    Lz4(Box<FrameDecoder<&'a [u8]>>),
    Zstd(zstd::Decoder<'static, &'a [u8]>),
}

/// A payload being decompressed, piece by piece.
pub(super) struct Decompressor<'a> {
    codec: Codec<'a>,
    cap: usize,
    given: usize,
}

impl<'a> Decompressor<'a> {
    pub(super) fn new(compression: Compression, payload: &'a [u8], cap: usize) -> Result<Self, BatchError> {
        let codec = match compression {
            Compression::None => Codec::None(payload),
            Compression::Gzip => Codec::Gzip(Box::new(MultiGzDecoder::new(payload))),
            Compression::Snappy => Codec::Snappy(SnappyReader::new(payload)),
            Compression::Lz4 => {
                check_lz4_frame(payload).map_err(|what| BatchError::Decompress(what.to_owned()))?;
                Codec::Lz4(Box::new(FrameDecoder::new(payload)))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(payload).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
                Codec::Zstd(decoder)
            }
        };
        Ok(Decompressor { codec, cap, given: 0 })
    }

    /// Fills the front of `out`; 0 at the end. `out` must not be empty.
    ///
    /// # Errors
    /// `Decompress`; `Bomb` as soon as more than the cap has come out.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, BatchError> {
        let count = match &mut self.codec {
            Codec::None(rest) => rest.read(out),
            Codec::Gzip(reader) => reader.read(out),
            Codec::Snappy(reader) => reader.read(out),
            Codec::Lz4(reader) => reader.read(out),
            Codec::Zstd(reader) => reader.read(out),
        };
        let count = count.map_err(failed)?;
        self.given += count;
        if self.given > self.cap { Err(BatchError::Bomb { cap: self.cap }) } else { Ok(count) }
    }
}

fn failed(error: io::Error) -> BatchError {
    BatchError::Decompress(error.to_string())
}

/// Checks that `payload` is exactly one lz4 frame that every client can read, without decompressing it.
///
/// The decoder takes a frame without end mark for a complete one, linked blocks for granted, and does not look behind
/// the frame: each of them stops some consumer.
fn check_lz4_frame(payload: &[u8]) -> Result<(), &'static str> {
    const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
    const CUT_OFF: &str = "the lz4 frame is cut off";
    let rest = payload.strip_prefix(&MAGIC).ok_or("not an lz4 frame")?;
    let &[flags, _block_size, ref rest @ ..] = rest else { return Err(CUT_OFF) };
    let has = |bit: u8| flags & 1 << bit != 0;
    if flags >> 6 != 1 || has(1) {
        return Err("unknown version of the lz4 frame");
    }
    if !has(5) {
        return Err("the blocks of the lz4 frame depend on each other");
    }
    if has(0) {
        return Err("the lz4 frame needs a dictionary");
    }
    let header_bytes = if has(3) { 9 } else { 1 };
    let (block_checksum_bytes, content_checksum_bytes) =
        (if has(4) { 4 } else { 0 }, if has(2) { 4 } else { 0 });
    let mut rest = rest.get(header_bytes..).ok_or(CUT_OFF)?;
    loop {
        let (size, after) = rest.split_first_chunk::<4>().ok_or(CUT_OFF)?;
        let size = u32::from_le_bytes(*size) & 0x7fff_ffff;
        if size == 0 {
            return match after.len() {
                n if n == content_checksum_bytes => Ok(()),
                n if n < content_checksum_bytes => Err(CUT_OFF),
                _ => Err("bytes are left over after the lz4 frame"),
            };
        }
        rest = after.get(size as usize + block_checksum_bytes..).ok_or(CUT_OFF)?;
    }
}
