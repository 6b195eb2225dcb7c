//! Which brokers are heard of. Only the active controller asks.
//!
//! ```text
//!   heartbeat ---------------------> heard now
//!   connection reset or ended -----> 100 ms to come back on another one, then silent
//!   nothing at all ----------------> broker.session.timeout.ms, then silent
//!   new active controller ---------> everybody has the full time-out again; who refuses to be connected to, a second
//! ```
//!
//! **Invariant:** pure: moments come in as arguments. A broker that is silent is fenced, once; hearing of it again is the
//! business of its next heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Instant;
use protocol::bounds;

use crate::decide::HeartbeatFacts;

/// A connection, as the listener numbers them.
pub type ConnectionId = u64;

/// What is known of one broker.
#[derive(Clone, Debug)]
struct Session {
    epoch: i64,
    deadline: Instant,
    /// Connections on which it sent registrations or heartbeats.
    connections: Vec<ConnectionId>,
    metadata_offset: i64,
    controlled_shutdown_offset: Option<i64>,
    is_active: bool,
}

/// The sessions of all brokers with the active controller of one epoch.
#[derive(Debug)]
pub struct Liveness {
    timeout: Duration,
    sessions: BTreeMap<i32, Session>,
}

impl Liveness {
    pub fn new(timeout: Duration) -> Liveness {
        Liveness { timeout, sessions: BTreeMap::new() }
    }

    /// A new epoch begins: every registered broker that is not fenced gets the full time-out.
    pub fn begin(&mut self, brokers: impl IntoIterator<Item = (i32, i64, bool)>, now: Instant) {
        self.sessions.clear();
        for (id, epoch, fenced) in brokers {
            if !fenced {
                self.session(id, epoch, now).is_active = true;
            }
        }
    }

    fn session(&mut self, id: i32, epoch: i64, now: Instant) -> &mut Session {
        let deadline = now + self.timeout;
        let fresh = || Session {
            epoch,
            deadline,
            connections: Vec::new(),
            metadata_offset: -1,
            controlled_shutdown_offset: None,
            is_active: false,
        };
        let session = self.sessions.entry(id).or_insert_with(fresh);
        if session.epoch != epoch {
            // Another incarnation: what was known of the former one does not count.
            *session = fresh();
        }
        session
    }

    /// Gives a broker the full time-out without having heard of it.
    pub fn watch(&mut self, id: i32, epoch: i64, now: Instant) {
        self.session(id, epoch, now);
    }

    /// A broker that was not heard of in this epoch does not listen either: it has until `deadline`.
    pub fn is_missing(&mut self, id: i32, epoch: i64, deadline: Instant) {
        let unheard = |session: &&mut Session| session.epoch == epoch && session.connections.is_empty();
        if let Some(session) = self.sessions.get_mut(&id).filter(unheard) {
            session.deadline = session.deadline.min(deadline);
        }
    }

    /// Whether the broker was heard of lately. Decides if another incarnation may take its id.
    pub fn has_session(&self, id: i32, now: Instant) -> bool {
        self.sessions.get(&id).is_some_and(|s| now < s.deadline && !s.connections.is_empty())
    }

    /// The broker registered, or sent a heartbeat, on a connection. True if this is the first time on this one.
    pub fn heard(
        &mut self,
        id: i32,
        epoch: i64,
        connection: ConnectionId,
        metadata_offset: i64,
        now: Instant,
    ) -> bool {
        let deadline = now + self.timeout;
        let session = self.session(id, epoch, now);
        session.deadline = deadline;
        session.metadata_offset = session.metadata_offset.max(metadata_offset);
        let is_new = !session.connections.contains(&connection);
        if is_new {
            session.connections.push(connection);
        }
        is_new
    }

    /// The brokers that were heard of: id, the metadata that each has, and for how long it has been silent.
    pub fn followers(&self, now: Instant) -> impl Iterator<Item = (i32, i64, Duration)> {
        let heard = self.sessions.iter().filter(|(_, session)| !session.connections.is_empty());
        heard.map(move |(id, session)| {
            let left = if session.deadline > now { session.deadline - now } else { Duration::ZERO };
            (*id, session.metadata_offset, self.timeout.saturating_sub(left))
        })
    }

    /// What heartbeats need to know.
    pub fn facts(&self, id: i32) -> HeartbeatFacts {
        let active = self.sessions.values().filter(|s| s.is_active);
        HeartbeatFacts {
            controlled_shutdown_offset: self.sessions.get(&id).and_then(|s| s.controlled_shutdown_offset),
            lowest_active_offset: active.map(|s| s.metadata_offset).min(),
        }
    }

