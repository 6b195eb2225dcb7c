//! Deadlines as values: set, taken back, and taken out when they are due, in the order of their time.

use std::collections::{BTreeMap, BTreeSet};

/// See the module. A key has one deadline.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_key: BTreeMap<K, i64>,
    by_deadline: BTreeSet<(i64, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers { by_key: BTreeMap::new(), by_deadline: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets a deadline, in place of a former one.
    pub fn set(&mut self, key: K, deadline_ms: i64) {
        self.cancel(&key);
        self.by_key.insert(key.clone(), deadline_ms);
        self.by_deadline.insert((deadline_ms, key));
    }

    /// Sets a deadline unless there is one.
    pub fn set_if_absent(&mut self, key: K, deadline_ms: i64) {
        if !self.by_key.contains_key(&key) {
            self.set(key, deadline_ms);
        }
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some(deadline) = self.by_key.remove(key) {
            self.by_deadline.remove(&(deadline, key.clone()));
        }
    }

    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// The first key whose deadline is not later than `now_ms`; it is no longer set.
    pub fn take_due(&mut self, now_ms: i64) -> Option<K> {
        let (deadline, key) = self.by_deadline.first()?.clone();
        if deadline > now_ms {
            return None;
        }
        self.cancel(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;

    #[test]
    fn the_earliest_is_due_first_and_a_new_deadline_replaces_the_old_one() {
        let mut timers = Timers::default();
        timers.set("a", 10);
        timers.set("b", 5);
        timers.set("a", 3);
        timers.set("c", 4);
        timers.cancel(&"c");
        timers.set_if_absent("a", 1);
        assert_eq!(timers.next_deadline_ms(), Some(3));
        assert_eq!(timers.take_due(2), None);
        assert_eq!(
            (timers.take_due(5), timers.take_due(5), timers.take_due(5)),
            (Some("a"), Some("b"), None)
        );
        assert_eq!(timers.next_deadline_ms(), None);
    }
}
