//! What this incarnation of the broker tells when it joins.

use metadata::{Endpoint, features};
use protocol::messages::BrokerRegistrationRequest;
use protocol::messages::broker_registration_request::{Feature, Listener};
use protocol::{Str, Uuid};

/// Who this broker is, for the time of the process.
#[derive(Clone, Debug)]
pub struct Identity {
    pub node_id: i32,
    pub cluster_id: Str,
    /// Chosen anew at each start.
    pub incarnation_id: Uuid,
    /// As advertised, with real ports.
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<Str>,
    pub log_dirs: Vec<Uuid>,
    /// The epoch of the last life if it ended in order, or -1.
    pub previous_broker_epoch: i64,
}

impl Identity {
    pub(super) fn request(&self) -> BrokerRegistrationRequest {
        let listener = |endpoint: &Endpoint| Listener {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..Default::default()
        };
        let feature = |feature: features::Feature| Feature {
            name: Str::from_static(feature.name),
            min_supported_version: *feature.supported.start(),
            max_supported_version: *feature.supported.end(),
            ..Default::default()
        };
        BrokerRegistrationRequest {
            broker_id: self.node_id,
            cluster_id: self.cluster_id.clone(),
            incarnation_id: self.incarnation_id,
            listeners: self.endpoints.iter().map(listener).collect(),
            features: features::supported().into_iter().map(feature).collect(),
            rack: self.rack.clone(),
            is_migrating_zk_broker: false,
            log_dirs: self.log_dirs.clone(),
            previous_broker_epoch: self.previous_broker_epoch,
            ..Default::default()
        }
    }
}
