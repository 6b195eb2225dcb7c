//! DescribeCluster (key 60): the brokers of the cluster, as a client of this listener reaches them.

use std::sync::Arc;

use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource, ResourceType};

use crate::broker::Broker;

/// Endpoint types of a request.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: DescribeClusterRequest,
) -> Reply<DescribeClusterResponse> {
    let refused = |error: ErrorCode, message: String| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(Str::from(message)),
        ..Default::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return Reply::Now(refused(ErrorCode::MismatchedEndpointType, message.to_owned()));
        }
        other => {
            let message = format!("Unsupported endpoint type {other}");
            return Reply::Now(refused(ErrorCode::UnsupportedEndpointType, message));
        }
    }
    let image = broker.metadata.current();
    let listener = &cx.listener().name;
    let entries =
        image.cluster.brokers().filter(|b| !b.fenced || request.include_fenced_brokers).filter_map(|b| {
            let endpoint = b.listener(listener)?;
            Some(DescribeClusterBroker {
                broker_id: b.id,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: b.rack.clone(),
                is_fenced: b.fenced,
                ..Default::default()
            })
        });
    let mut response = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: broker.cluster_id.clone(),
        controller_id: broker.controller_for_clients(&image),
        brokers: entries.collect(),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        let allowed = cx.allowed(Operation::Describe, Resource::CLUSTER);
        response.cluster_authorized_operations = if allowed {
            broker.authorized_operations(&cx, ResourceType::Cluster, Resource::CLUSTER.name)
        } else {
            0
        };
    }
    Reply::Now(response)
}
