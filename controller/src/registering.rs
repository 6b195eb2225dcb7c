//! A controller tells the active one what it listens on and what it supports, once in its life (KIP-919): whoever is active
//! finalizes a feature only if all others support it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use host::Host;
use metadata::Image;
use metadata::features::{Feature as Supported, supported};
use protocol::messages::ControllerRegistrationRequest;
use protocol::messages::controller_registration_request::{Feature, Listener};
use protocol::{ErrorCode, Str, Uuid};

use crate::controller::Listen;
use crate::decide;
use crate::node::{Node, host_and_port};
use crate::peer::Peer;

const LIMIT: Duration = Duration::from_secs(2);
/// Between two attempts: nobody is active, or does not answer.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// What a life of a controller tells. Of its listeners the first is known by the address at which others reach it.
pub(crate) fn request(
    host: &Host,
    node_id: i32,
    listeners: &[Listen],
    advertised_address: &str,
) -> ControllerRegistrationRequest {
    let listener = |(at, listen): (usize, &Listen)| {
        let address = if at == 0 { advertised_address } else { listen.address.as_str() };
        let (host, port) = host_and_port(address)?;
        let (name, security_protocol) = (listen.name.clone(), listen.protocol.id());
        Some(Listener { name, host, port, security_protocol, ..Default::default() })
    };
    let feature = |feature: Supported| Feature {
        name: Str::from_static(feature.name),
        min_supported_version: *feature.supported.start(),
        max_supported_version: *feature.supported.end(),
        ..Default::default()
    };
    ControllerRegistrationRequest {
        controller_id: node_id,
        incarnation_id: Uuid::from_random(|| host.entropy().u128()),
        listeners: listeners.iter().enumerate().filter_map(listener).collect(),
        features: supported().into_iter().map(feature).collect(),
        ..Default::default()
    }
}

/// Registers whenever the metadata do not know this life. Cancellation is safe: a registration more is no harm.
pub(crate) async fn run(node: Arc<Node>, request: ControllerRegistrationRequest) {
    let mut committed = node.publisher.watch();
    loop {
        if !is_unknown(&committed.borrow_and_update().image, &request) {
            if committed.changed().await.is_err() {
                return;
            }
            continue;
        }
        if let Err(error) = register(&node, &request).await {
            tracing::debug!(%error, "this controller is not registered yet");
        }
        // What was registered must be read before it is known.
        node.host.clock().sleep(RETRY_WAIT).await;
    }
}

fn is_unknown(image: &Image, request: &ControllerRegistrationRequest) -> bool {
    let known = image.cluster.controller(request.controller_id);
    image.features.metadata_version().has_controller_registration()
        && known.is_none_or(|known| known.incarnation_id != request.incarnation_id)
}

async fn register(node: &Node, request: &ControllerRegistrationRequest) -> io::Result<()> {
    let active = node.active();
    if active.here {
        let request = request.clone();
        let registered = node.perform(move |context, _| decide::register_controller(context, &request)).await;
        return registered.map(drop).map_err(io::Error::other);
    }
    let address = active.node_id.and_then(|id| node.address(id));
    let (host, port) = address.ok_or_else(|| io::Error::other("nobody is active"))?;
    let answer = Peer::new(&node.host, format!("{host}:{port}")).request(request, LIMIT).await?;
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(()),
        error => Err(io::Error::other(error.to_string())),
    }
}
