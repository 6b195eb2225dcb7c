//! Incremental fetch sessions (KIP-227): a reader names its partitions once, and each later fetch tells what has changed.
//!
//! ```text
//!   fetch, epoch 0:  all partitions            -> all answers, session 7
//!   fetch, epoch 1:  what is new or forgotten  -> answers with records, errors, or other offsets than were told
//!   fetch, epoch 2:  ...                                              epoch -1, or 0 again: the session ends
//! ```
//! The rules are those of Kafka's `FetchSessionCache`. A new session may take the slot of another one that was not used for
//! two minutes; else, if it is a follower's, of the smallest one of a consumer; else of one that is not larger and older than
//! two minutes. Who gets no slot works as before, with full fetches.
//!
//! **Invariant:** the two kinds of locks (cache, session) are never held together. Slots and bytes are bounded.

mod session;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use host::{Entropy, Host, Instant, Map};
use protocol::messages::fetch_response::PartitionData;
use protocol::{ErrorCode, Str, Uuid, bounds};

pub use session::{Asked, TopicRef};
use session::{Key, Session};

/// The epoch of a fetch that wants a session, and of one that wants none.
pub(crate) const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// A fetch, as sessions see it.
#[derive(Debug)]
pub struct SessionRequest {
    pub session_id: i32,
    pub epoch: i32,
    pub uses_topic_ids: bool,
    pub is_follower: bool,
    pub asked: Vec<Asked>,
    pub forgotten: Vec<(TopicRef, i32)>,
}

/// A partition's answer and what was asked.
#[derive(Debug)]
pub struct Answered {
    pub asked: Asked,
    pub data: PartitionData,
}

/// How the answer of a fetch comes about.
#[derive(Debug)]
pub struct FetchContext(Kind);

#[derive(Debug)]
enum Kind {
    Sessionless,
    /// Wants a session.
    Full {
        uses_topic_ids: bool,
        is_follower: bool,
    },
    Incremental {
        session_id: i32,
        session: Arc<Mutex<Session>>,
        /// The epoch that the session has while this fetch is the newest.
        epoch: i32,
    },
}

/// The answer as a whole.
#[derive(Debug)]
pub struct SessionAnswer {
    pub error: ErrorCode,
    /// 0: no session.
    pub session_id: i32,
    pub answers: Vec<Answered>,
}

/// See the module.
pub struct FetchSessions {
    host: Host,
    slots: usize,
    bytes_max: usize,
    cache: Mutex<Cache>,
    /// Sessions that had to give up their slot.
    pub evictions: AtomicU64,
}

/// The slots, and in which order they are given up.
struct Cache {
    sessions: Map<i32, Slot>,
    /// All, by the time of their last use.
    by_use: BTreeSet<(Instant, i32)>,
    evictable_by_all: BTreeSet<Value>,
    evictable_by_followers: BTreeSet<Value>,
    partitions: usize,
    bytes: usize,
}

/// What a session is worth: a follower's more than a consumer's, a larger one more than a smaller one.
type Value = (bool, usize, i32);

struct Slot {
    session: Arc<Mutex<Session>>,
    is_follower: bool,
    created: Instant,
    used: Instant,
    partitions: usize,
    bytes: usize,
}

