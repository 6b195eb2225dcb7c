//! A broker lives, wants to be fenced or to stop (63).

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use wire::Context;

use crate::decide::{self, BrokerState};
use crate::node::Node;

pub async fn handle(
    node: Arc<Node>,
    cx: Context,
    request: BrokerHeartbeatRequest,
) -> BrokerHeartbeatResponse {
    let refused = |code: ErrorCode| BrokerHeartbeatResponse { error_code: code.code(), ..Default::default() };
    if !node.active().here {
        return refused(ErrorCode::NotController);
    }
    let (id, epoch) = (request.broker_id, request.broker_epoch);
    let registered = node.publisher.committed().image.cluster.broker(id).is_some_and(|b| b.epoch == epoch);
    if registered {
        // Heard of before the writer comes to it: a long queue must not fence a broker that is alive.
        node.heard(id, epoch, request.current_metadata_offset, &cx);
    }
    let facts = node.liveness().facts(id);
    let beaten = node.writer.perform(move |context, _| decide::heartbeat(context, &request, facts)).await;
    match beaten {
        Ok(((answer, state), end_offset)) => {
            let (is_active, is_leaving) =
                (state == BrokerState::Active, state == BrokerState::ControlledShutdown);
            node.liveness().decided(id, is_active, is_leaving, end_offset);
            answer
        }
        Err(error) => refused(error.code()),
    }
}
