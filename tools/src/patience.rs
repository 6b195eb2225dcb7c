//! How long a command waits for work that others do.

use std::time::Duration;

use host::{Clock, Instant};

/// Without `--timeout`.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// How often the cluster is looked at, at least and at most.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(100);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// What `--timeout` means to a command that waits: not one request, but all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub asked: Option<Duration>,
}

impl Patience {
    /// When to give up what begins now.
    pub fn deadline(&self, now: Instant) -> Deadline {
        let limit = self.asked.unwrap_or(WAIT_MAX);
        Deadline { limit, at: Some(now + limit) }
    }

    /// As `deadline`, but without `--timeout` there is none: what is waited for has no usual time.
    pub fn deadline_if_asked(&self, now: Instant) -> Deadline {
        Deadline { limit: self.asked.unwrap_or(Duration::MAX), at: self.asked.map(|limit| now + limit) }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub limit: Duration,
    at: Option<Instant>,
}

impl Deadline {
    /// Waits before the next look at the cluster, longer where a look takes long; false: the time is up.
    pub async fn pause(&self, clock: &Clock, look_took: Duration) -> bool {
        // A look at a large cluster is work for its brokers: most of the time they shall have peace.
        let wait = (look_took * 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        let next = clock.now() + wait;
        match self.at {
            Some(at) if next > at => {
                clock.sleep_until(at).await;
                false
            }
            _ => {
                clock.sleep_until(next).await;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_as_far_apart_as_they_are_long_and_end_in_time() {
        let world = host::sim::World::new(1);
        let clock = world.host().clock().clone();
        let work = async move {
            let begun = clock.now();
            // The simulated clock goes on a little by itself.
            let passed = || (clock.now() - begun).as_millis() / 50 * 50;
            let deadline = Patience { asked: Some(Duration::from_secs(3)) }.deadline(begun);
            assert!(deadline.pause(&clock, Duration::ZERO).await);
            assert_eq!(passed(), 100);
            assert!(deadline.pause(&clock, Duration::from_millis(500)).await);
            assert_eq!(passed(), 2100);
            assert!(!deadline.pause(&clock, Duration::from_millis(500)).await, "the time is up");
            assert_eq!(passed(), 3000);
            let endless = Patience { asked: None }.deadline_if_asked(begun);
            assert!(endless.pause(&clock, Duration::from_secs(3600)).await);
            assert_eq!(passed(), 8000, "however long a look takes");
        };
        world.block_on(Duration::from_secs(60), work).expect("it ends");
    }
}