impl FetchSessions {
    /// `slots`: `max.incremental.fetch.session.cache.slots`.
    pub fn new(host: &Host, slots: usize) -> FetchSessions {
        let cache = Cache {
            sessions: host.map(),
            by_use: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_followers: BTreeSet::new(),
            partitions: 0,
            bytes: 0,
        };
        FetchSessions {
            host: host.clone(),
            slots,
            bytes_max: bounds::FETCH_SESSION_BYTES_MAX,
            cache: Mutex::new(cache),
            evictions: AtomicU64::new(0),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().expect("no code that holds this lock panics")
    }

    /// Sessions that are kept.
    pub fn len(&self) -> usize {
        self.cache().sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Partitions of all sessions.
    pub fn partitions(&self) -> usize {
        self.cache().partitions
    }

    /// Begins a fetch: tells what is read, in this order. `name_of` tells the name of a topic that is known.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR.
    pub fn begin(
        &self,
        request: SessionRequest,
        name_of: impl Fn(Uuid) -> Option<Str>,
    ) -> Result<(FetchContext, Vec<Asked>), ErrorCode> {
        let SessionRequest { session_id, epoch, uses_topic_ids, is_follower, asked, forgotten } = request;
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            // A full fetch ends the session that it names.
            self.cache().remove(session_id);
            let kind = if epoch == FINAL_EPOCH {
                Kind::Sessionless
            } else {
                Kind::Full { uses_topic_ids, is_follower }
            };
            return Ok((FetchContext(kind), last_of_each(asked)));
        }
        let slot = self.cache().sessions.get(&session_id).map(|slot| Arc::clone(&slot.session));
        let shared = slot.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut session = lock(&shared);
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for asked in &asked {
            session.update(asked.clone());
        }
        for (topic, partition) in &forgotten {
            session.forget(topic, *partition);
        }
        if session.is_empty() {
            drop(session);
            self.cache().remove(session_id);
            return Ok((FetchContext(Kind::Sessionless), last_of_each(asked)));
        }
        session.epoch = next_epoch(epoch);
        let (all, size, epoch) =
            (session.asked(name_of), (session.len(), session.size_bytes()), session.epoch);
        drop(session);
        let now = self.host.clock().now();
        if !self.cache().touch(session_id, now, size, self.bytes_max) {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok((FetchContext(Kind::Incremental { session_id, session: shared, epoch }), all))
    }

    /// Ends a fetch: a session may be made, and an incremental answer loses what has not changed.
    pub fn finish(&self, context: &FetchContext, mut answers: Vec<Answered>) -> SessionAnswer {
        match &context.0 {
            Kind::Sessionless => SessionAnswer { error: ErrorCode::None, session_id: 0, answers },
            Kind::Full { uses_topic_ids, is_follower } => {
                let session_id = self.create(*uses_topic_ids, *is_follower, &answers);
                SessionAnswer { error: ErrorCode::None, session_id, answers }
            }
            Kind::Incremental { session_id, session, epoch } => {
                let mut session = lock(session);
                let session_id = *session_id;
                if session.epoch != *epoch {
                    let error = ErrorCode::InvalidFetchSessionEpoch;
                    return SessionAnswer { error, session_id, answers: Vec::new() };
                }
                answers.retain(|answered| session.tell(&answered.asked, &answered.data));
                SessionAnswer { error: ErrorCode::None, session_id, answers }
            }
        }
    }

    /// Makes a session of what was answered; 0 if it gets no slot.
    fn create(&self, uses_topic_ids: bool, is_follower: bool, answers: &[Answered]) -> i32 {
        let mut session = Session::new(self.host.map(), uses_topic_ids);
        for Answered { asked, data } in answers {
            session.update(asked.clone());
            session.told(asked, data);
        }
        let size = (session.len(), session.size_bytes());
        let now = self.host.clock().now();
        let mut cache = self.cache();
        while cache.sessions.len() >= self.slots || cache.bytes + size.1 > self.bytes_max {
            if !cache.evict((is_follower, size.0, 0), now) {
                return 0;
            }
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        let id = cache.free_id(self.host.entropy());
        let session = Arc::new(Mutex::new(session));
        let slot = Slot { session, is_follower, created: now, used: now, partitions: 0, bytes: 0 };
        cache.sessions.insert(id, slot);
        cache.touch(id, now, size, self.bytes_max);
        id
    }
}

impl Cache {
    fn free_id(&self, entropy: &Entropy) -> i32 {
        loop {
            let id = (entropy.u64() >> 33) as i32;
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Makes room for a session of this value, if an existing one must yield to it.
    fn evict(&mut self, new: Value, now: Instant) -> bool {
        let is_follower = new.0;
        let Some((used, oldest)) = self.by_use.first().copied() else { return false };
        if now - used > bounds::FETCH_SESSION_EVICTION_AGE_MIN {
            self.remove(oldest);
            return true;
        }
        let order = if is_follower { &self.evictable_by_followers } else { &self.evictable_by_all };
        match order.first().copied() {
            Some(least) if least <= new => {
                self.remove(least.2);
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(slot) = self.sessions.remove(&id) {
            self.unlist(id, &slot);
        }
    }

    fn unlist(&mut self, id: i32, slot: &Slot) {
        self.by_use.remove(&(slot.used, id));
        let value = (slot.is_follower, slot.partitions, id);
        self.evictable_by_all.remove(&value);
        self.evictable_by_followers.remove(&value);
        self.partitions -= slot.partitions;
        self.bytes -= slot.bytes;
    }

    /// Notes that a session was used and how large it is; false if it is gone, or has grown out of all bounds.
    fn touch(
        &mut self,
        id: i32,
        now: Instant,
        (partitions, bytes): (usize, usize),
        bytes_max: usize,
    ) -> bool {
        let Some(mut slot) = self.sessions.remove(&id) else { return false };
        self.unlist(id, &slot);
        if self.bytes + bytes > bytes_max {
            return false;
        }
        (slot.used, slot.partitions, slot.bytes) = (now, partitions, bytes);
        self.by_use.insert((now, id));
        let is_old = now - slot.created > bounds::FETCH_SESSION_EVICTION_AGE_MIN;
        let value = (slot.is_follower, partitions, id);
        if is_old || !slot.is_follower {
            self.evictable_by_followers.insert(value);
        }
        if is_old {
            self.evictable_by_all.insert(value);
        }
        self.partitions += partitions;
        self.bytes += bytes;
        self.sessions.insert(id, slot);
        true
    }
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().expect("no code that holds this lock panics")
}

/// After the last one comes 1: 0 asks for a new session.
pub(crate) fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// A partition that is named twice is read once: where it stood first, as it was asked last.
fn last_of_each(asked: Vec<Asked>) -> Vec<Asked> {
    if asked.len() < 2 {
        return asked;
    }
    let mut places = BTreeMap::new();
    let mut unique: Vec<Asked> = Vec::with_capacity(asked.len());
    for one in asked {
        match places.entry(Key::new(&one.topic, one.partition)) {
            btree_map::Entry::Occupied(place) => unique[*place.get()] = one,
            btree_map::Entry::Vacant(place) => {
                place.insert(unique.len());
                unique.push(one);
            }
        }
    }
    unique
}

impl std::fmt::Debug for FetchSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FetchSessions({} of {})", self.len(), self.slots)
    }
}

#[cfg(test)]
mod tests;
