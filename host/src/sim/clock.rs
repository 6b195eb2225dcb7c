//! A simulated node's clock: ahead, behind, too fast or too slow, timers included.
//!
//!     local = local at the last change + time passed since, times (1 + drift)
//!
//! **Invariant:** the steady clock never goes back, and no timer is early by it, whatever happens to the drift meanwhile.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::executor::{EventId, Executor, Life};
use crate::Instant;
use crate::clock::ClockSource;

/// Where virtual time begins on the wall: 2026-01-01.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// A machine's clock hardware; it outlives the node's lives.
#[derive(Default)]
pub(crate) struct Drift {
    wall_ms: i64,
    /// Parts per million by which the clock runs too fast.
    ppm: i64,
    /// Where the current drift began: virtual time, and what the clock said then.
    since: (Duration, Duration),
    /// Counts the changes of `ppm`: timers are set anew after each.
    changes: u64,
    next_sleeper: u64,
    sleepers: BTreeMap<u64, Waker>,
}

pub(crate) type SharedDrift = Arc<Mutex<Drift>>;

impl Drift {
    pub(crate) fn set_wall_ms(&mut self, wall_ms: i64) {
        self.wall_ms = wall_ms;
    }

    pub(crate) fn set_ppm(&mut self, ppm: i64, now: Duration) {
        self.since = (now, self.local(now));
        self.ppm = ppm.max(-999_999);
        self.changes += 1;
        self.sleepers.values().for_each(Waker::wake_by_ref);
    }

    /// What the steady clock says at a virtual time.
    fn local(&self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.since.0).as_nanos() as i128;
        let local = passed + passed * i128::from(self.ppm) / 1_000_000;
        self.since.1 + Duration::from_nanos(local.max(0) as u64)
    }

    /// The virtual time at which the steady clock says `local`, at the current drift.
    fn global(&self, local: Duration) -> Duration {
        let ahead = local.saturating_sub(self.since.1).as_nanos() as i128;
        let passed = ahead * 1_000_000 / (1_000_000 + i128::from(self.ppm));
        // Rounded up: a timer is never early.
        self.since.0.saturating_add(Duration::from_nanos(u64::try_from(passed + 1).unwrap_or(u64::MAX)))
    }
}

/// The clock of one life.
#[derive(Clone)]
pub(crate) struct SimClock {
    pub(crate) executor: Arc<Executor>,
    pub(crate) life: Life,
    pub(crate) drift: SharedDrift,
}

impl SimClock {
    fn drift(&self) -> MutexGuard<'_, Drift> {
        self.drift.lock().expect("nobody panics while holding it")
    }
}

impl ClockSource for SimClock {
    fn wall_ms(&self) -> i64 {
        let now = self.executor.now();
        let drift = self.drift();
        WALL_START_MS + drift.local(now).as_millis() as i64 + drift.wall_ms
    }

    fn now(&self) -> Instant {
        let now = self.executor.now();
        Instant::from_start(self.drift().local(now))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let id = {
            let mut drift = self.drift();
            drift.next_sleeper += 1;
            drift.next_sleeper
        };
        Box::pin(Sleep { clock: self.clone(), deadline: deadline.since_start(), id, set: None })
    }
}

/// A timer. A dropped one leaves no event behind.
struct Sleep {
    clock: SimClock,
    deadline: Duration,
    id: u64,
    /// The event that wakes it, and the change of the drift that it was reckoned with.
    set: Option<(EventId, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let executor = Arc::clone(&self.clock.executor);
        if !executor.is_alive(self.clock.life) {
            return Poll::Pending; // Time has ended for this node.
        }
        let now = executor.now();
        let (id, deadline) = (self.id, self.deadline);
        let (at, change) = {
            let mut drift = self.clock.drift();
            if drift.local(now) >= deadline {
                drift.sleepers.remove(&id);
                return Poll::Ready(());
            }
            drift.sleepers.insert(id, cx.waker().clone());
            (drift.global(deadline), drift.changes)
        };
        if self.set.is_none_or(|(_, reckoned)| reckoned != change) {
            if let Some((event, _)) = self.set.take() {
                executor.cancel(event);
            }
            let drift = Arc::clone(&self.clock.drift);
            let wake = move || {
                let drift = drift.lock().expect("nobody panics while holding it");
                drift.sleepers.get(&id).into_iter().for_each(Waker::wake_by_ref);
            };
            self.set = Some((executor.at(at, Some(self.clock.life), wake), change));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.clock.drift().sleepers.remove(&self.id);
        drop(waker);
        if let Some((event, _)) = self.set.take() {
            self.clock.executor.cancel(event);
        }
    }
}
