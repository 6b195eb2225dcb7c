//! What members believe and what they were promised, written down as it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::Instant;

/// A partition that a member believes to be its own until a moment.
#[derive(Clone, Debug)]
pub struct Claim {
    pub member: Str,
    pub until: Instant,
}

pub type Str = Arc<str>;

/// All that was written down.
#[derive(Debug, Default)]
pub struct Notes {
    pub claims: BTreeMap<i32, Claim>,
    /// Who was given a partition in a generation, or at an epoch.
    pub given: BTreeMap<(i32, i32), Str>,
    /// The highest offset whose commit was acknowledged, by partition.
    pub acknowledged: BTreeMap<i32, i64>,
    /// A sentence for each promise that was seen broken.
    pub broken: Vec<String>,
    /// How often something was acknowledged, or given: a run in which nothing happens proves nothing.
    pub commits: u64,
    pub gifts: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Notes>>);

impl Ledger {
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
