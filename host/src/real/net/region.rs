//! Regions of files on their way to a socket.
//!
//!     plaintext:  page cache --sendfile--> socket                     no copy
//!     TLS:        page cache --pread--> pooled buffer --> records --> socket
//!
//! A small region that is in the cache is copied into the bytes around it instead: one read in place of two probes, a
//! `sendfile` and a packet of its own.
//!
//! A page that is not in the cache would stall the whole reactor, so a region is probed before it is sent, and what is
//! cold is read ahead on another thread. A region that ends early (its file was cut) is an error that closes the
//! connection: its length is on the wire already.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::fs::FileKind;
use crate::{Chunk, FileRegion};

/// Bytes of a region that are probed and sent in one go.
const STEP_BYTES: u64 = 1 << 20;
/// One probe covers so many bytes: the kernel's read-ahead window, which is also what it drops at a time, about.
const PROBE_BYTES: u64 = 128 << 10;
/// A buffer for a region that is encrypted: four TLS records.
pub(super) const BUFFER_BYTES: usize = 64 << 10;
/// Buffers that are kept for reuse; more exist while more connections send.
const BUFFERS_MAX: usize = 64;

/// A region up to this size costs less to copy than to send.
const SMALL_BYTES: u64 = 16 << 10;
/// Only within so many bytes at the front of the queue: what is copied is held until the peer takes it.
const SMALL_TOTAL_BYTES: u64 = 64 << 10;

fn real_fd(region: &FileRegion) -> io::Result<Arc<OwnedFd>> {
    match &region.file.0 {
        FileKind::Real(fd) => Ok(Arc::clone(fd)),
        FileKind::Sim(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a simulated file on a real socket"))
        }
    }
}

fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a file region ended early")
}

/// Turns the small regions at the front of the queue into bytes: within the first `most` chunks, up to one that is large or
/// not in the page cache.
pub(super) fn copy_small(chunks: &mut VecDeque<Chunk>, most: usize) {
    let mut bytes_before = 0;
    for chunk in chunks.iter_mut().take(most) {
        bytes_before += chunk.len();
        if bytes_before > SMALL_TOTAL_BYTES {
            return;
        }
        if let Chunk::File(region) = chunk {
            let Some(bytes) = copied(region) else { return };
            *chunk = Chunk::Bytes(bytes);
        }
    }
}

/// A small region; None if it is none, if it cannot be had without the disk, or has ended early: sending it says so.
fn copied(region: &FileRegion) -> Option<Bytes> {
    if region.length > SMALL_BYTES {
        return None;
    }
    let fd = real_fd(region).ok()?;
    let mut buffer = vec![0; region.length as usize];
    let n = read_cached(&fd, &mut buffer, region.position).ok()?;
    (n == buffer.len()).then(|| Bytes::from(buffer))
}

/// Sends a region from the page cache; `region` shrinks as it goes.
pub(super) async fn send(tcp: &TcpStream, region: &mut FileRegion) -> io::Result<()> {
    let fd = real_fd(region)?;
    while region.length > 0 {
        let step = region.length.min(STEP_BYTES);
        warm(&fd, region.position, step).await?;
        let end = region.position + step;
        while region.position < end {
            let most = (end - region.position) as usize;
            let sent =
                tcp.async_io(Interest::WRITABLE, || send_once(tcp, &fd, region.position, most)).await?;
            if sent == 0 {
                return Err(ended_early());
            }
            region.position += sent as u64;
            region.length -= sent as u64;
        }
    }
    Ok(())
}

fn send_once(tcp: &TcpStream, fd: &OwnedFd, mut position: u64, most: usize) -> io::Result<usize> {
    loop {
        match rustix::fs::sendfile(tcp, fd, Some(&mut position), most) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Makes sure that a region is in the page cache, off the reactor if it has to be read.
async fn warm(fd: &Arc<OwnedFd>, position: u64, length: u64) -> io::Result<()> {
    let last = position + length - 1;
    let mut at = position;
    while is_cached(fd, at) {
        if at == last {
            return Ok(());
        }
        at = last.min(at + PROBE_BYTES);
    }
    let (fd, cold) = (Arc::clone(fd), at);
    let read = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut buffer = vec![0u8; PROBE_BYTES as usize];
        let mut at = cold;
        while at <= last {
            let most = ((last + 1 - at) as usize).min(buffer.len());
            match crate::real::fs::read_at(&fd, &mut buffer[..most], at)? {
                0 => return Ok(()), // Shorter than promised: the send will say so.
                n => at += n as u64,
            }
        }
        Ok(())
    });
    read.await.map_err(io::Error::other)?
}

/// One byte, only if no disk is needed for it.
fn is_cached(fd: &OwnedFd, position: u64) -> bool {
    let mut one = [0u8; 1];
    // File systems that cannot tell (EOPNOTSUPP) are taken as warm.
    !matches!(read_cached(fd, &mut one, position), Err(Errno::AGAIN))
}

fn read_cached(fd: &OwnedFd, buffer: &mut [u8], position: u64) -> Result<usize, Errno> {
    let mut slices = [io::IoSliceMut::new(buffer)];
    loop {
        match rustix::io::preadv2(fd, &mut slices, position, rustix::io::ReadWriteFlags::NOWAIT) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Reads the next bytes of a region into `buffer`, as many as fit, and takes them off the region.
pub(super) async fn read(region: &mut FileRegion, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let fd = real_fd(region)?;
    let (position, most) = (region.position, (region.length as usize).min(BUFFER_BYTES));
    let n = match read_cached(&fd, &mut buffer[..most], position) {
        Ok(n) => n,
        Err(_) => {
            // Cold, or a file system that cannot tell. If this is cancelled, the buffer is lost and another one is made.
            let mut lent = std::mem::take(buffer);
            let reading = tokio::task::spawn_blocking(move || {
                let n = crate::real::fs::read_at(&fd, &mut lent[..most], position);
                (lent, n)
            });
            let (returned, n) = reading.await.map_err(io::Error::other)?;
            *buffer = returned;
            n?
        }
    };
    if n == 0 {
        return Err(ended_early());
    }
    region.position += n as u64;
    region.length -= n as u64;
    Ok(n)
}

/// Buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer of `BUFFER_BYTES`.
    pub(super) fn take(&self) -> Vec<u8> {
        let free = self.free.lock().expect("nobody panics while holding it").pop();
        free.unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock().expect("nobody panics while holding it");
        if buffer.len() == BUFFER_BYTES && free.len() < BUFFERS_MAX {
            free.push(buffer);
        }
    }
}
