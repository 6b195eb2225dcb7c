//! CreateAcls (key 30, KIP-140): there is no authorizer yet, and each ACL is refused as by a broker without one.

use std::sync::Arc;

use protocol::messages::create_acls_response::AclCreationResult;
use protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use wire::{Context, Operation, Reply};

use super::describe_acls;
use crate::broker::Broker;

pub async fn handle(
    _broker: Arc<Broker>,
    cx: Context,
    request: CreateAclsRequest,
) -> Reply<CreateAclsResponse> {
    let is_unknown = request.creations.iter().any(|acl| {
        [acl.resource_type, acl.resource_pattern_type, acl.operation, acl.permission_type].contains(&0)
    });
    if is_unknown {
        return Reply::Close("an ACL of unknown kind");
    }
    let (error_code, error_message) = describe_acls::refusal(&cx, Operation::Alter);
    let refused = AclCreationResult { error_code, error_message, ..Default::default() };
    let results = vec![refused; request.creations.len()];
    Reply::Now(CreateAclsResponse { results, ..Default::default() })
}
