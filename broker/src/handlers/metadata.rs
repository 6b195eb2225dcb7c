//! Metadata (key 3): brokers, topics, leaders, as a client of this listener reaches them.

use std::collections::BTreeSet;
use std::sync::Arc;

use metadata::{Image, Partition, Topic, topic_name};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, Str, Uuid};
use wire::{Context, Operation, Reply, Resource, ResourceType};

use crate::auto_creation;
use crate::broker::Broker;
use crate::topic_view::{self, PartitionView};

/// The first version with an error for the whole answer.
const ERROR_OF_ALL_FROM: i16 = 13;

pub async fn handle(broker: Arc<Broker>, cx: Context, request: MetadataRequest) -> Reply<MetadataResponse> {
    if let Some(refused) = refuse(&cx, &request) {
        return Reply::Now(refused);
    }
    let image = broker.metadata.current();
    let answer = Answer { broker: &broker, cx: &cx, image: &image, request: &request };
    let topics = answer.topics();
    let listener = &cx.listener().name;
    let brokers = image.cluster.brokers().filter(|b| !b.fenced).filter_map(|b| {
        let endpoint = b.listener(listener)?;
        Some(MetadataResponseBroker {
            node_id: b.id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: b.rack.clone(),
            ..Default::default()
        })
    });
    let mut response = MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(broker.cluster_id.clone()),
        controller_id: broker.controller_for_clients(&image),
        topics,
        ..Default::default()
    };
    if (8..=10).contains(&cx.version) && request.include_cluster_authorized_operations {
        let allowed = cx.allowed(Operation::Describe, Resource::CLUSTER);
        response.cluster_authorized_operations = if allowed {
            broker.authorized_operations(&cx, ResourceType::Cluster, Resource::CLUSTER.name)
        } else {
            0
        };
    }
    Reply::Now(response)
}

/// Requests that name topics in a way that their version does not have: ids below 12, a null name without an id. Beside an
/// id a topic without one is left out, whatever its name.
fn refuse(cx: &Context, request: &MetadataRequest) -> Option<MetadataResponse> {
    let topics = request.topics.as_deref().unwrap_or_default();
    let by_id = topics.iter().any(|t| !t.topic_id.is_zero());
    let is_nameless = topics.iter().any(|t| t.name.is_none());
    let error = if cx.version < 12 && (by_id || is_nameless) {
        ErrorCode::InvalidRequest
    } else if is_nameless && !by_id {
        ErrorCode::UnknownServerError
    } else {
        return None;
    };
    let topic = |t: &protocol::messages::metadata_request::MetadataRequestTopic| MetadataResponseTopic {
        error_code: error.code(),
        name: Some(t.name.clone().unwrap_or_default()),
        topic_id: t.topic_id,
        ..Default::default()
    };
    let error_code = if cx.version >= ERROR_OF_ALL_FROM { error.code() } else { 0 };
    Some(MetadataResponse { error_code, topics: topics.iter().map(topic).collect(), ..Default::default() })
}

struct Answer<'a> {
    broker: &'a Arc<Broker>,
    cx: &'a Context,
    image: &'a Image,
    request: &'a MetadataRequest,
}

