//! Records and images for tests: Kafka's own, one of every type, and random histories.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use protocol::messages::client_quota_record::EntityData;
use protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use protocol::messages::{
    AbortTransactionRecord, AccessControlEntryRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord,
    ClearElrRecord, ClientQuotaRecord, ConfigRecord, DelegationTokenRecord, EndTransactionRecord,
    FeatureLevelRecord, FenceBrokerRecord, NoOpRecord, PartitionChangeRecord, PartitionRecord,
    ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord, RemoveAccessControlEntryRecord,
    RemoveDelegationTokenRecord, RemoveTopicRecord, RemoveUserScramCredentialRecord, TopicRecord,
    UnfenceBrokerRecord, UnregisterBrokerRecord, UserScramCredentialRecord, ZkMigrationStateRecord,
};
use protocol::{Str, Uuid};

use crate::{Delta, Image, MetadataVersion, Record};

/// Offsets and values of the metadata records of a Kafka 4.3.1 node.
pub(crate) fn kafka_records() -> Vec<(i64, Bytes)> {
    let lines = include_str!("../testdata/kafka-4.3.1.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (offset, hex) = line.split_once(' ').unwrap();
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            (offset.parse().unwrap(), bytes.collect())
        })
        .collect()
}

/// A small generator of numbers: tests need no better one, and print its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

fn name(prefix: &str, number: u64) -> Str {
    Str::from(format!("{prefix}{number}"))
}

pub(crate) fn level_record(level: MetadataVersion) -> Record {
    let name = Str::from_static(crate::features::METADATA_VERSION);
    Record::from(FeatureLevelRecord { name, feature_level: level.level(), ..Default::default() })
}

pub(crate) fn register_broker(id: i32, epoch: i64) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: Uuid(1000 + epoch as u128),
        broker_epoch: epoch,
        end_points: vec![BrokerEndpoint {
            name: Str::from("PLAINTEXT"),
            host: Str::from("localhost"),
            port: 9092,
            ..Default::default()
        }],
        features: vec![BrokerFeature {
            name: Str::from_static(crate::features::METADATA_VERSION),
            min_supported_version: 7,
            max_supported_version: 30,
            ..Default::default()
        }],
        rack: Some(name("rack", id as u64 % 2)),
        log_dirs: vec![Uuid(5000 + id as u128)],
        ..Default::default()
    }
}

pub(crate) fn partition_record(topic_id: Uuid, index: i32, dice: &mut Dice) -> PartitionRecord {
    let replicas: Vec<i32> = (1..=1 + dice.below(3) as i32).collect();
    PartitionRecord {
        partition_id: index,
        topic_id,
        directories: replicas.iter().map(|id| Uuid(5000 + *id as u128)).collect(),
        isr: replicas[..1].to_vec(),
        eligible_leader_replicas: replicas.get(1).map(|id| vec![*id]),
        last_known_elr: replicas.get(2).map(|id| vec![*id]),
        replicas,
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        ..Default::default()
    }
}

