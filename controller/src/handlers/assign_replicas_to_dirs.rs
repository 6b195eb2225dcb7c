//! A broker tells in which log directories its replicas are (73).

use std::sync::Arc;

use protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use wire::Context;

use crate::decide;
use crate::node::Node;

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: AssignReplicasToDirsRequest,
) -> AssignReplicasToDirsResponse {
    match node.perform(move |context, _| decide::assign_replicas_to_dirs(context, &request)).await {
        Ok(answer) => answer,
        Err(error) => AssignReplicasToDirsResponse { error_code: error.code().code(), ..Default::default() },
    }
}
