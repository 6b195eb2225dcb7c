//! How many connections there may be: `max.connections` for the node, `max.connections.per.ip` with its overrides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds on connections, shared by the listeners of a node.
#[derive(Debug)]
pub struct ConnectionQuotas {
    all: Arc<Semaphore>,
    per_ip_max: usize,
    overrides: BTreeMap<IpAddr, usize>,
    by_ip: Mutex<BTreeMap<IpAddr, usize>>,
}

impl ConnectionQuotas {
    /// `connections_max` for all listeners together, `per_ip_max` for each address that `overrides` does not name.
    pub fn new(
        connections_max: usize,
        per_ip_max: usize,
        overrides: BTreeMap<IpAddr, usize>,
    ) -> Arc<ConnectionQuotas> {
        let all = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(ConnectionQuotas { all, per_ip_max, overrides, by_ip: Mutex::default() })
    }

    /// No other bound than the one on all connections.
    pub fn unlimited() -> Arc<ConnectionQuotas> {
        ConnectionQuotas::new(protocol::bounds::CONNECTIONS_MAX, usize::MAX, BTreeMap::new())
    }

    /// Waits until another connection may be accepted: until then they wait in the kernel's backlog, as in Kafka.
    pub(crate) async fn slot(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.all).acquire_owned().await.expect("it is never closed")
    }

    /// Counts an accepted connection; None if its address has too many.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, slot: OwnedSemaphorePermit) -> Option<Admitted> {
        let max = self.overrides.get(&ip).copied().unwrap_or(self.per_ip_max);
        let mut by_ip = self.lock();
        let count = by_ip.entry(ip).or_insert(0);
        if *count >= max {
            if *count == 0 {
                by_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        drop(by_ip);
        Some(Admitted { quotas: Arc::clone(self), ip, _slot: slot })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.by_ip.lock().expect("nobody panics while holding it")
    }
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct Admitted {
    quotas: Arc<ConnectionQuotas>,
    ip: IpAddr,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut by_ip = self.quotas.lock();
        let count = by_ip.get_mut(&self.ip).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            by_ip.remove(&self.ip);
        }
    }
}
