//! The outside world, passed in as a value: clock, disk, net, entropy, spawn, hash seed.
//!
//! A `Host` is what a node stands on. The real one (`real::host`) is the machine; the simulated ones (`sim::World`) share
//! one seed and one virtual time, and can be crashed, paused and cut off. Nothing else in Weir touches the machine.
//!
//! **Invariant:** knows nothing of Kafka. Nothing is global: two hosts live in one process without seeing each other.

mod clock;
mod disk;
mod entropy;
mod fs;
mod net;
pub mod real;
pub mod sim;
mod spawn;
mod usage;

use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;

pub use clock::{Clock, Elapsed, Instant};
pub use disk::{Disk, DiskGone};
pub use entropy::Entropy;
pub use fs::{File, Fs, LockGuard, OpenMode};
pub use net::{Abort, Chunk, FileRegion, Listener, Net, ReadHalf, SocketOptions, Stream, WriteHalf};
pub use spawn::{Task, TaskEnded, current};
pub use usage::{Busy, Usage};

/// One node's view of the world. Cloning is cheap.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    net: Net,
    entropy: Entropy,
    spawner: Box<dyn spawn::Spawner>,
    disks: Box<dyn disk::Disks>,
    meter: Box<dyn usage::Meter>,
    hash_seed: u64,
}

impl Host {
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub fn net(&self) -> &Net {
        &self.inner.net
    }

    pub fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// The job queue of a directory: the same directory gives the same queue.
    pub fn disk(&self, dir: &Path) -> Disk {
        self.inner.disks.disk(dir)
    }

    /// Starts a task of this node. Dropping the handle lets it run on.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        spawn::start(self, &*self.inner.spawner, name, future)
    }

    /// What this process takes of its machine; None in the simulation.
    pub fn usage(&self) -> Option<Usage> {
        self.inner.meter.usage()
    }

    /// How busy this process' threads are; None in the simulation.
    pub fn busy(&self) -> Option<Busy> {
        self.inner.meter.busy()
    }

    /// A hash map whose order comes from the host: random in production (hash flooding), seeded in simulation.
    pub fn map<K, V>(&self) -> Map<K, V> {
        Map::with_hasher(self.hasher())
    }

    pub fn hasher(&self) -> SeededHash {
        SeededHash { seed: self.inner.hash_seed }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// A hash map that is made by `Host::map`.
#[allow(clippy::disallowed_types)] // The one place: its hasher is seeded.
pub type Map<K, V> = std::collections::HashMap<K, V, SeededHash>;

/// SipHash under a key of the host's.
#[derive(Clone, Copy, Debug)]
pub struct SeededHash {
    seed: u64,
}

impl BuildHasher for SeededHash {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        // The default hasher has a fixed key; what is written first makes it ours.
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hasher::write_u64(&mut hasher, self.seed);
        hasher
    }
}

#[cfg(test)]
mod conformance;
