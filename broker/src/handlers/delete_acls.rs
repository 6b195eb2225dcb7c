//! DeleteAcls (key 31, KIP-140): there is no authorizer yet, and each filter is refused as by a broker without one.

use std::sync::Arc;

use protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
use wire::{Context, Operation, Reply};

use super::describe_acls;
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
    let (error_code, error_message) = describe_acls::refusal(&cx, Operation::Alter);
    let refused = DeleteAclsFilterResult { error_code, error_message, ..Default::default() };
    let filter_results = vec![refused; request.filters.len()];
    Reply::Now(DeleteAclsResponse { filter_results, ..Default::default() })
}
