//! A controller tells what it listens on and supports (70).

use std::sync::Arc;

use protocol::messages::{ControllerRegistrationRequest, ControllerRegistrationResponse};
use wire::Context;

use crate::decide;
use crate::node::{Node, told};

pub async fn handle(
    node: Arc<Node>,
    _cx: Context,
    request: ControllerRegistrationRequest,
) -> ControllerRegistrationResponse {
    match node.perform(move |context, _| decide::register_controller(context, &request)).await {
        Ok(answer) => answer,
        Err(error) => {
            let (error_code, error_message) = told(&error);
            ControllerRegistrationResponse { error_code, error_message, ..Default::default() }
        }
    }
}
