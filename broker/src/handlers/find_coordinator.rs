//! FindCoordinator (key 10): the broker that coordinates a group.
//!
//! The internal topic is created when somebody asks for the first time; who asks is told to come again.

use std::sync::Arc;

use coordinator::partition_of;
use metadata::Image;
use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::auto_creation;
use crate::broker::Broker;
use crate::group_coordinator::TOPIC;

/// Kafka's `CoordinatorType`: groups, transactions, share groups.
const COORDINATOR_TYPES: std::ops::RangeInclusive<i8> = 0..=2;
const GROUP: i8 = 0;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: FindCoordinatorRequest,
) -> Reply<FindCoordinatorResponse> {
    let image = broker.metadata.current();
    let find = |key: &Str| {
        let found = find(&broker, &cx, &image, request.key_type, key);
        let (error, (node_id, host, port)) = match found {
            Ok(node) => (ErrorCode::None, node),
            Err(error) => (error, (-1, Str::default(), -1)),
        };
        // Kafka has words where it does not know the type, and an empty text otherwise.
        let words =
            if COORDINATOR_TYPES.contains(&request.key_type) { "" } else { "unknown coordinator type" };
        let (key, error_code, error_message) = (key.clone(), error.code(), Some(Str::from_static(words)));
        Coordinator { key, node_id, host, port, error_code, error_message, ..Default::default() }
    };
    if cx.version >= 4 {
        let coordinators = request.coordinator_keys.iter().map(find).collect();
        return Reply::Now(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let found = find(&request.key);
    let is_found = found.error_code == ErrorCode::None.code();
    Reply::Now(FindCoordinatorResponse {
        error_code: found.error_code,
        // The word that Kafka has for success.
        error_message: if is_found { Some(Str::from_static("NONE")) } else { found.error_message },
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    })
}

fn find(
    broker: &Arc<Broker>,
    cx: &Context,
    image: &Image,
    kind: i8,
    key: &str,
) -> Result<(i32, Str, i32), ErrorCode> {
    // Coordinators of transactions and of share groups are not served yet.
    if kind != GROUP {
        return Err(ErrorCode::InvalidRequest);
    }
    if !cx.allowed(Operation::Describe, Resource::group(key)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let Some(topic) = image.topics.by_name(TOPIC) else {
        auto_creation::start_internal(broker, cx, TOPIC);
        return Err(ErrorCode::CoordinatorNotAvailable);
    };
    let partition = topic.partition(partition_of(key, topic.partition_count()));
    let leader = partition.map_or(metadata::NO_LEADER, |p| p.leader);
    let endpoint = broker.endpoint(image, leader, &cx.listener().name);
    let (endpoint, _) = endpoint.ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok((leader, endpoint.host, i32::from(endpoint.port)))
}
