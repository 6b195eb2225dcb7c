//! Registered brokers and controllers.
//!
//! A registration's epoch is the metadata offset of its RegisterBrokerRecord: it grows with every incarnation, and whoever
//! tells an older one is a ghost.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use protocol::messages::{BrokerRegistrationChangeRecord, RegisterBrokerRecord, RegisterControllerRecord};
use protocol::{Str, Uuid};

use crate::{MetadataVersion, Record};

/// Where a node listens, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, e.g. `PLAINTEXT`.
    pub name: Str,
    pub host: Str,
    pub port: u16,
    /// Kafka's `SecurityProtocol` id: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// A range of levels that a node supports of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    pub min: i16,
    pub max: i16,
}

impl FeatureRange {
    pub fn contains(self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    /// Offset of the record that registered this incarnation.
    pub epoch: i64,
    /// Chosen anew at each start of the process.
    pub incarnation_id: Uuid,
    /// In the order that the broker told them.
    pub listeners: Vec<Endpoint>,
    pub features: BTreeMap<Str, FeatureRange>,
    pub rack: Option<Str>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// Ids of the log directories that work.
    pub log_dirs: Vec<Uuid>,
    /// KIP-1066: directories that take no new replicas; None if the broker does not know of it.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

impl Broker {
    /// Neither fenced nor leaving: may join an ISR and lead.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|endpoint| endpoint.name == *name)
    }

    /// Whether `directory` is on a disk that works. Directories nobody can name yet (reserved ids) are taken to be.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        match directory {
            Uuid::DIRECTORY_LOST => false,
            Uuid::DIRECTORY_UNASSIGNED | Uuid::DIRECTORY_MIGRATING => true,
            // A registration from before directories were told (metadata.version < 3.7-IV2) names none.
            named => self.log_dirs.is_empty() || self.log_dirs.contains(&named),
        }
    }

    /// Has a log directory that takes new replicas (KIP-1066).
    pub fn takes_replicas(&self) -> bool {
        let cordoned = self.cordoned_log_dirs.as_deref().unwrap_or_default();
        self.log_dirs.is_empty() || self.log_dirs.iter().any(|dir| !cordoned.contains(dir))
    }

    /// The directory of a new replica (Kafka's `ClusterControlManager.defaultDir`): the only one, else the broker's choice.
    pub fn default_directory(&self, level: MetadataVersion) -> Uuid {
        match self.log_dirs.as_slice() {
            _ if !level.has_directory_assignment() => Uuid::DIRECTORY_MIGRATING,
            [] => Uuid::DIRECTORY_MIGRATING,
            [only] => *only,
            _ => Uuid::DIRECTORY_UNASSIGNED,
        }
    }

    fn from_record(record: &RegisterBrokerRecord) -> Broker {
        Broker {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            listeners: record
                .end_points
                .iter()
                .map(|e| Endpoint {
                    name: e.name.detached(),
                    host: e.host.detached(),
                    port: e.port,
                    security_protocol: e.security_protocol,
                })
                .collect(),
            features: record
                .features
                .iter()
                .map(|f| {
                    (
                        f.name.detached(),
                        FeatureRange { min: f.min_supported_version, max: f.max_supported_version },
                    )
                })
                .collect(),
            rack: record.rack.as_ref().map(Str::detached),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
            cordoned_log_dirs: record.cordoned_log_dirs.clone(),
        }
    }

    /// The record that registers this broker as it is. What the level does not know is left out, as Kafka does.
    pub fn to_record(&self, level: MetadataVersion) -> RegisterBrokerRecord {
        let endpoint = |e: &Endpoint| BrokerEndpoint {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
            ..Default::default()
        };
        let feature = |(name, range): (&Str, &FeatureRange)| BrokerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        };
        RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: false,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self.listeners.iter().map(endpoint).collect(),
            features: self.features.iter().map(feature).collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: if level.has_directory_assignment() { self.log_dirs.clone() } else { Vec::new() },
            cordoned_log_dirs: self.cordoned_log_dirs.clone().filter(|_| level.has_cordoned_log_dirs()),
            ..RegisterBrokerRecord::default()
        }
    }
}

/// A registered controller (KIP-919).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub id: i32,
    pub incarnation_id: Uuid,
    pub listeners: Vec<Endpoint>,
    pub features: BTreeMap<Str, FeatureRange>,
}

