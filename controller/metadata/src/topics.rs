//! Topics and their partitions, by id and by name.
//!
//! Invariant: `by_name` names exactly the topics of `by_id`. Copies share everything but the touched chunks: changing one
//! of 10,000 partitions copies a few kilobytes (`chunked.rs`).

use std::sync::Arc;

use protocol::{Str, Uuid};

use crate::chunked::ChunkedMap;
use crate::{MetadataVersion, Partition, Record};
use protocol::messages::TopicRecord;

/// A topic. The partitions of a topic that `decide` made are 0, 1, 2, ... without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: Str,
    pub id: Uuid,
    pub partitions: ChunkedMap<i32, Arc<Partition>>,
}

impl Topic {
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(&index)
    }

    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition indexes are i32")
    }
}

/// All topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topics {
    by_id: ChunkedMap<Uuid, Arc<Topic>>,
    by_name: ChunkedMap<Str, Uuid>,
    /// Topics whose name holds a dot or an underscore, by the name with dots turned into underscores: metrics cannot
    /// tell such names apart, so a second one is refused. A log of an old Kafka may still have several.
    colliding: ChunkedMap<Str, Vec<Str>>,
    partitions: usize,
}

impl Topics {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    pub fn by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_id.get(self.by_name.get(name)?)
    }

    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.by_name.get(name).copied()
    }

    pub fn partition(&self, id: Uuid, index: i32) -> Option<&Arc<Partition>> {
        self.by_id(id)?.partition(index)
    }

    /// All topics, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values().map(|id| self.by_id.get(id).expect("by_name names topics of by_id"))
    }

    /// An existing topic whose name differs from `name` at most in dots and underscores.
    pub fn collision(&self, name: &str) -> Option<&Str> {
        self.colliding.get(unified(name)?.as_str())?.first()
    }

    pub(crate) fn insert(&mut self, name: &Str, id: Uuid) {
        let name = name.detached();
        let topic = Topic { name: name.clone(), id, partitions: ChunkedMap::default() };
        assert!(!self.by_name.contains_key(&name), "topic {name} is created twice");
        assert!(self.by_id.insert(id, Arc::new(topic)).is_none(), "topic id {id} is used twice");
        if let Some(unified) = unified(&name) {
            let mut names = self.colliding.get(&unified).cloned().unwrap_or_default();
            names.push(name.clone());
            names.sort();
            self.colliding.insert(unified, names);
        }
        self.by_name.insert(name, id);
    }

    pub(crate) fn remove(&mut self, id: Uuid) -> Arc<Topic> {
        let topic =
            self.by_id.remove(&id).unwrap_or_else(|| panic!("topic id {id} is removed, but does not exist"));
        self.by_name.remove(&topic.name);
        self.partitions -= topic.partitions.len();
        if let Some(unified) = unified(&topic.name) {
            let names = self.colliding.get_mut(&unified).expect("insert put it there");
            names.retain(|name| *name != topic.name);
            if names.is_empty() {
                self.colliding.remove(&unified);
            }
        }
        topic
    }

    pub(crate) fn set_partition(&mut self, id: Uuid, index: i32, partition: Partition) {
        let topic =
            self.by_id.get_mut(&id).unwrap_or_else(|| panic!("a partition of the unknown topic id {id}"));
        if Arc::make_mut(topic).partitions.insert(index, Arc::new(partition)).is_none() {
            self.partitions += 1;
        }
    }

    /// For each topic, by name: its TopicRecord, then its PartitionRecords.
    pub(crate) fn records(&self, level: MetadataVersion) -> impl Iterator<Item = Record> + '_ {
        self.iter().flat_map(move |topic| {
            let head = TopicRecord { name: topic.name.clone(), topic_id: topic.id, ..TopicRecord::default() };
            let partitions = topic
                .partitions
                .iter()
                .map(move |(index, p)| Record::from(p.to_record(topic.id, *index, level)));
            std::iter::once(Record::from(head)).chain(partitions)
        })
    }
}

/// The name with dots as underscores; None if it has neither and so collides with no other.
fn unified(name: &str) -> Option<Str> {
    name.contains(['.', '_']).then(|| Str::from(name.replace('.', "_")))
}
