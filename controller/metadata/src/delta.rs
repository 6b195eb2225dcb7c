//! Applies records to an image and remembers what they touched.
//!
//! Invariant: `apply` cannot fail. Whatever is in the log was decided against this very state; a record that does not fit
//! it means a bug or a damaged log, and going on would make this node differ from the others: it panics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::batch::Batch;
use protocol::messages::{ClearElrRecord, FeatureLevelRecord, PartitionChangeRecord, PartitionRecord};
use protocol::{Str, Uuid};

use crate::configs::{ConfigResource, ResourceType};
use crate::features::{KRAFT_VERSION, METADATA_VERSION};
use crate::{Image, MetadataVersion, Partition, Record, record};

/// An image in the making.
#[derive(Clone, Debug)]
pub struct Delta {
    base: Image,
    image: Image,
    changes: Changes,
}

/// What records touched, for those who publish an image. A thing that changed and changed back is still named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Topics that are new or have touched partitions, with the indexes of these.
    pub topics: BTreeMap<Uuid, BTreeSet<i32>>,
    /// Topics that existed in the base and do not any more; find their names and partitions there.
    pub removed_topics: BTreeSet<Uuid>,
    /// Brokers registered, changed or unregistered.
    pub brokers: BTreeSet<i32>,
    pub controllers: BTreeSet<i32>,
    pub configs: BTreeSet<ConfigResource>,
    pub features: bool,
    pub client_quotas: bool,
    pub producer_ids: bool,
    pub acls: bool,
    pub scram: bool,
    pub delegation_tokens: bool,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl Delta {
    pub fn new(base: &Image) -> Delta {
        Delta { base: base.clone(), image: base.clone(), changes: Changes::default() }
    }

    /// The image before the first record.
    pub fn base(&self) -> &Image {
        &self.base
    }

    /// The image so far: what is decided next is decided against this one.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    pub fn finish(self) -> Image {
        self.image
    }

    /// Before, after, and what changed in between.
    pub fn into_parts(self) -> (Image, Image, Changes) {
        (self.base, self.image, self.changes)
    }

    /// Offsets that hold no metadata record, e.g. the control records of the log, count too.
    pub fn skip_offsets(&mut self, count: i64) {
        assert!(count >= 0, "offsets only grow");
        self.image.end_offset += count;
    }

    /// Applies the control records of a batch at `image().end_offset`: the quorum's own, of which only its level is metadata.
    ///
    /// # Errors
    /// A batch that cannot be read, and a level that this release does not support.
    pub fn apply_control(&mut self, batch: &Batch) -> Result<(), record::Error> {
        if let Some(level) = record::kraft_version(batch)? {
            self.set_kraft_version(level);
        }
        self.skip_offsets(batch.header.next_offset() - batch.header.base_offset);
        Ok(())
    }

    /// `kraft.version`, which a control record finalizes and not a FeatureLevelRecord.
    pub fn set_kraft_version(&mut self, level: i16) {
        if self.image.features.level(KRAFT_VERSION) != level {
            Arc::make_mut(&mut self.image.features).set(&Str::from_static(KRAFT_VERSION), level);
            self.changes.features = true;
        }
    }

    /// Applies the record at `image().end_offset`.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Topic(r) => {
                Arc::make_mut(&mut self.image.topics).insert(&r.name, r.topic_id);
                self.changes.topics.entry(r.topic_id).or_default();
            }
            Record::Partition(r) => self.apply_partition(r),
            Record::PartitionChange(r) => self.apply_partition_change(r),
            Record::RemoveTopic(r) => self.apply_remove_topic(r.topic_id),
            Record::ClearElr(r) => self.apply_clear_elr(r),
            Record::Config(r) => {
                let resource =
                    ConfigResource { kind: ResourceType(r.resource_type), name: r.resource_name.detached() };
                Arc::make_mut(&mut self.image.configs).set(&resource, &r.name, r.value.as_ref());
                self.changes.configs.insert(resource);
            }
            Record::FeatureLevel(r) => self.apply_feature_level(r),
            Record::ProducerIds(r) => {
                assert!(r.next_producer_id >= self.image.next_producer_id, "producer ids are given out once");
                self.image.next_producer_id = r.next_producer_id;
                self.changes.producer_ids = true;
            }
            Record::NoOp(_) | Record::ZkMigrationState(_) => {}
            Record::BeginTransaction(_) | Record::EndTransaction(_) | Record::AbortTransaction(_) => {
                self.apply_transaction(record)
            }
            Record::RegisterBroker(_) | Record::UnregisterBroker(_) | Record::RegisterController(_) => {
                self.apply_registration(record)
            }
            Record::FenceBroker(_) | Record::UnfenceBroker(_) | Record::BrokerRegistrationChange(_) => {
                self.apply_registration(record)
            }
            _ => self.apply_security(record),
        }
        self.image.end_offset += 1;
    }

    fn apply_registration(&mut self, record: &Record) {
        let cluster = Arc::make_mut(&mut self.image.cluster);
        let broker = match record {
            Record::RegisterBroker(r) => {
                cluster.register(r);
                r.broker_id
            }
            Record::UnregisterBroker(r) => {
                cluster.unregister(r.broker_id, r.broker_epoch);
                r.broker_id
            }
            Record::FenceBroker(r) => {
                cluster.set_fenced(r.id, r.epoch, true);
                r.id
            }
            Record::UnfenceBroker(r) => {
                cluster.set_fenced(r.id, r.epoch, false);
                r.id
            }
            Record::BrokerRegistrationChange(r) => {
                cluster.change_registration(r);
                r.broker_id
            }
            Record::RegisterController(r) => {
                cluster.register_controller(r);
                self.changes.controllers.insert(r.controller_id);
                return;
            }
            other => unreachable!("record type {} is no registration", other.key()),
        };
        self.changes.brokers.insert(broker);
    }

    fn apply_security(&mut self, record: &Record) {
        match record {
            Record::ClientQuota(r) => {
                Arc::make_mut(&mut self.image.client_quotas).apply(r);
                self.changes.client_quotas = true;
            }
            Record::AccessControlEntry(r) => {
                Arc::make_mut(&mut self.image.acls).insert(r);
                self.changes.acls = true;
            }
            Record::RemoveAccessControlEntry(r) => {
                Arc::make_mut(&mut self.image.acls).remove(r.id);
                self.changes.acls = true;
            }
            Record::UserScramCredential(r) => {
                Arc::make_mut(&mut self.image.scram).insert(r);
                self.changes.scram = true;
            }
            Record::RemoveUserScramCredential(r) => {
                Arc::make_mut(&mut self.image.scram).remove(r.mechanism, &r.name);
                self.changes.scram = true;
            }
            Record::DelegationToken(r) => {
                Arc::make_mut(&mut self.image.delegation_tokens).insert(r);
                self.changes.delegation_tokens = true;
            }
            Record::RemoveDelegationToken(r) => {
                Arc::make_mut(&mut self.image.delegation_tokens).remove(&r.token_id);
                self.changes.delegation_tokens = true;
            }
            other => unreachable!("apply handles record type {} elsewhere", other.key()),
        }
    }

    fn set_partition(&mut self, topic_id: Uuid, index: i32, partition: Partition) {
        Arc::make_mut(&mut self.image.topics).set_partition(topic_id, index, partition);
        self.changes.topics.entry(topic_id).or_default().insert(index);
    }

    fn apply_partition(&mut self, record: &PartitionRecord) {
        self.set_partition(record.topic_id, record.partition_id, Partition::from_record(record));
    }

    fn apply_partition_change(&mut self, change: &PartitionChangeRecord) {
        let (id, index) = (change.topic_id, change.partition_id);
        let partition = self.image.topics.partition(id, index);
        let merged = partition
            .unwrap_or_else(|| panic!("partition {index} of topic id {id} changes, but does not exist"))
            .merge(change);
        self.set_partition(id, index, merged);
    }

    /// A topic takes its configs with it: one that is created anew begins with the defaults.
    fn apply_remove_topic(&mut self, id: Uuid) {
        let topic = Arc::make_mut(&mut self.image.topics).remove(id);
        self.changes.topics.remove(&id);
        if self.base.topics.by_id(id).is_some() {
            self.changes.removed_topics.insert(id);
        }
        let configs = ConfigResource::topic(&topic.name);
        if Arc::make_mut(&mut self.image.configs).remove(&configs) {
            self.changes.configs.insert(configs);
        }
    }

    /// Forgets the ELRs of a topic, or of all topics if the record names none (KIP-966: min.insync.replicas changed).
    fn apply_clear_elr(&mut self, record: &ClearElrRecord) {
        let topics = self.image.topics.clone();
        let named =
            |topic: &&Arc<crate::Topic>| record.topic_name.is_empty() || topic.name == record.topic_name;
        for topic in topics.iter().filter(named) {
            let has_any = |p: &Partition| !p.elr.is_empty() || !p.last_known_elr.is_empty();
            for (index, partition) in topic.partitions.iter().filter(|(_, p)| has_any(p)) {
                let mut cleared = Partition::clone(partition);
                cleared.elr.clear();
                cleared.last_known_elr.clear();
                cleared.partition_epoch += 1;
                self.set_partition(topic.id, *index, cleared);
            }
        }
    }

    fn apply_feature_level(&mut self, record: &FeatureLevelRecord) {
        if record.name == *METADATA_VERSION {
            let level = MetadataVersion::from_level(record.feature_level);
            assert!(
                level.is_some(),
                "metadata.version {} is not known to this release",
                record.feature_level
            );
        }
        Arc::make_mut(&mut self.image.features).set(&record.name, record.feature_level);
        self.changes.features = true;
    }

    fn apply_transaction(&mut self, record: &Record) {
        match record {
            Record::BeginTransaction(_) => {
                assert!(!self.image.is_in_transaction(), "a metadata transaction begins inside another");
                self.image.before_transaction = Some(Arc::new(self.image.clone()));
            }
            Record::EndTransaction(_) => self.image.before_transaction = None,
            _ => {
                let before = self
                    .image
                    .before_transaction
                    .take()
                    .expect("a metadata transaction that is aborted was begun");
                self.image = Image { end_offset: self.image.end_offset, ..Image::clone(&before) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