/// One record of each type, not necessarily in an order that applies.
pub(crate) fn records_of_every_type() -> Vec<Record> {
    let text = Str::from("x");
    let mut records = vec![
        Record::from(register_broker(1, 7)),
        Record::from(UnregisterBrokerRecord { broker_id: 1, broker_epoch: 7, ..Default::default() }),
        Record::from(TopicRecord { name: text.clone(), topic_id: Uuid(300), ..Default::default() }),
        Record::from(partition_record(Uuid(300), 0, &mut Dice(3))),
        Record::from(ConfigRecord {
            resource_type: 2,
            resource_name: text.clone(),
            name: text.clone(),
            ..Default::default()
        }),
        Record::from(PartitionChangeRecord {
            topic_id: Uuid(300),
            isr: Some(vec![1]),
            leader: 1,
            ..Default::default()
        }),
        Record::from(FenceBrokerRecord { id: 1, epoch: 7, ..Default::default() }),
        Record::from(UnfenceBrokerRecord { id: 1, epoch: 7, ..Default::default() }),
        Record::from(RemoveTopicRecord { topic_id: Uuid(300), ..Default::default() }),
        Record::from(BrokerRegistrationChangeRecord { broker_id: 1, fenced: -1, ..Default::default() }),
        Record::from(ProducerIdsRecord { next_producer_id: 1000, ..Default::default() }),
        level_record(MetadataVersion::LATEST),
        Record::from(NoOpRecord::default()),
        Record::from(ZkMigrationStateRecord::default()),
        Record::from(BeginTransactionRecord { name: Some(text.clone()), ..Default::default() }),
        Record::from(EndTransactionRecord::default()),
        Record::from(AbortTransactionRecord { reason: Some(text.clone()), ..Default::default() }),
        Record::from(RegisterControllerRecord { controller_id: 3, ..Default::default() }),
        Record::from(ClearElrRecord { topic_name: text, ..Default::default() }),
    ];
    records.extend(security_records());
    records
}

fn security_records() -> Vec<Record> {
    let text = Str::from("x");
    let entity = vec![EntityData { entity_type: Str::from("user"), entity_name: None, ..Default::default() }];
    vec![
        Record::from(ClientQuotaRecord { entity, key: text.clone(), value: 1.5, ..Default::default() }),
        Record::from(AccessControlEntryRecord { id: Uuid(9), principal: text.clone(), ..Default::default() }),
        Record::from(RemoveAccessControlEntryRecord { id: Uuid(9), ..Default::default() }),
        Record::from(UserScramCredentialRecord {
            name: text.clone(),
            mechanism: 1,
            iterations: 4096,
            ..Default::default()
        }),
        Record::from(RemoveUserScramCredentialRecord {
            name: text.clone(),
            mechanism: 1,
            ..Default::default()
        }),
        Record::from(DelegationTokenRecord {
            token_id: text.clone(),
            renewers: vec![text.clone()],
            ..Default::default()
        }),
        Record::from(RemoveDelegationTokenRecord { token_id: text, ..Default::default() }),
    ]
}

/// A history of `length` random records that fit each other, and the image that they make.
pub(crate) fn random_history(seed: u64, length: usize) -> (Vec<Record>, Image) {
    let mut dice = Dice(seed);
    let mut delta = Delta::new(&Image::default());
    let mut records = Vec::new();
    let level = MetadataVersion::from_level(7 + dice.below(24) as i16).unwrap();
    let elr = FeatureLevelRecord {
        name: Str::from_static(crate::features::ELIGIBLE_LEADER_REPLICAS_VERSION),
        feature_level: i16::from(level.has_eligible_leader_replicas()),
        ..Default::default()
    };
    for first in [level_record(level), Record::from(elr)] {
        delta.apply(&first);
        records.push(first);
    }
    while records.len() < length {
        let Some(record) = random_record(delta.image(), level, &mut dice) else { continue };
        // Through its bytes, so that what the level cannot carry is not in the image either.
        let Ok(bytes) = crate::record::encode(&record, level) else { continue };
        let record = crate::record::decode(bytes).unwrap();
        delta.apply(&record);
        records.push(record);
    }
    (records, delta.finish())
}

