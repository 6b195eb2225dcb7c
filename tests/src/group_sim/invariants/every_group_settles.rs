//! When faults end, every partition is owned again within a bounded time, by members that live.

use std::time::Duration;

use host::Host;

use crate::group_sim::ledger::Ledger;
use crate::group_sim::{PARTITIONS, REBALANCE, SESSION};

/// A ghost is kicked out of a round, its session ends, and a cooperative member needs another round after that.
const WITHIN: Duration = Duration::from_secs(3 * (REBALANCE.as_secs() + SESSION.as_secs()));

/// Waits until the group is settled; a sentence if it does not settle.
pub async fn wait(ledger: &Ledger, host: &Host) -> Option<String> {
    let deadline = host.clock().now() + WITHIN;
    loop {
        let now = host.clock().now();
        let owned = ledger.notes().claims.values().filter(|claim| claim.until > now).count();
        if owned == PARTITIONS as usize {
            return None;
        }
        if now > deadline {
            let claims = &ledger.notes().claims;
            return Some(format!("the group does not settle: {owned} of {PARTITIONS} are owned: {claims:?}"));
        }
        host.clock().sleep(Duration::from_millis(100)).await;
    }
}
