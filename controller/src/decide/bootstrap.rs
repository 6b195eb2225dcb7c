//! The first records of a new cluster, and the registration of controllers.

use metadata::features::{ELIGIBLE_LEADER_REPLICAS_VERSION, KRAFT_VERSION, METADATA_VERSION, supported};
use metadata::{ConfigResource, Record};
use protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use protocol::messages::{
    ConfigRecord, ControllerRegistrationRequest, ControllerRegistrationResponse, FeatureLevelRecord,
    RegisterControllerRecord,
};
use protocol::{ErrorCode, Str};

use super::{Context, Decision, Refusal, configs};

/// What an empty log begins with: the levels of this release, `metadata.version` first, and with ELR the cluster-wide
/// `min.insync.replicas` that it then depends on. Kafka wraps them in a metadata transaction; here they are one entry.
pub fn bootstrap_records(context: &Context<'_>) -> Vec<Record> {
    let mut features: Vec<_> =
        supported().into_iter().filter(|f| f.name != KRAFT_VERSION && f.default_level > 0).collect();
    features.sort_by_key(|f| f.name != METADATA_VERSION);
    let level = |f: metadata::features::Feature| FeatureLevelRecord {
        name: Str::from_static(f.name),
        feature_level: f.default_level,
        ..Default::default()
    };
    let has_elr = features.iter().any(|f| f.name == ELIGIBLE_LEADER_REPLICAS_VERSION);
    let mut records: Vec<Record> = features.into_iter().map(level).map(Record::from).collect();
    if has_elr {
        records.push(cluster_min_isr(context));
    }
    records
}

/// `min.insync.replicas` of the cluster, as the static configs have it: while ELR is on, all must agree on one value.
pub(super) fn cluster_min_isr(context: &Context<'_>) -> Record {
    let resource = ConfigResource::cluster_default();
    Record::from(ConfigRecord {
        resource_type: resource.kind.0,
        resource_name: resource.name,
        name: Str::from_static(configs::MIN_INSYNC_REPLICAS),
        value: Some(configs::static_value(context, configs::MIN_INSYNC_REPLICAS)),
        ..Default::default()
    })
}

/// ControllerRegistration (KIP-919): what a controller listens on and supports.
pub fn register_controller(
    context: &Context<'_>,
    request: &ControllerRegistrationRequest,
) -> Result<Decision<ControllerRegistrationResponse>, Refusal> {
    if !context.level().has_controller_registration() {
        let message = "The current MetadataVersion is too old to support controller registrations.";
        return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
    }
    let endpoint = |l: &protocol::messages::controller_registration_request::Listener| ControllerEndpoint {
        name: l.name.clone(),
        host: l.host.clone(),
        port: l.port,
        security_protocol: l.security_protocol,
        ..Default::default()
    };
    let feature = |f: &protocol::messages::controller_registration_request::Feature| ControllerFeature {
        name: f.name.clone(),
        min_supported_version: f.min_supported_version,
        max_supported_version: f.max_supported_version,
        ..Default::default()
    };
    let record = RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        zk_migration_ready: false,
        end_points: request.listeners.iter().map(endpoint).collect(),
        features: request.features.iter().map(feature).collect(),
        ..Default::default()
    };
    let answer = ControllerRegistrationResponse { error_message: None, ..Default::default() };
    let known = context.image.cluster.controller(request.controller_id);
    // Asked again by one that has not read yet that it is known.
    let is_known = known.is_some_and(|known| known.incarnation_id == request.incarnation_id);
    let records = if is_known { Vec::new() } else { vec![Record::from(record)] };
    Ok(Decision { records, answer })
}
