//! What an encoded message is made of: bytes in memory, and regions of something that the transport can send by itself.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Part of an encoded message.
#[derive(Clone, Debug)]
pub enum Chunk {
    Bytes(Bytes),
    Region(Region),
}

impl Chunk {
    pub fn len(&self) -> u64 {
        match self {
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::Region(region) => region.length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that stay where they are until the transport sends them: a region of a segment's file.
///
/// **Invariant:** this crate knows no files. `source` is whatever the storage layer handed in; the wire layer knows how
/// to send it. Holding a region keeps its source alive.
#[derive(Clone)]
pub struct Region {
    pub source: Arc<dyn Any + Send + Sync>,
    pub position: u64,
    pub length: u64,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({}+{})", self.position, self.length)
    }
}

/// Record batches as they travel: a rope of chunks, opaque here.
#[derive(Clone, Default)]
pub struct Records {
    chunks: Vec<Chunk>,
}

impl Records {
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(Chunk::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// All bytes in one piece; None if a part of them is not in memory. Copies only where there are several chunks.
    pub fn to_bytes(&self) -> Option<Bytes> {
        match self.chunks.as_slice() {
            [] => Some(Bytes::new()),
            [Chunk::Bytes(only)] => Some(only.clone()),
            many => {
                let mut all = BytesMut::with_capacity(self.len() as usize);
                for chunk in many {
                    let Chunk::Bytes(bytes) = chunk else { return None };
                    all.extend_from_slice(bytes);
                }
                Some(all.freeze())
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records { chunks: vec![Chunk::Bytes(bytes)] }
    }
}

impl From<Vec<Chunk>> for Records {
    fn from(chunks: Vec<Chunk>) -> Records {
        Records { chunks }
    }
}

/// Equal content; regions are equal only to themselves.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        if let (Some(a), Some(b)) = (self.to_bytes(), other.to_bytes()) {
            return a == b;
        }
        let same = |a: &Chunk, b: &Chunk| match (a, b) {
            (Chunk::Bytes(a), Chunk::Bytes(b)) => a == b,
            (Chunk::Region(a), Chunk::Region(b)) => {
                Arc::ptr_eq(&a.source, &b.source) && (a.position, a.length) == (b.position, b.length)
            }
            _ => false,
        };
        self.chunks.len() == other.chunks.len()
            && self.chunks.iter().zip(&other.chunks).all(|(a, b)| same(a, b))
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes)", self.len())
    }
}
