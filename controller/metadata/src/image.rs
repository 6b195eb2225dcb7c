//! The state that the records of the metadata log make, up to an offset.
//!
//! Immutable and cheap to clone: each part is shared until a `Delta` changes it. A request reads one image from start to
//! end, and so never sees half of a change.

use std::sync::Arc;

use protocol::messages::{FeatureLevelRecord, ProducerIdsRecord};

use crate::features::{KRAFT_VERSION, METADATA_VERSION};
use crate::{
    Acls, ClientQuotas, Cluster, Configs, DelegationTokens, Delta, Features, Record, ScramCredentials, Topics,
};

/// What the cluster knows. Two images are equal when their state is, whatever offset made it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Offset after the last record in it: the offset of the next one.
    pub end_offset: i64,
    pub features: Arc<Features>,
    pub cluster: Arc<Cluster>,
    pub topics: Arc<Topics>,
    pub configs: Arc<Configs>,
    pub client_quotas: Arc<ClientQuotas>,
    /// The first producer id that no broker has been given.
    pub next_producer_id: i64,
    pub acls: Arc<Acls>,
    pub scram: Arc<ScramCredentials>,
    pub delegation_tokens: Arc<DelegationTokens>,
    /// The state before the metadata transaction (KIP-868) that is open. Who publishes waits for its end.
    pub(crate) before_transaction: Option<Arc<Image>>,
}

impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        self.features == other.features
            && self.cluster == other.cluster
            && self.topics == other.topics
            && self.configs == other.configs
            && self.client_quotas == other.client_quotas
            && self.next_producer_id == other.next_producer_id
            && self.acls == other.acls
            && self.scram == other.scram
            && self.delegation_tokens == other.delegation_tokens
            && self.before_transaction == other.before_transaction
    }
}

impl Image {
    /// The image after `records`, on a copy that shares what they leave alone.
    pub fn with<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Image {
        let mut delta = Delta::new(self);
        for record in records {
            delta.apply(record);
        }
        delta.finish()
    }

    /// The image of a snapshot that covers the log up to `end_offset`.
    pub fn from_snapshot<'a>(records: impl IntoIterator<Item = &'a Record>, end_offset: i64) -> Image {
        Image { end_offset, ..Image::default().with(records) }
    }

    /// The same state under another level of the quorum's protocol, which no record of a snapshot tells.
    #[must_use]
    pub fn with_kraft_version(&self, level: i16) -> Image {
        let mut delta = Delta::new(self);
        delta.set_kraft_version(level);
        delta.finish()
    }

    /// A metadata transaction is open: the state is not yet one to act on.
    pub fn is_in_transaction(&self) -> bool {
        self.before_transaction.is_some()
    }

    /// The records that make this image from nothing but the level of the quorum's protocol, in Kafka's order: a snapshot.
    /// Levels come first, since they decide how the rest is read.
    ///
    /// # Panics
    /// Inside a metadata transaction: that state may still be taken back.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        assert!(!self.is_in_transaction(), "no snapshot is taken inside a metadata transaction");
        let level = self.features.metadata_version();
        let feature = |(name, feature_level): (&protocol::Str, i16)| FeatureLevelRecord {
            name: name.clone(),
            feature_level,
            ..FeatureLevelRecord::default()
        };
        // A control record of the quorum tells its level.
        let (metadata, others): (Vec<_>, Vec<_>) = self
            .features
            .iter()
            .filter(|(name, _)| **name != *KRAFT_VERSION)
            .partition(|(name, _)| **name == *METADATA_VERSION);
        let features = metadata.into_iter().chain(others).map(feature).map(Record::from);
        let producer_ids = (self.next_producer_id > 0).then(|| {
            let record = ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
                ..ProducerIdsRecord::default()
            };
            Record::from(record)
        });
        features
            .chain(self.cluster.records(level))
            .chain(self.topics.records(level))
            .chain(self.configs.records())
            .chain(self.client_quotas.records())
            .chain(producer_ids)
            .chain(self.acls.records())
            .chain(self.scram.records())
            .chain(self.delegation_tokens.records())
    }
}
