//! Log lines about peers that misbehave: one for each, but not more than the log can take.

use std::sync::Mutex;
use std::time::Duration;

use host::{Clock, Instant};

/// Lines in one window; what is beyond them is counted and told with the next line.
const LINES_PER_WINDOW: u32 = protocol::bounds::REFUSALS_LOGGED_PER_SECOND;
const WINDOW: Duration = Duration::from_secs(1);

/// Limits the rate of a kind of log lines: a peer cannot fill the disk with them.
#[derive(Debug)]
pub(crate) struct Complaints {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    window: Instant,
    lines: u32,
    suppressed: u64,
}

impl Complaints {
    pub(crate) fn new(clock: &Clock) -> Complaints {
        Complaints { clock: clock.clone(), state: Mutex::default() }
    }

    /// Logs a warning, unless there were too many just now.
    pub(crate) fn warn(&self, line: impl FnOnce() -> String) {
        match self.admit() {
            Some(0) => tracing::warn!("{}", line()),
            Some(n) => tracing::warn!("{} ({n} more lines like this were left out)", line()),
            None => {}
        }
    }

    /// How many lines were left out since the last one; None if this one is to be left out too.
    fn admit(&self) -> Option<u64> {
        let now = self.clock.now();
        let mut state = self.state.lock().expect("nobody panics while holding it");
        if now - state.window >= WINDOW {
            (state.window, state.lines) = (now, 0);
        }
        if state.lines == LINES_PER_WINDOW {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_goes_on_in_the_next_window() {
        let world = host::sim::World::new(1);
        let complaints = Complaints::new(world.host().clock());
        let logged = || (0..1000).filter_map(|_| complaints.admit()).collect::<Vec<_>>();
        assert_eq!(logged(), [0; LINES_PER_WINDOW as usize]);
        world.run_for(WINDOW);
        assert_eq!(logged()[..2], [1000 - u64::from(LINES_PER_WINDOW), 0]);
    }
}
