//! The machine itself.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // This is where the seams are.

pub(crate) mod disk;
pub(crate) mod fs;
pub(crate) mod net;
mod usage;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::ClockSource;
use crate::spawn::{Spawner, Stop};
use crate::{Clock, Entropy, Host, Inner, Instant, Net};

pub use net::{accept_tls, connect_tls};

/// The host that is this machine. Call it inside the tokio runtime that shall run its tasks.
pub fn host() -> Host {
    let entropy = Entropy::kernel();
    let hash_seed = entropy.u64();
    Host {
        inner: Arc::new(Inner {
            clock: Clock::new(Arc::new(RealClock { start: tokio::time::Instant::now() })),
            net: Net::new(Arc::new(net::RealNet::default())),
            entropy,
            spawner: Box::new(Tokio { runtime: tokio::runtime::Handle::current() }),
            disks: Box::new(disk::RealDisks::default()),
            meter: Box::new(usage::Proc { runtime: tokio::runtime::Handle::current() }),
            hash_seed,
        }),
    }
}

/// Raises the limit on open files to what the kernel allows: segments and connections are many. Returns the limit.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { now.maximum } else { now.current };
    limit.unwrap_or(u64::MAX)
}

/// Waits for SIGINT or SIGTERM and says which.
pub async fn until_stopped() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Cancellation is safe: a signal that came stays with its stream.
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Ends the process without running destructors of C and C++ globals. What must be written has been written before.
#[allow(unsafe_code)]
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: _exit takes any number, never returns, and touches no memory of this process. `refusals.rs` sees its codes.
    unsafe { libc::_exit(code) }
}

struct RealClock {
    start: tokio::time::Instant,
}

impl ClockSource for RealClock {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        since.as_millis() as i64
    }

    fn now(&self) -> Instant {
        Instant::from_start(self.start.elapsed())
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // Times beyond what tokio can add up to are as good as never.
        let never = Duration::from_secs(u64::from(u32::MAX));
        Box::pin(tokio::time::sleep_until(self.start + deadline.since_start().min(never)))
    }
}

struct Tokio {
    runtime: tokio::runtime::Handle,
}

impl Spawner for Tokio {
    fn spawn(&self, _name: &'static str, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Stop {
        let abort = self.runtime.spawn(future).abort_handle();
        Arc::new(move || abort.abort())
    }
}
