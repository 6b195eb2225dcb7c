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
    let (error_code, error_message) = refusal(&cx, Operation::Describe);
    Reply::Now(DescribeAclsResponse { error_code, error_message, ..Default::default() })
}

/// Code and message for everybody who asks about ACLs, or wants to change them.
pub(super) fn refusal(cx: &Context, operation: Operation) -> (i16, Option<Str>) {
    if cx.allowed(operation, Resource::CLUSTER) {
        (ErrorCode::SecurityDisabled.code(), Some(Str::from_static("no authorizer is configured")))
    } else {
        (ErrorCode::ClusterAuthorizationFailed.code(), None)
    }
}
