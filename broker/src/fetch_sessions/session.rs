//! One fetch session: what its reader asks of each partition, and what it was told last.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use host::Map;
use protocol::messages::fetch_response::PartitionData;
use protocol::{ErrorCode, Str, Uuid};

/// What a fetch asks of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub topic: TopicRef,
    pub partition: i32,
    pub fetch_offset: i64,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
    /// Where the log of a follower begins; -1 of consumers.
    pub log_start_offset: i64,
    pub partition_bytes_max: i32,
}

/// How a fetch names a topic. Names do not keep the frame of a request alive: sessions hold them for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// Below version 13.
    Name(Str),
    /// From version 13 on. The name is None while no topic of this id is known; once known it stays, also when the topic is
    /// deleted: a topic of the same name and another id is told apart by that.
    Id(Uuid, Option<Str>),
}

impl TopicRef {
    pub fn name(&self) -> Option<&Str> {
        match self {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_, name) => name.as_ref(),
        }
    }

    pub fn id(&self) -> Option<Uuid> {
        match self {
            TopicRef::Name(_) => None,
            TopicRef::Id(id, _) => Some(*id),
        }
    }

    /// Whether both name the same topic: by id if they have ids, otherwise by name.
    pub fn is_same(&self, other: &TopicRef) -> bool {
        match (self, other) {
            (TopicRef::Name(a), TopicRef::Name(b)) => a == b,
            (TopicRef::Id(a, _), TopicRef::Id(b, _)) => a == b,
            _ => false,
        }
    }
}

/// A partition, as a session knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    topic: TopicKey,
    partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum TopicKey {
    Name(Str),
    Id(Uuid),
}

impl Key {
    pub(super) fn new(topic: &TopicRef, partition: i32) -> Key {
        let topic = match topic {
            TopicRef::Name(name) => TopicKey::Name(name.clone()),
            TopicRef::Id(id, _) => TopicKey::Id(*id),
        };
        Key { topic, partition }
    }
}

/// A partition of a session.
#[derive(Debug)]
struct Cached {
    asked: Asked,
    /// What was told last; -1 after an error, so that its end is told too, and after a divergence.
    high_watermark: i64,
    log_start_offset: i64,
}

/// What one partition costs in memory, without its name: the entry, its place in the order, its key, and a half for the room
/// that trees and maps leave empty.
const PARTITION_BYTES: usize = (size_of::<Cached>() + size_of::<Key>() + 16) * 3 / 2;

/// The partitions of a session, in the order in which they are read: who got records goes to the end, so that nobody starves.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) epoch: i32,
    pub(super) uses_topic_ids: bool,
    order: BTreeMap<u64, Cached>,
    places: Map<Key, u64>,
    next_place: u64,
    bytes: usize,
}

impl Session {
    /// A session after its first answer; its reader will come back with epoch 1.
    pub(super) fn new(places: Map<Key, u64>, uses_topic_ids: bool) -> Session {
        Session { epoch: 1, uses_topic_ids, order: BTreeMap::new(), places, next_place: 0, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// What this session takes in memory, about.
    pub(super) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// What one partition adds to that.
    pub(super) fn size_bytes_of(asked: &Asked) -> usize {
        PARTITION_BYTES + asked.topic.name().map_or(0, |name| name.len())
    }

    /// Takes over what a request asks: new partitions go to the end, known ones stay where they are.
    pub(super) fn update(&mut self, asked: Asked) {
        let key = Key::new(&asked.topic, asked.partition);
        match self.places.entry(key) {
            Entry::Occupied(place) => {
                let cached = self.order.get_mut(place.get()).expect("every place is in the order");
                // The name that was known stays known.
                let topic = cached.asked.topic.clone();
                cached.asked = Asked { topic, ..asked };
            }
            Entry::Vacant(place) => {
                place.insert(self.next_place);
                self.bytes += Session::size_bytes_of(&asked);
                let cached = Cached { asked, high_watermark: -1, log_start_offset: -1 };
                self.order.insert(self.next_place, cached);
                self.next_place += 1;
            }
        }
    }

    pub(super) fn forget(&mut self, topic: &TopicRef, partition: i32) {
        let Some(place) = self.places.remove(&Key::new(topic, partition)) else { return };
        let cached = self.order.remove(&place).expect("every place is in the order");
        self.bytes -= Session::size_bytes_of(&cached.asked);
    }

    /// All that is asked, in order. Topics that were not known are looked up again.
    pub(super) fn asked(&mut self, name_of: impl Fn(Uuid) -> Option<Str>) -> Vec<Asked> {
        let mut all = Vec::with_capacity(self.order.len());
        for cached in self.order.values_mut() {
            if let TopicRef::Id(id, name @ None) = &mut cached.asked.topic {
                *name = name_of(*id);
                self.bytes += name.as_ref().map_or(0, |name| name.len());
            }
            all.push(cached.asked.clone());
        }
        all
    }

    /// Notes what a full answer told of a partition that `update` has brought in.
    pub(super) fn told(&mut self, asked: &Asked, answer: &PartitionData) {
        let place = self.places.get(&Key::new(&asked.topic, asked.partition));
        if let Some(cached) = place.and_then(|place| self.order.get_mut(place)) {
            cached.high_watermark = known_high_watermark(answer);
            cached.log_start_offset = answer.log_start_offset;
        }
    }

    /// Whether an incremental answer must name this partition; notes what is told, and moves who gets records to the end.
    pub(super) fn tell(&mut self, asked: &Asked, answer: &PartitionData) -> bool {
        let key = Key::new(&asked.topic, asked.partition);
        let Some(place) = self.places.get_mut(&key) else { return false };
        let cached = self.order.get_mut(place).expect("every place is in the order");
        let is_error = answer.error_code != ErrorCode::None.code();
        let diverges = answer.diverging_epoch.end_offset >= 0;
        let has_records = answer.records.as_ref().is_some_and(|records| !records.is_empty());
        let is_news = cached.high_watermark != answer.high_watermark
            || cached.log_start_offset != answer.log_start_offset;
        cached.high_watermark = known_high_watermark(answer);
        cached.log_start_offset = answer.log_start_offset;
        if has_records {
            let cached = self.order.remove(place).expect("it was there");
            *place = self.next_place;
            self.order.insert(self.next_place, cached);
            self.next_place += 1;
        }
        has_records || is_news || is_error || diverges || answer.preferred_read_replica >= 0
    }
}

/// What the reader knows after an answer. One whose log diverges cuts it, and takes nothing else over: without being told the
/// same once more it would stay behind until something changes.
fn known_high_watermark(answer: &PartitionData) -> i64 {
    let is_taken = answer.error_code == ErrorCode::None.code() && answer.diverging_epoch.end_offset < 0;
    if is_taken { answer.high_watermark } else { -1 }
}
