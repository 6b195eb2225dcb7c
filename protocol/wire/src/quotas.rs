//! How many connections there may be, and how fast new ones come: `max.connections` for the node, `max.connections.per.ip`
//! with its overrides, `max.connection.creation.rate`.
//!
//!     at max.connections      nothing is accepted: further peers wait in the kernel's backlog, as in Kafka
//!     at max.connections.per.ip     accepted and closed at once
//!     above the creation rate       the next one is accepted later
//!
//! Limits may change at any time; a lower one closes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use host::Instant;
use tokio::sync::Notify;

/// The limits, each of them a config of Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max.connections`: of all listeners together.
    pub connections_max: usize,
    /// `max.connections.per.ip`: of each address that `overrides` does not name.
    pub per_ip_max: usize,
    /// `max.connections.per.ip.overrides`
    pub overrides: BTreeMap<IpAddr, usize>,
    /// `max.connection.creation.rate`: new connections in a second, of all listeners together; None: any number.
    pub created_per_second_max: Option<u32>,
}

impl Default for ConnectionLimits {
    /// No other bound than our own on all connections.
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            connections_max: protocol::bounds::CONNECTIONS_MAX,
            per_ip_max: usize::MAX,
            overrides: BTreeMap::new(),
            created_per_second_max: None,
        }
    }
}

/// The connections of a node's listeners, counted.
#[derive(Debug, Default)]
pub struct ConnectionQuotas {
    state: Mutex<State>,
    /// There is room for another one, or other limits hold.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    limits: ConnectionLimits,
    count: usize,
    by_ip: BTreeMap<IpAddr, usize>,
    /// When the newest connection would have come if they came evenly.
    paced: Instant,
}

impl ConnectionQuotas {
    pub fn new(limits: ConnectionLimits) -> Arc<ConnectionQuotas> {
        let state = State { limits, ..State::default() };
        Arc::new(ConnectionQuotas { state: Mutex::new(state), changed: Notify::new() })
    }

    /// No other bound than the one on all connections.
    pub fn unlimited() -> Arc<ConnectionQuotas> {
        Arc::default()
    }

    /// From now on these limits hold.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.lock().limits = limits;
        self.changed.notify_waiters();
    }

    /// Connections of all listeners.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Waits until another connection may be accepted. Cancellation is safe: nothing is counted before it returns.
    pub(crate) async fn slot(self: &Arc<Self>) -> Slot {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.count < state.limits.connections_max {
                    state.count += 1;
                    return Slot { quotas: Arc::clone(self) };
                }
            }
            changed.await;
        }
    }

    /// A slot for a listener that is never kept waiting: brokers must reach each other.
    pub(crate) fn slot_at_once(self: &Arc<Self>) -> Slot {
        self.lock().count += 1;
        Slot { quotas: Arc::clone(self) }
    }

    /// Counts an accepted connection; None if its address has too many.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, slot: Slot) -> Option<Admitted> {
        let mut state = self.lock();
        let max = state.limits.overrides.get(&ip).copied().unwrap_or(state.limits.per_ip_max);
        let count = state.by_ip.entry(ip).or_insert(0);
        if *count >= max {
            if *count == 0 {
                state.by_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        drop(state);
        Some(Admitted { ip, slot })
    }

    /// Notes a new connection, and tells how long to wait before the next one is accepted. A second's worth may come at once.
    pub(crate) fn pace(&self, now: Instant) -> Duration {
        let mut state = self.lock();
        let Some(per_second) = state.limits.created_per_second_max else { return Duration::ZERO };
        let Some(apart) = Duration::from_secs(1).checked_div(per_second) else {
            // A rate of 0: Kafka accepts nothing more either, until the limit changes.
            return Duration::from_secs(1);
        };
        state.paced = state.paced.max(now) + apart;
        (state.paced - now).saturating_sub(Duration::from_secs(1))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }
}

/// A place among all connections.
#[derive(Debug)]
pub(crate) struct Slot {
    quotas: Arc<ConnectionQuotas>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.quotas.lock().count -= 1;
        self.quotas.changed.notify_waiters();
    }
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct Admitted {
    ip: IpAddr,
    slot: Slot,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.slot.quotas.lock();
        let count = state.by_ip.get_mut(&self.ip).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            state.by_ip.remove(&self.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_beyond_the_rate_wait_and_a_second_s_worth_comes_at_once() {
        let limits = ConnectionLimits { created_per_second_max: Some(10), ..ConnectionLimits::default() };
        let quotas = ConnectionQuotas::new(limits);
        let now = Instant::from_start(Duration::from_secs(100));
        let waits: Vec<u128> = (0..12).map(|_| quotas.pace(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200]);
        assert_eq!(quotas.pace(now + Duration::from_secs(60)), Duration::ZERO);
        quotas.set_limits(ConnectionLimits::default());
        assert_eq!(quotas.pace(now), Duration::ZERO);
    }
}