impl Controller {
    fn from_record(record: &RegisterControllerRecord) -> Controller {
        Controller {
            id: record.controller_id,
            incarnation_id: record.incarnation_id,
            listeners: record
                .end_points
                .iter()
                .map(|e| Endpoint {
                    name: e.name.detached(),
                    host: e.host.detached(),
                    port: e.port,
                    security_protocol: e.security_protocol,
                })
                .collect(),
            features: record
                .features
                .iter()
                .map(|f| {
                    (
                        f.name.detached(),
                        FeatureRange { min: f.min_supported_version, max: f.max_supported_version },
                    )
                })
                .collect(),
        }
    }

    fn to_record(&self) -> RegisterControllerRecord {
        let endpoint = |e: &Endpoint| ControllerEndpoint {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
            ..Default::default()
        };
        let feature = |(name, range): (&Str, &FeatureRange)| ControllerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        };
        RegisterControllerRecord {
            controller_id: self.id,
            incarnation_id: self.incarnation_id,
            zk_migration_ready: false,
            end_points: self.listeners.iter().map(endpoint).collect(),
            features: self.features.iter().map(feature).collect(),
            ..RegisterControllerRecord::default()
        }
    }
}

/// All registered nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    brokers: BTreeMap<i32, Arc<Broker>>,
    controllers: BTreeMap<i32, Arc<Controller>>,
}

impl Cluster {
    pub fn broker(&self, id: i32) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// All brokers, fenced ones too, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    pub fn controller(&self, id: i32) -> Option<&Arc<Controller>> {
        self.controllers.get(&id)
    }

    pub fn controllers(&self) -> impl Iterator<Item = &Arc<Controller>> {
        self.controllers.values()
    }

    /// The broker is registered, not fenced, and not leaving.
    pub fn is_active(&self, broker: i32) -> bool {
        self.broker(broker).is_some_and(|b| b.is_active())
    }

    pub(crate) fn register(&mut self, record: &RegisterBrokerRecord) {
        self.brokers.insert(record.broker_id, Arc::new(Broker::from_record(record)));
    }

    pub(crate) fn unregister(&mut self, id: i32, epoch: i64) {
        let broker = self
            .brokers
            .remove(&id)
            .unwrap_or_else(|| panic!("broker {id} is unregistered, but does not exist"));
        assert_eq!(broker.epoch, epoch, "broker {id} is unregistered with another epoch");
    }

    pub(crate) fn register_controller(&mut self, record: &RegisterControllerRecord) {
        self.controllers.insert(record.controller_id, Arc::new(Controller::from_record(record)));
    }

    /// The registration to change.
    fn change(&mut self, id: i32, epoch: i64) -> &mut Broker {
        let broker =
            self.brokers.get_mut(&id).unwrap_or_else(|| panic!("broker {id} changes, but does not exist"));
        assert_eq!(broker.epoch, epoch, "the registration of broker {id} changes under another epoch");
        Arc::make_mut(broker)
    }

    pub(crate) fn set_fenced(&mut self, id: i32, epoch: i64, fenced: bool) {
        self.change(id, epoch).fenced = fenced;
    }

    /// Applies what the record names: fenced 1 fence, -1 unfence, 0 stay; controlled shutdown can only begin.
    pub(crate) fn change_registration(&mut self, record: &BrokerRegistrationChangeRecord) {
        let broker = self.change(record.broker_id, record.broker_epoch);
        match record.fenced {
            0 => {}
            1 => broker.fenced = true,
            -1 => broker.fenced = false,
            other => panic!("fencing change {other} is not known"),
        }
        match record.in_controlled_shutdown {
            0 => {}
            1 => broker.in_controlled_shutdown = true,
            other => panic!("controlled shutdown change {other} is not known"),
        }
        if !record.log_dirs.is_empty() {
            broker.log_dirs.clone_from(&record.log_dirs);
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_log_dirs = Some(cordoned.clone());
        }
    }

    pub(crate) fn records(&self, level: MetadataVersion) -> impl Iterator<Item = Record> + '_ {
        let brokers = self.brokers().map(move |b| Record::from(b.to_record(level)));
        let controllers = self.controllers().filter(move |_| level.has_controller_registration());
        brokers.chain(controllers.map(|c| Record::from(c.to_record())))
    }
}
