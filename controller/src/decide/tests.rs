//! A small cluster to decide about, without a quorum: what is decided is applied at once.
#![allow(clippy::unwrap_used)]

mod brokers;
mod configs;
mod kafka_log;
mod partitions;
mod random;
mod topics;

use metadata::features::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION, WEIR_VERSION, supported};
use metadata::{Broker, Image, MetadataVersion, Partition, Record};
use protocol::messages::broker_registration_request::{Feature, Listener};
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use protocol::messages::{
    BrokerHeartbeatRequest, BrokerRegistrationRequest, CreateTopicsRequest, FeatureLevelRecord,
};
use protocol::{Str, Uuid};

use super::*;

pub(super) const IDLE: HeartbeatFacts =
    HeartbeatFacts { controlled_shutdown_offset: None, lowest_active_offset: None };

/// A generator of numbers; tests print its seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

pub(super) struct World {
    pub(super) image: Image,
    pub(super) settings: Settings,
    pub(super) dice: Dice,
}

impl World {
    /// A new cluster of this release without brokers.
    pub(super) fn new() -> World {
        let settings = Settings { node_id: 100, cluster_id: Str::from("c"), ..Settings::default() };
        let mut world = World { image: Image::default(), settings, dice: Dice(1) };
        let records = bootstrap_records(&world.context());
        world.apply(&records);
        world
    }

    /// A cluster without ELR.
    pub(super) fn without_elr() -> World {
        let mut world = World::new();
        world.set_level(ELIGIBLE_LEADER_REPLICAS_VERSION, 0);
        world
    }

    /// Brokers 1 to `count`, unfenced.
    pub(super) fn with_brokers(mut self, count: i32) -> World {
        for id in 1..=count {
            self.start(id);
        }
        self
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context { image: &self.image, settings: &self.settings }
    }

    pub(super) fn apply(&mut self, records: &[Record]) {
        self.image = self.image.with(records);
    }

    pub(super) fn set_level(&mut self, name: &'static str, feature_level: i16) {
        let name = Str::from_static(name);
        self.apply(&[Record::from(FeatureLevelRecord { name, feature_level, ..Default::default() })]);
    }

    pub(super) fn broker(&self, id: i32) -> &Broker {
        self.image.cluster.broker(id).unwrap()
    }

    pub(super) fn registration(
        &self,
        id: i32,
        incarnation: u128,
        previous_broker_epoch: i64,
    ) -> BrokerRegistrationRequest {
        let level = self.image.features.metadata_version();
        BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: Str::from("c"),
            incarnation_id: Uuid(1_000_000 + incarnation),
            listeners: vec![Listener {
                name: Str::from("PLAINTEXT"),
                host: Str::from("h"),
                port: 9092,
                ..Default::default()
            }],
            features: supported()
                .into_iter()
                .map(|f| Feature {
                    name: Str::from_static(f.name),
                    min_supported_version: *f.supported.start(),
                    max_supported_version: *f.supported.end(),
                })
                .collect(),
            rack: Some(Str::from(format!("rack{}", id % 2))),
            log_dirs: if level.has_directory_assignment() { vec![Uuid(5_000 + id as u128)] } else { vec![] },
            previous_broker_epoch,
            ..Default::default()
        }
    }

    /// Registers a new incarnation; `clean`: it tells the epoch of the former one.
    pub(super) fn register(&mut self, id: i32, clean: bool) {
        let previous = self.image.cluster.broker(id).filter(|_| clean).map_or(-1, |b| b.epoch);
        let incarnation = u128::from(self.dice.next());
        let request = self.registration(id, incarnation, previous);
        let decision = register_broker(&self.context(), &request, false).unwrap();
        self.apply(&decision.records);
        assert_eq!(self.broker(id).epoch, decision.answer.broker_epoch);
    }

    pub(super) fn heartbeat_of(&self, id: i32) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.broker(id).epoch,
            current_metadata_offset: self.image.end_offset - 1,
            ..Default::default()
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &BrokerHeartbeatRequest,
        facts: HeartbeatFacts,
    ) -> BrokerState {
        let decision = heartbeat(&self.context(), request, facts).unwrap();
        self.apply(&decision.records);
        decision.answer.1
    }

    pub(super) fn start(&mut self, id: i32) {
        self.register(id, true);
        assert_eq!(self.heartbeat(&self.heartbeat_of(id), IDLE), BrokerState::Active);
    }

    pub(super) fn fence(&mut self, id: i32) {
        let records = fence_broker(&self.context(), id).records;
        self.apply(&records);
    }

    /// Creates a topic with one partition per list of replicas.
    pub(super) fn create(&mut self, name: &str, replicas: &[&[i32]]) -> Uuid {
        let assignment = |(index, ids): (i32, &&[i32])| CreatableReplicaAssignment {
            partition_index: index,
            broker_ids: ids.to_vec(),
        };
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: -1,
            replication_factor: -1,
            assignments: (0..).zip(replicas).map(assignment).collect(),
            ..Default::default()
        };
        let answer = self.create_topics(&CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
        answer.topics[0].topic_id
    }

    pub(super) fn create_topics(
        &mut self,
        request: &CreateTopicsRequest,
    ) -> protocol::messages::CreateTopicsResponse {
        let mut dice = Dice(self.dice.next());
        let mut next = || dice.next();
        let decision = create_topics(&self.context(), request, &|_| true, &mut Random(&mut next)).unwrap();
        self.apply(&decision.records);
        decision.answer
    }

    pub(super) fn partition(&self, topic: &str, index: i32) -> &Partition {
        self.image.topics.by_name(topic).unwrap().partition(index).unwrap()
    }

    pub(super) fn set_config(&mut self, kind: i8, resource: &str, name: &str, value: &str) -> i16 {
        let request = configs::set(kind, resource, name, Some(value));
        let decision = incremental_alter_configs(&self.context(), &request);
        self.apply(&decision.records);
        decision.answer.responses[0].error_code
    }
}

/// Refusals and their words, as (code, message).
pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (ErrorCode, String) {
    let refusal = result.unwrap_err();
    (refusal.code, refusal.message)
}

#[test]
fn a_new_cluster_begins_with_this_releases_levels() {
    let world = World::new();
    let levels: Vec<(String, i16)> =
        world.image.features.iter().map(|(name, level)| (name.to_string(), level)).collect();
    let expected = [
        ("eligible.leader.replicas.version", 1),
        ("group.version", 1),
        ("metadata.version", 30),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
        ("weir.version", 1),
    ];
    assert_eq!(levels, expected.map(|(name, level)| (name.to_owned(), level)));
    let first = &bootstrap_records(&world.context())[0];
    assert!(matches!(first, Record::FeatureLevel(r) if r.name == *METADATA_VERSION));
    assert_eq!(world.image.features.level(WEIR_VERSION), 1);
    assert_eq!(world.image.features.metadata_version(), MetadataVersion::LATEST);
    let min_isr =
        world.image.configs.value(&metadata::ConfigResource::cluster_default(), "min.insync.replicas");
    assert_eq!(min_isr.unwrap(), "1");
}
