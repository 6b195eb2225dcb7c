//! A partition has one owner: at a moment, and in a generation (or at an epoch).
//!
//! A member owns what it was given until it gives it back, or until its session would have ended by its own clock. Holds over every fault
//! that keeps what is acknowledged.

use host::Instant;

use crate::group_sim::ledger::{Claim, Ledger, Str};

/// A member was given a partition. `generation` is None where generations begin anew with the kind of the group.
pub fn given(
    ledger: &Ledger,
    member: &Str,
    generation: Option<i32>,
    partition: i32,
    now: Instant,
    until: Instant,
) {
    let mut notes = ledger.notes();
    notes.gifts += 1;
    let former = notes.claims.insert(partition, Claim { member: member.clone(), until });
    if let Some(former) = former.filter(|former| former.member != *member && former.until > now) {
        let told = format!("partition {partition} is owned by {} and was given to {member}", former.member);
        notes.broken.push(told);
    }
    let Some(generation) = generation else { return };
    let first = notes.given.entry((generation, partition)).or_insert_with(|| member.clone()).clone();
    if first != *member {
        let told =
            format!("partition {partition} was given to {first} and to {member} in generation {generation}");
        notes.broken.push(told);
    }
}

/// A member was heard of: what it owns stays its own a while longer.
pub fn heard(ledger: &Ledger, member: &Str, until: Instant) {
    let mut notes = ledger.notes();
    notes.claims.values_mut().filter(|claim| claim.member == *member).for_each(|claim| claim.until = until);
}

/// A member gives a partition back.
pub fn released(ledger: &Ledger, member: &Str, partition: i32) {
    let mut notes = ledger.notes();
    if notes.claims.get(&partition).is_some_and(|claim| claim.member == *member) {
        notes.claims.remove(&partition);
    }
}
