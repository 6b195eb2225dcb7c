//! DeleteAcls (key 31, KIP-140): there is no authorizer yet, and each filter is refused as by a broker without one.

use std::sync::Arc;

use protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
use protocol::{ErrorCode, Str};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;

pub async fn handle(
    _broker: Arc<Broker>,
    cx: Context,
    request: DeleteAclsRequest,
) -> Reply<DeleteAclsResponse> {
    let is_unknown = request.filters.iter().any(|acl| {
        [acl.resource_type_filter, acl.pattern_type_filter, acl.operation, acl.permission_type].contains(&0)
    });
    if is_unknown {
        return Reply::Close("a filter of ACLs of unknown kind");
    }
    let (error, message) = if cx.allowed(Operation::Alter, Resource::CLUSTER) {
        (ErrorCode::SecurityDisabled, Some(Str::from_static("no authorizer is configured")))
    } else {
        (ErrorCode::ClusterAuthorizationFailed, None)
    };
    let refused =
        DeleteAclsFilterResult { error_code: error.code(), error_message: message, ..Default::default() };
    let filter_results = vec![refused; request.filters.len()];
    Reply::Now(DeleteAclsResponse { filter_results, ..Default::default() })
}
