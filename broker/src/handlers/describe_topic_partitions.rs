//! DescribeTopicPartitions (key 75, KIP-966): topics with their eligible leaders, a page at a time.
//!
//! ```text
//!  names in order ─► from the cursor on ─► at most `limit` partitions ─► next cursor, if some are left
//! ```
//! Unlike Metadata it creates nothing, and it tells of all replicas, whatever the listener.

use std::collections::BTreeSet;
use std::sync::Arc;

use metadata::{Image, NO_LEADER, Topic, topic_name};
use protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource, ResourceType};

use crate::broker::Broker;
use crate::topic_view;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DescribeTopicPartitionsRequest,
) -> Reply<DescribeTopicPartitionsResponse> {
    let image = broker.metadata.current();
    let from = request.cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str());
    let wants_all = request.topics.is_empty();
    let names: BTreeSet<Str> = match wants_all {
        true => image.topics.iter().map(|topic| topic.name.clone()).collect(),
        false => request.topics.iter().map(|topic| topic.name.clone()).collect(),
    };
    if let Some(cursor) = &request.cursor
        && (cursor.partition_index < 0 || (!wants_all && !names.contains(&cursor.topic_name)))
    {
        return Reply::Now(refused(&request, ErrorCode::InvalidRequest));
    }
    if !wants_all && names.contains("") && request.cursor.is_none() {
        // Kafka takes a topic without a name for the one of the cursor, where there is none, and fails.
        return Reply::Now(refused(&request, ErrorCode::UnknownServerError));
    }
    let bound = broker.config.server.int("max.request.partition.size.limit");
    let limit = request.response_partition_limit.min(bound).max(1) as usize;
    let mut page =
        Page { broker: &broker, cx: &cx, image: &image, left: limit, response: Default::default() };
    let mut denied = Vec::new();
    for name in names.iter().filter(|name| name.as_str() >= from) {
        if !cx.allowed(Operation::Describe, Resource::topic(name)) {
            // Who asked for all learns nothing of what is not theirs.
            denied.extend((!wants_all).then(|| failed(name, ErrorCode::TopicAuthorizationFailed)));
            continue;
        }
        let first = match &request.cursor {
            Some(cursor) if cursor.topic_name == *name => cursor.partition_index,
            _ => 0,
        };
        if !page.add(name, first) {
            break;
        }
    }
    page.response.topics.extend(denied);
    Reply::Now(page.response)
}

fn refused(request: &DescribeTopicPartitionsRequest, error: ErrorCode) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| failed(&topic.name, error));
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

fn failed(name: &Str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.clone()),
        is_internal: topic_view::is_internal(name) && error != ErrorCode::TopicAuthorizationFailed,
        ..Default::default()
    }
}

struct Page<'a> {
    broker: &'a Broker,
    cx: &'a Context,
    image: &'a Image,
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page<'_> {
    /// Adds a topic from its partition `first` on; false when the page is full.
    fn add(&mut self, name: &Str, first: i32) -> bool {
        if self.left == 0 {
            self.end_at(name, 0);
            return false;
        }
        let Some(topic) = self.image.topics.by_name(name).cloned() else {
            let is_valid = topic_name::check(name).is_ok();
            let error =
                if is_valid { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            let operations = self.broker.authorized_operations(self.cx, ResourceType::Topic, name);
            self.response.topics.push(DescribeTopicPartitionsResponseTopic {
                topic_authorized_operations: operations,
                ..failed(name, error)
            });
            return true;
        };
        let asked = topic.partitions.iter().filter(|(index, _)| **index >= first);
        let partitions: Vec<_> =
            asked.take(self.left).map(|(index, _)| self.partition(&topic, *index)).collect();
        let next = partitions.last().map_or(first, |partition| partition.partition_index + 1);
        self.left -= partitions.len();
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            topic_id: topic.id,
            is_internal: topic_view::is_internal(name),
            partitions,
            topic_authorized_operations: self.broker.authorized_operations(
                self.cx,
                ResourceType::Topic,
                name,
            ),
            ..Default::default()
        });
        let is_whole = next >= topic.partition_count();
        if !is_whole {
            self.end_at(name, next);
        }
        is_whole
    }

    fn end_at(&mut self, name: &Str, partition_index: i32) {
        let cursor = Cursor { topic_name: name.clone(), partition_index, ..Default::default() };
        self.response.next_cursor = Some(cursor);
    }

    fn partition(&self, topic: &Topic, index: i32) -> DescribeTopicPartitionsResponsePartition {
        let partition = topic.partition(index).expect("the index is the topic's");
        let view = topic_view::PartitionView::new(self.image, &self.cx.listener().name, partition);
        DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: if view.has_reachable_leader() { partition.leader } else { NO_LEADER },
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.elr.clone()),
            last_known_elr: Some(partition.last_known_elr.clone()),
            offline_replicas: view.offline_replicas(),
            ..Default::default()
        }
    }
}
