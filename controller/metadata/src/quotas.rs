//! Client quotas, and which of them holds for a client (Kafka's `ClientQuotaManager`, KIP-546).

use std::collections::BTreeMap;

use protocol::Str;
use protocol::messages::ClientQuotaRecord;
use protocol::messages::client_quota_record::EntityData;

use crate::Record;

pub const USER: &str = "user";
pub const CLIENT_ID: &str = "client-id";
pub const IP: &str = "ip";

/// Who a quota is for: entity types with a name, or None for the default of the type. Sorted by type.
pub type Entity = BTreeMap<Str, Option<Str>>;

/// The quotas of one entity by key (`producer_byte_rate`, `consumer_byte_rate`, `request_percentage`, ...).
pub type Limits = BTreeMap<Str, f64>;

/// All client quotas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientQuotas {
    entities: BTreeMap<Entity, Limits>,
}

/// How specific a matching quota is about one entity type: named, by default, or not at all.
type Match<'a> = Option<Option<&'a str>>;

impl ClientQuotas {
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &Limits)> {
        self.entities.iter()
    }

    /// The limit `key` of a client. Kafka's order: a user's quotas come before client ids', a name before a default:
    /// (user, client), (user, any client), (user); (any user, client), (any user, any client), (any user); (client),
    /// (any client). None: no quota.
    pub fn limit(&self, user: &str, client_id: &str, key: &str) -> Option<f64> {
        if self.entities.is_empty() {
            return None;
        }
        let (user, client): (Match<'_>, Match<'_>) = (Some(Some(user)), Some(Some(client_id)));
        let any = Some(None);
        let order = [
            (user, client),
            (user, any),
            (user, None),
            (any, client),
            (any, any),
            (any, None),
            (None, client),
            (None, any),
        ];
        order.into_iter().find_map(|(user, client)| self.exact(&[(USER, user), (CLIENT_ID, client)], key))
    }

    /// The limit `key` (`connection_creation_rate`) of an address: its own, else that of all addresses.
    pub fn ip_limit(&self, ip: &str, key: &str) -> Option<f64> {
        self.exact(&[(IP, Some(Some(ip)))], key).or_else(|| self.exact(&[(IP, Some(None))], key))
    }

    fn exact(&self, parts: &[(&'static str, Match<'_>)], key: &str) -> Option<f64> {
        let entity: Entity = parts
            .iter()
            .filter_map(|(kind, name)| Some((Str::from_static(kind), (*name)?.map(Str::from))))
            .collect();
        self.entities.get(&entity)?.get(key).copied()
    }

    pub(crate) fn apply(&mut self, record: &ClientQuotaRecord) {
        let part = |e: &EntityData| (e.entity_type.detached(), e.entity_name.as_ref().map(Str::detached));
        let entity: Entity = record.entity.iter().map(part).collect();
        let limits = self.entities.entry(entity.clone()).or_default();
        if record.remove {
            limits.remove(record.key.as_str());
        } else {
            limits.insert(record.key.detached(), record.value);
        }
        if limits.is_empty() {
            self.entities.remove(&entity);
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.entities.iter().flat_map(|(entity, limits)| {
            limits.iter().map(move |(key, value)| {
                let part = |(kind, name): (&Str, &Option<Str>)| EntityData {
                    entity_type: kind.clone(),
                    entity_name: name.clone(),
                    ..EntityData::default()
                };
                Record::from(ClientQuotaRecord {
                    entity: entity.iter().map(part).collect(),
                    key: key.clone(),
                    value: *value,
                    remove: false,
                    ..ClientQuotaRecord::default()
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(user: Match<'_>, client: Match<'_>, value: f64) -> ClientQuotaRecord {
        let part = |(kind, name): (&'static str, Match<'_>)| {
            name.map(|name| EntityData {
                entity_type: Str::from_static(kind),
                entity_name: name.map(Str::from),
                ..EntityData::default()
            })
        };
        ClientQuotaRecord {
            entity: [(USER, user), (CLIENT_ID, client)].into_iter().filter_map(part).collect(),
            key: Str::from_static("producer_byte_rate"),
            value,
            ..ClientQuotaRecord::default()
        }
    }

    #[test]
    fn the_most_specific_quota_holds() {
        let (user, client, any): (Match<'_>, Match<'_>, Match<'_>) =
            (Some(Some("u")), Some(Some("c")), Some(None));
        // From the most specific to the least.
        let order = [
            (user, client),
            (user, any),
            (user, None),
            (any, client),
            (any, any),
            (any, None),
            (None, client),
            (None, any),
        ];
        let mut quotas = ClientQuotas::default();
        for (at, (user, client)) in order.iter().enumerate() {
            quotas.apply(&quota(*user, *client, at as f64));
        }
        for (at, (user, client)) in order.iter().enumerate() {
            assert_eq!(quotas.limit("u", "c", "producer_byte_rate"), Some(at as f64));
            assert_eq!(quotas.limit("u", "c", "consumer_byte_rate"), None);
            quotas.apply(&ClientQuotaRecord { remove: true, ..quota(*user, *client, 0.0) });
        }
        assert!(quotas.is_empty());
        assert_eq!(quotas.limit("u", "c", "producer_byte_rate"), None);
    }
}
