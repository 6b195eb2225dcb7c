//! Walking over the batches of a `.log` file, by headers or as a whole.
//!
//! Invariant: what is no whole batch ends the walk quietly. Whether that is the end of the log or damage is for the caller
//! to decide.

use std::io;

use bytes::Bytes;
use host::File;
use protocol::batch::{BatchHeader, HEADER_BYTES};

/// How much is read at a time when many headers are wanted.
pub(crate) const SCAN_BYTES: usize = 64 << 10;
/// The first read when a position is looked for: about what lies between two index entries.
pub(crate) const LOOKUP_BYTES: usize = 8 << 10;
/// How much is read at a time when whole batches are wanted.
const READ_BYTES: u64 = 1 << 20;

/// A batch's header and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
}

impl Located {
    /// Where the next batch begins.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.header.size_bytes() as u64
    }
}

/// Reads headers from `position` to `end`, until `visit` returns false.
pub(crate) fn headers(
    file: &File,
    mut position: u64,
    end: u64,
    read_bytes: usize,
    mut visit: impl FnMut(Located) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; read_bytes.max(HEADER_BYTES)];
    let (mut start, mut filled) = (position, 0usize);
    while position + HEADER_BYTES as u64 <= end {
        let at = (position - start) as usize;
        if at + HEADER_BYTES > filled {
            start = position;
            let most = (buffer.len() as u64).min(end - position) as usize;
            file.read_exact_at(&mut buffer[..most], position)?;
            filled = most;
            continue;
        }
        let Ok(header) = BatchHeader::read(&buffer[at..filled]) else { return Ok(()) };
        let located = Located { header, position };
        if located.end() > end || !visit(located) {
            return Ok(());
        }
        position = located.end();
    }
    Ok(())
}

/// The whole batch at a place that was found.
pub(crate) fn batch(file: &File, located: &Located) -> io::Result<Bytes> {
    let mut bytes = vec![0; located.header.size_bytes()];
    file.read_exact_at(&mut bytes, located.position)?;
    Ok(Bytes::from(bytes))
}

/// Whole batches of a file, through one buffer.
pub(crate) struct BatchReader {
    file: File,
    buffer: Vec<u8>,
    start: u64,
    length: u64,
}

impl BatchReader {
    pub(crate) fn new(file: File, length: u64) -> BatchReader {
        BatchReader { file, buffer: Vec::new(), start: 0, length }
    }

    /// Header and bytes (header included) of the batch at a position; None if it is not whole.
    pub(crate) fn batch(&mut self, position: u64) -> io::Result<Option<(BatchHeader, &[u8])>> {
        let Some(head) = self.bytes(position, HEADER_BYTES as u64)? else { return Ok(None) };
        let Ok(header) = BatchHeader::read(head) else { return Ok(None) };
        Ok(self.bytes(position, header.size_bytes() as u64)?.map(|whole| (header, whole)))
    }

    fn bytes(&mut self, position: u64, count: u64) -> io::Result<Option<&[u8]>> {
        // A length that lies asks for nothing beyond the file.
        if position + count > self.length {
            return Ok(None);
        }
        let end = self.start + self.buffer.len() as u64;
        if position < self.start || position + count > end {
            self.buffer.resize(READ_BYTES.max(count).min(self.length - position) as usize, 0);
            self.file.read_exact_at(&mut self.buffer, position)?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(Some(&self.buffer[from..from + count as usize]))
    }
}
