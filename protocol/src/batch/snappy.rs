//! Snappy as Kafka's clients write it: xerial's framing, or one raw block.
//!
//! ```text
//! 82 S N A P P Y 00 | version i32 | compatible version i32 | length i32 | raw block | length i32 | raw block ...
//! ```
//! A block announces its decompressed size; what snappy cannot reach from the bytes given is refused before memory is
//! reserved.

use std::io::{self, Read};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
const VERSION: [u8; 4] = 1_u32.to_be_bytes();
/// What the Java client puts into one block.
const BLOCK_BYTES: usize = 32 * 1024;
/// A copy element of 3 bytes gives at most 64: no block expands more than this.
const EXPANSION_MAX: usize = 22;

pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&VERSION);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).expect("a block of 32 KiB is not too large for snappy");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

/// Decompresses block by block; memory holds one block.
pub(super) struct SnappyReader<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
    block: Vec<u8>,
    /// `block[start..]` has not been given.
    start: usize,
}

impl<'a> SnappyReader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        let framed = payload.len() >= HEADER_BYTES && payload.starts_with(&MAGIC);
        let rest = if framed { &payload[HEADER_BYTES..] } else { payload };
        SnappyReader { rest, framed, decoder: snap::raw::Decoder::new(), block: Vec::new(), start: 0 }
    }

    /// The next compressed block; None at the end.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let block = std::mem::take(&mut self.rest);
            return Ok(Some(block).filter(|block| !block.is_empty()));
        }
        if self.rest.len() >= HEADER_BYTES && self.rest.starts_with(&MAGIC) {
            // A second stream right after the first.
            self.rest = &self.rest[HEADER_BYTES..];
        }
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
            return if self.rest.is_empty() { Ok(None) } else { Err(invalid("a snappy block is cut off")) };
        };
        let length = u32::from_be_bytes(*length) as usize;
        let block = rest.get(..length).ok_or_else(|| invalid("a snappy block is cut off"))?;
        self.rest = &rest[length..];
        Ok(Some(block))
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start == self.block.len() {
            let Some(packed) = self.next_block()? else { return Ok(0) };
            let size = snap::raw::decompress_len(packed)?;
            if size > packed.len() * EXPANSION_MAX {
                return Err(invalid("a snappy block announces more than it can hold"));
            }
            self.block.resize(size, 0);
            self.start = 0;
            let written = self.decoder.decompress(packed, &mut self.block)?;
            self.block.truncate(written);
        }
        let count = out.len().min(self.block.len() - self.start);
        out[..count].copy_from_slice(&self.block[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
