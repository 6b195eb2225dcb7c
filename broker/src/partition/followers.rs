//! What a leader knows of its followers: how far each one is, and since when it has not been at the end.
//!
//! ```text
//!   leader's end   10      20           30
//!   fetch at          10          25        caught up at the time of the fetch that read up to the end of its own time
//! ```
//! A follower that fetches from the end is caught up now. One that fetches from where the log ended at its last fetch was
//! caught up then: under constant load nobody is ever at the end (Kafka's `Replica.updateFetchState`).
//!
//! **Invariant:** of one leader epoch; pure, moments come in as arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Instant;
use protocol::ids::Offset;

/// What a fetch tells of the follower that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    pub id: i32,
    /// Of its registration; -1 before version 15 of Fetch.
    pub broker_epoch: i64,
    /// It has everything below.
    pub offset: Offset,
    pub log_start: Offset,
    /// The metadata says of this very incarnation that it is neither fenced nor leaving.
    pub is_eligible: bool,
}

/// One follower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    /// None before its first fetch of this leader epoch: it has nothing for certain.
    pub(super) log_end: Option<Offset>,
    pub(super) log_start: Offset,
    pub(super) broker_epoch: i64,
    pub(super) is_eligible: bool,
    /// None: never, as far as is known.
    caught_up: Option<Instant>,
    /// Its last fetch, and the leader's end then.
    last_fetch: Option<(Instant, Offset)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeMap<i32, Follower>);

impl Followers {
    /// A leader epoch begins. Members of the ISR have the full time to show that they are there.
    pub(super) fn begin(&mut self, others: impl Iterator<Item = i32>, isr: &[i32], now: Instant) {
        let fresh = |id: i32| Follower {
            log_end: None,
            log_start: Offset::ZERO,
            broker_epoch: -1,
            is_eligible: false,
            caught_up: isr.contains(&id).then_some(now),
            last_fetch: None,
        };
        self.0 = others.map(|id| (id, fresh(id))).collect();
    }

    /// Replicas come and go within an epoch, by a reassignment.
    pub(super) fn keep(&mut self, others: impl Iterator<Item = i32>) {
        let known = std::mem::take(&mut self.0);
        self.begin(others, &[], Instant::default());
        for (id, follower) in &mut self.0 {
            *follower = known.get(id).copied().unwrap_or(*follower);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn get(&self, id: i32) -> Option<&Follower> {
        self.0.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, &Follower)> {
        self.0.iter().map(|(id, follower)| (*id, follower))
    }

    /// Takes over what a fetch tells. False if it is no replica's, or a former incarnation's.
    pub(super) fn fetched(&mut self, fetch: &FollowerFetch, leader_end: Offset, now: Instant) -> bool {
        let Some(follower) = self.0.get_mut(&fetch.id) else { return false };
        if fetch.broker_epoch < follower.broker_epoch {
            return false;
        }
        if fetch.offset >= leader_end {
            follower.caught_up = Some(now);
        } else if let Some((then, end_then)) = follower.last_fetch
            && fetch.offset >= end_then
        {
            follower.caught_up = follower.caught_up.max(Some(then));
        }
        let end = follower.last_fetch.map_or(leader_end, |(_, end)| end.max(leader_end));
        follower.last_fetch = Some((now, end));
        follower.log_end = Some(fetch.offset);
        follower.log_start = fetch.log_start;
        follower.broker_epoch = fetch.broker_epoch;
        follower.is_eligible = fetch.is_eligible;
        true
    }

    /// A broker is fenced, or leaves: nobody waits for it to join. True if somebody did.
    pub(super) fn is_gone(&mut self, id: i32) -> bool {
        self.0.get_mut(&id).is_some_and(|follower| std::mem::take(&mut follower.is_eligible))
    }
}

impl Follower {
    /// At the end, or there within the last `lag_max`.
    pub(super) fn is_caught_up(&self, leader_end: Offset, now: Instant, lag_max: Duration) -> bool {
        self.log_end == Some(leader_end) || self.caught_up.is_some_and(|at| now - at <= lag_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn fetch(offset: i64) -> FollowerFetch {
        let offset = Offset(offset);
        FollowerFetch { id: 2, broker_epoch: 7, offset, log_start: Offset::ZERO, is_eligible: true }
    }

    fn followers(isr: &[i32]) -> Followers {
        let mut followers = Followers::default();
        followers.begin([2, 3].into_iter(), isr, at(100));
        followers
    }

    #[test]
    fn who_is_in_the_isr_when_a_leader_begins_has_the_full_time() {
        let followers = followers(&[2]);
        let two = followers.get(2).unwrap();
        assert!(two.is_caught_up(Offset(50), at(130), LAG) && !two.is_caught_up(Offset(50), at(131), LAG));
        assert!(!followers.get(3).unwrap().is_caught_up(Offset(50), at(100), LAG), "it was not in sync");
    }

    #[test]
    fn a_follower_under_constant_load_was_caught_up_when_it_last_fetched() {
        let mut followers = followers(&[]);
        assert!(followers.fetched(&fetch(5), Offset(10), at(110)));
        assert!(!followers.get(2).unwrap().is_caught_up(Offset(10), at(110), LAG), "it is behind");
        assert!(followers.fetched(&fetch(10), Offset(20), at(111)));
        let two = *followers.get(2).unwrap();
        assert!(two.is_caught_up(Offset(20), at(140), LAG) && !two.is_caught_up(Offset(20), at(141), LAG));
        assert!(followers.fetched(&fetch(19), Offset(30), at(141)), "it falls behind");
        assert!(!followers.get(2).unwrap().is_caught_up(Offset(30), at(142), LAG));
    }

    #[test]
    fn a_former_incarnation_and_a_stranger_do_not_count() {
        let mut followers = followers(&[]);
        assert!(followers.fetched(&fetch(5), Offset(10), at(110)));
        assert!(!followers.fetched(&FollowerFetch { broker_epoch: 6, ..fetch(9) }, Offset(10), at(111)));
        assert_eq!(followers.get(2).unwrap().log_end, Some(Offset(5)));
        assert!(!followers.fetched(&FollowerFetch { id: 9, ..fetch(9) }, Offset(10), at(111)));
    }

    #[test]
    fn replicas_that_stay_are_remembered_when_others_come() {
        let mut followers = followers(&[2]);
        assert!(followers.fetched(&fetch(5), Offset(10), at(110)));
        followers.keep([2, 4].into_iter());
        assert_eq!(followers.get(2).unwrap().log_end, Some(Offset(5)));
        assert!(followers.get(3).is_none() && followers.get(4).unwrap().log_end.is_none());
    }
}
