//! Time: the wall, a steady clock, and waiting.

use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A moment of the host's steady clock: the time since the host began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    pub fn from_start(since_start: Duration) -> Instant {
        Instant(since_start)
    }

    pub fn since_start(self) -> Duration {
        self.0
    }

    /// Zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(duration))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

/// What a clock is made of.
pub(crate) trait ClockSource: Send + Sync {
    fn wall_ms(&self) -> i64;
    fn now(&self) -> Instant;
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The host's clock. In simulation it may run ahead, behind, too fast or too slow; timers do too.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn ClockSource>,
}

/// A time-out passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time-out passed")]
pub struct Elapsed;

impl Clock {
    pub(crate) fn new(source: Arc<dyn ClockSource>) -> Clock {
        Clock { source }
    }

    /// Milliseconds since 1970 by the wall clock; it may jump.
    pub fn wall_ms(&self) -> i64 {
        self.source.wall_ms()
    }

    /// The steady clock; it never goes back.
    pub fn now(&self) -> Instant {
        self.source.now()
    }

    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    pub fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.source.sleep_until(deadline)
    }

    /// Waits for `future`, but no longer than `limit`; then the future is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        self.timeout_at(self.now() + limit, future).await
    }

    pub async fn timeout_at<F: Future>(&self, deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        // A timer is registered only when the future is not ready at once: most are.
        let mut sleep = None;
        std::future::poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let sleep = sleep.get_or_insert_with(|| self.sleep_until(deadline));
            sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}