fn random_record(image: &Image, level: MetadataVersion, dice: &mut Dice) -> Option<Record> {
    let ids: Vec<Uuid> = image.topics.iter().map(|topic| topic.id).collect();
    let record = match dice.below(14) {
        0 | 1 => {
            let record = TopicRecord {
                name: name("t.", dice.below(40)),
                topic_id: Uuid(300 + dice.0 as u128),
                ..Default::default()
            };
            (image.topics.id(&record.name).is_none()).then(|| Record::from(record))
        }
        2..=4 if !ids.is_empty() => {
            let index = dice.below(100) as i32;
            let id = *dice.pick(&ids);
            let mut record = partition_record(id, index, dice);
            if !level.has_directory_assignment() {
                record.directories.clear();
            }
            if !level.has_eligible_leader_replicas() {
                record.eligible_leader_replicas = None;
                record.last_known_elr = None;
            }
            Some(Record::from(record))
        }
        5 if !ids.is_empty() => {
            let topic = image.topics.by_id(*dice.pick(&ids)).unwrap();
            let (index, _) = topic.partitions.iter().next()?;
            let change = PartitionChangeRecord {
                topic_id: topic.id,
                partition_id: *index,
                leader: -1,
                isr: Some(vec![]),
                ..Default::default()
            };
            Some(Record::from(change))
        }
        6 if ids.len() > 5 => {
            Some(Record::from(RemoveTopicRecord { topic_id: *dice.pick(&ids), ..Default::default() }))
        }
        7 | 8 | 11 => random_cluster_record(image, level, dice),
        9 => {
            let value = (dice.below(3) > 0).then(|| name("v", dice.below(9)));
            let resource_type = *dice.pick(&[2, 4, 16, 32]);
            let (resource_name, name) = (name("t.", dice.below(40)), name("c", dice.below(5)));
            Some(Record::from(ConfigRecord {
                resource_type,
                resource_name,
                name,
                value,
                ..Default::default()
            }))
        }
        10 => Some(Record::from(ProducerIdsRecord {
            next_producer_id: image.next_producer_id + 1000,
            ..Default::default()
        })),
        12 => Some(Record::from(ClearElrRecord {
            topic_name: name("t.", dice.below(40)),
            ..Default::default()
        })),
        _ => random_security_record(image, dice),
    }?;
    crate::record::is_known_at(&record, level).then_some(record)
}

fn random_cluster_record(image: &Image, level: MetadataVersion, dice: &mut Dice) -> Option<Record> {
    match dice.below(3) {
        0 => {
            let mut record = register_broker(dice.below(5) as i32, image.end_offset);
            if !level.has_directory_assignment() {
                record.log_dirs.clear();
            }
            record.cordoned_log_dirs = level.has_cordoned_log_dirs().then(Vec::new);
            Some(Record::from(record))
        }
        1 => {
            let broker = image.cluster.brokers().next()?;
            let change = BrokerRegistrationChangeRecord {
                broker_id: broker.id,
                broker_epoch: broker.epoch,
                ..Default::default()
            };
            let fenced = *dice.pick(&[1, -1]);
            Some(Record::from(BrokerRegistrationChangeRecord {
                fenced,
                in_controlled_shutdown: (fenced == 1).into(),
                ..change
            }))
        }
        _ => {
            let record = RegisterControllerRecord {
                controller_id: dice.below(3) as i32,
                incarnation_id: Uuid(dice.0 as u128),
                ..Default::default()
            };
            Some(Record::from(record))
        }
    }
}

fn random_security_record(image: &Image, dice: &mut Dice) -> Option<Record> {
    let user = name("u", dice.below(4));
    Some(match dice.below(6) {
        0 | 1 => {
            let part = |kind, name| EntityData {
                entity_type: Str::from_static(kind),
                entity_name: name,
                ..Default::default()
            };
            let entity = vec![part("user", Some(user)), part("client-id", None)];
            let (value, remove) = (dice.below(100) as f64, dice.below(3) == 0);
            Record::from(ClientQuotaRecord {
                entity,
                key: name("k", dice.below(2)),
                value,
                remove,
                ..Default::default()
            })
        }
        2 => Record::from(AccessControlEntryRecord {
            id: Uuid(dice.0 as u128),
            principal: user,
            ..Default::default()
        }),
        3 => Record::from(RemoveAccessControlEntryRecord {
            id: image.acls.iter().next()?.0,
            ..Default::default()
        }),
        4 => Record::from(UserScramCredentialRecord {
            name: user,
            mechanism: 1,
            iterations: 4096,
            ..Default::default()
        }),
        _ => Record::from(DelegationTokenRecord {
            token_id: user,
            expiration_timestamp: 5,
            ..Default::default()
        }),
    })
}