    /// What became of a broker by a decision that ends at `end_offset`.
    pub fn decided(&mut self, id: i32, is_active: bool, in_controlled_shutdown: bool, end_offset: i64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_active = is_active;
            session.controlled_shutdown_offset = match session.controlled_shutdown_offset {
                begun @ Some(_) if in_controlled_shutdown => begun,
                _ if in_controlled_shutdown => Some(end_offset - 1),
                _ => None,
            };
        }
    }

    /// A connection ended. Brokers that have no other one are given a moment to reconnect. Returns when to look again.
    pub fn closed(&mut self, connection: ConnectionId, now: Instant) -> Option<Instant> {
        let soon = now + bounds::CONTROLLER_RECONNECT_WAIT;
        let mut look_again = None;
        for session in self.sessions.values_mut() {
            let before = session.connections.len();
            session.connections.retain(|c| *c != connection);
            if before > 0 && session.connections.is_empty() {
                session.deadline = session.deadline.min(soon);
                look_again = Some(soon);
            }
        }
        look_again
    }

    /// The brokers that are silent, with their epochs. Each is reported once.
    pub fn expire(&mut self, now: Instant) -> Vec<(i32, i64)> {
        let silent: Vec<(i32, i64)> =
            self.sessions.iter().filter(|(_, s)| s.deadline <= now).map(|(id, s)| (*id, s.epoch)).collect();
        for (id, _) in &silent {
            self.sessions.remove(id);
        }
        silent
    }

    /// When the next broker falls silent if nothing is heard.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.sessions.values().map(|s| s.deadline).min()
    }

    pub fn forget(&mut self, id: i32) {
        self.sessions.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(9);

    fn at(ms: u64) -> Instant {
        Instant::from_start(Duration::from_millis(ms))
    }

    fn live() -> Liveness {
        let mut live = Liveness::new(TIMEOUT);
        live.heard(1, 10, 100, 5, at(0));
        live.decided(1, true, false, 6);
        live
    }

    #[test]
    fn a_silent_broker_expires_once_after_the_session_timeout() {
        let mut live = live();
        assert_eq!(live.expire(at(8_999)), []);
        assert_eq!(live.expire(at(9_000)), [(1, 10)]);
        assert_eq!(live.expire(at(20_000)), []);
    }

    #[test]
    fn a_lost_connection_leaves_a_hundred_milliseconds_to_come_back() {
        let mut lost = live();
        assert_eq!(lost.closed(100, at(1_000)), Some(at(1_100)));
        assert_eq!(lost.expire(at(1_099)), []);
        assert_eq!(lost.expire(at(1_100)), [(1, 10)]);

        let mut back = live();
        back.closed(100, at(1_000));
        back.heard(1, 10, 101, 5, at(1_050));
        assert_eq!(back.expire(at(1_100)), []);
        assert_eq!(back.next_deadline(), Some(at(10_050)));
    }

    #[test]
    fn one_of_two_connections_may_close() {
        let mut live = live();
        live.heard(1, 10, 101, 5, at(10));
        assert_eq!(live.closed(100, at(20)), None);
        assert!(live.has_session(1, at(30)));
        assert_eq!(live.closed(999, at(20)), None, "nobody's connection");
    }

    #[test]
    fn a_new_active_controller_grants_the_full_timeout_and_an_old_incarnation_has_no_session() {
        let mut live = live();
        live.begin([(1, 10, false), (2, 11, true)], at(5_000));
        assert_eq!(live.next_deadline(), Some(at(14_000)));
        assert!(!live.has_session(1, at(5_000)), "nothing was heard of it in this epoch");
        live.heard(1, 12, 7, 0, at(6_000));
        assert!(live.has_session(1, at(6_000)));
    }

    #[test]
    fn a_broker_that_does_not_listen_has_less_time_unless_it_is_heard_of() {
        let mut live = Liveness::new(TIMEOUT);
        live.begin([(1, 10, false), (2, 11, false)], at(0));
        live.heard(2, 11, 200, 5, at(100));
        live.is_missing(1, 10, at(1_000));
        live.is_missing(2, 11, at(1_000));
        live.is_missing(1, 9, at(500));
        assert_eq!(live.expire(at(999)), []);
        assert_eq!(live.expire(at(1_000)), [(1, 10)]);
    }

    #[test]
    fn facts_of_a_shutdown_begin_with_its_own_offset() {
        let mut live = live();
        live.heard(2, 11, 200, 9, at(0));
        live.decided(2, true, false, 9);
        live.decided(1, false, true, 21);
        live.decided(1, false, true, 30);
        assert_eq!(live.facts(1).controlled_shutdown_offset, Some(20));
        assert_eq!(live.facts(1).lowest_active_offset, Some(9));
    }
}
