//! A broker joins (62).
//!
//! A new incarnation of a broker that is still heard of is refused, since it would be a mistake of configuration; once the
//! old connection is gone the new one is accepted at once.

use std::sync::Arc;

use protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use wire::Context;

use crate::decide;
use crate::node::Node;

pub async fn handle(
    node: Arc<Node>,
    cx: Context,
    request: BrokerRegistrationRequest,
) -> BrokerRegistrationResponse {
    let id = request.broker_id;
    let has_session = node.liveness().has_session(id, node.host.clock().now());
    match node.perform(move |context, _| decide::register_broker(context, &request, has_session)).await {
        Ok(answer) => {
            node.heard(id, answer.broker_epoch, -1, &cx);
            answer
        }
        Err(error) => BrokerRegistrationResponse { error_code: error.code().code(), ..Default::default() },
    }
}
