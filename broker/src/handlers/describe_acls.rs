//! DescribeAcls (key 29, KIP-140): there is no authorizer yet, and a broker without one says so.

use std::sync::Arc;

use protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    _broker: Arc<Broker>,
    cx: Context,
    request: DescribeAclsRequest,
) -> Reply<DescribeAclsResponse> {
    let kinds = [
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ];
    if kinds.contains(&0) {
        return Reply::Close("a filter of ACLs of unknown kind");
    }
    let refused = |error: ErrorCode, message: Option<Str>| {
        Reply::Now(DescribeAclsResponse {
            error_code: error.code(),
            error_message: message,
            ..Default::default()
        })
    };
    if !cx.allowed(Operation::Describe, Resource::CLUSTER) {
        return refused(ErrorCode::ClusterAuthorizationFailed, None);
    }
    refused(ErrorCode::SecurityDisabled, Some(Str::from_static("no authorizer is configured")))
}
