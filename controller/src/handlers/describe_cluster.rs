//! The controllers of the cluster (60). Brokers are described by brokers.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::{ErrorCode, Str};
use wire::Context;

use crate::node::Node;

/// `EndpointType.CONTROLLER`.
const CONTROLLERS: i8 = 2;

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != CONTROLLERS {
        let message = "The request was sent to an endpoint of the wrong type.";
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some(Str::from_static(message)),
            ..Default::default()
        };
    }
    let membership = node.raft.metrics().borrow_watched().membership_config.clone();
    let controllers = membership.nodes().filter_map(|(id, _)| {
        let (host, port) = node.address(id.node)?;
        Some(DescribeClusterBroker { broker_id: id.node, host, port: port.into(), ..Default::default() })
    });
    DescribeClusterResponse {
        endpoint_type: CONTROLLERS,
        cluster_id: Str::from(node.cluster_id.to_string()),
        controller_id: node.active().node_id.unwrap_or(-1),
        brokers: controllers.collect(),
        ..Default::default()
    }
}