impl Answer<'_> {
    fn topics(&self) -> Vec<MetadataResponseTopic> {
        let asked = match &self.request.topics {
            None => return self.all(),
            // Version 0 knows no null: an empty list asks for all.
            Some(topics) if topics.is_empty() && self.cx.version == 0 => return self.all(),
            Some(topics) => topics,
        };
        let ids: BTreeSet<Uuid> = asked.iter().map(|t| t.topic_id).filter(|id| !id.is_zero()).collect();
        if !ids.is_empty() {
            return ids.into_iter().map(|id| self.by_id(id)).collect();
        }
        let names: BTreeSet<&Str> = asked.iter().filter_map(|t| t.name.as_ref()).collect();
        let mut missing = Vec::new();
        let topics = names.into_iter().map(|name| self.by_name(name, &mut missing)).collect();
        auto_creation::start(self.broker, self.cx, missing);
        topics
    }

    fn may_describe(&self, name: &str) -> bool {
        self.cx.allowed(Operation::Describe, Resource::topic(name))
    }

    fn all(&self) -> Vec<MetadataResponseTopic> {
        self.image
            .topics
            .iter()
            .filter(|topic| self.may_describe(&topic.name))
            .map(|t| self.topic(t))
            .collect()
    }

    fn by_id(&self, id: Uuid) -> MetadataResponseTopic {
        let unknown = |error: ErrorCode| MetadataResponseTopic {
            error_code: error.code(),
            name: None,
            topic_id: id,
            ..Default::default()
        };
        match self.image.topics.by_id(id) {
            // Who may not see a topic does not learn that its id exists.
            Some(topic) if self.may_describe(&topic.name) => self.topic(topic),
            Some(_) => unknown(ErrorCode::UnknownTopicId),
            None => unknown(ErrorCode::UnknownTopicId),
        }
    }

    fn by_name(&self, name: &Str, missing: &mut Vec<Str>) -> MetadataResponseTopic {
        let refused = |error: ErrorCode| {
            let mut answer = MetadataResponseTopic {
                error_code: error.code(),
                name: Some(name.clone()),
                is_internal: topic_view::is_internal(name),
                ..Default::default()
            };
            if error != ErrorCode::TopicAuthorizationFailed {
                self.tell_operations(&mut answer, name);
            }
            answer
        };
        if !self.may_describe(name) {
            return refused(ErrorCode::TopicAuthorizationFailed);
        }
        if let Some(topic) = self.image.topics.by_name(name) {
            return self.topic(topic);
        }
        // Versions below 4 cannot forbid it.
        let wants_creation = self.cx.version < 4 || self.request.allow_auto_topic_creation;
        if topic_name::check(name).is_err() {
            return refused(ErrorCode::InvalidTopicException);
        }
        if wants_creation && self.broker.config.server.bool("auto.create.topics.enable") {
            let may_create = self.cx.allowed(Operation::Create, Resource::CLUSTER)
                || self.cx.allowed(Operation::Create, Resource::topic(name));
            if !may_create {
                return refused(ErrorCode::TopicAuthorizationFailed);
            }
            missing.push(name.clone());
        }
        refused(ErrorCode::UnknownTopicOrPartition)
    }

    fn topic(&self, topic: &Arc<Topic>) -> MetadataResponseTopic {
        let mut answer = MetadataResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: topic_view::is_internal(&topic.name),
            partitions: topic.partitions.iter().map(|(index, p)| self.partition(*index, p)).collect(),
            ..Default::default()
        };
        self.tell_operations(&mut answer, &topic.name);
        answer
    }

    /// What may be done, whether the topic is there or not.
    fn tell_operations(&self, answer: &mut MetadataResponseTopic, name: &Str) {
        if self.cx.version >= 8 && self.request.include_topic_authorized_operations {
            answer.topic_authorized_operations =
                self.broker.authorized_operations(self.cx, ResourceType::Topic, name);
        }
    }

    fn partition(&self, index: i32, partition: &Partition) -> MetadataResponsePartition {
        let view = PartitionView::new(self.image, &self.cx.listener().name, partition);
        let mut answer = MetadataResponsePartition {
            partition_index: index,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            offline_replicas: view.offline_replicas(),
            ..Default::default()
        };
        if !view.has_reachable_leader() {
            let is_known = self.image.cluster.broker(partition.leader).is_some();
            let lacks_listener = is_known && self.cx.version >= 6;
            let error =
                if lacks_listener { ErrorCode::ListenerNotFound } else { ErrorCode::LeaderNotAvailable };
            answer.error_code = error.code();
            answer.leader_id = metadata::NO_LEADER;
        }
        if self.cx.version == 0 {
            // Version 0 has no list of offline replicas: they are left out, and the partition is marked.
            answer.replica_nodes.retain(|id| view.is_alive(*id));
            answer.isr_nodes.retain(|id| view.is_alive(*id));
            let is_short = answer.replica_nodes.len() < partition.replicas.len()
                || answer.isr_nodes.len() < partition.isr.len();
            if is_short && answer.error_code == ErrorCode::None.code() {
                answer.error_code = ErrorCode::ReplicaNotAvailable.code();
            }
        }
        answer
    }
}
