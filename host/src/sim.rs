//! The simulated world: many nodes, one seed, one virtual time.
//!
//! Everything that happens is an event of one executor on one thread: a task's turn, a timer, a packet, a disk job.
//! Which of the ready tasks goes first, how long a packet or a job takes, and what a crash leaves behind come from the
//! seed; the same seed gives the same run, in any process.
//!
//!     World  -- node("a") -->  Node  -- host() -->  Host      (what the code under test stands on)
//!       |                        |-- crash(Process | Power), restart(), pause(), resume(), skew, disk faults
//!       |-- partition, heal, latency, losses, reset_connections
//!       |-- block_on(future)     drives everything until the future is done
//!       '-- trace_hash()         the run in 64 bits
//!
//! tokio's `sync` types work here, since they need no runtime; `tokio::select!` must be `biased`, since its dice are
//! tokio's own and not seeded here. A panic in any task ends the run.

mod clock;
mod disk;
mod executor;
mod files;
mod network;
mod pipe;
mod world;

pub(crate) use disk::SimDisk;
pub(crate) use files::{SimFile, SimFs};
pub(crate) use network::SimListener;
pub(crate) use pipe::{PipeReader, PipeWriter, pipe_pair};

pub use disk::DiskFaults;
pub use world::{CrashKind, Node, Stuck, World};
