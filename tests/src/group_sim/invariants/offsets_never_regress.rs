//! A committed offset is never older than one whose commit was acknowledged before it was asked for.
//!
//! Holds over process death, and over power loss where what is acknowledged was synced (`weir.flush.on.acknowledge`).

use crate::group_sim::ledger::Ledger;

/// Notes an acknowledged commit.
pub fn committed(ledger: &Ledger, partition: i32, offset: i64) {
    let mut notes = ledger.notes();
    notes.commits += 1;
    let highest = notes.acknowledged.entry(partition).or_insert(offset);
    *highest = (*highest).max(offset);
}

/// What was acknowledged before a fetch is sent.
pub fn before_fetch(ledger: &Ledger, partition: i32) -> i64 {
    ledger.notes().acknowledged.get(&partition).copied().unwrap_or(-1)
}

/// Holds the answer against what was acknowledged `before`.
pub fn fetched(ledger: &Ledger, partition: i32, before: i64, offset: i64) {
    if offset < before {
        let told = format!("partition {partition}: {before} was acknowledged, and {offset} is committed");
        ledger.notes().broken.push(told);
    }
}
