//! A broker is forgotten (64).

use std::sync::Arc;

use protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = request.broker_id;
    match node.perform(move |context, _| decide::unregister_broker(context, id)).await {
        Ok(answer) => {
            node.liveness().forget(id);
            answer
        }
        Err(error) => {
            let (error_code, error_message) = told(&error);
            UnregisterBrokerResponse { error_code, error_message, ..Default::default() }
        }
    }
}
