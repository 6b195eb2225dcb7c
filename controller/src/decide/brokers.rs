//! Brokers come, live, leave and vanish: registration, heartbeats, fencing, controlled shutdown, removal.
//!
//! ```text
//!            register                caught up, wants no fence            wants shutdown, leads something
//!  (none) ────────────► fenced ────────────────────────────► active ─────────────────────► shutting down
//!                         ▲ ▲      silent, or wants a fence     │                                │
//!                         │ └───────────────────────────────────┘                                │
//!                         └──────────── leads nothing, and everybody active knows it ◄───────────┘
//! ```

use metadata::{Broker, Record};
use protocol::messages::broker_registration_request::Feature;
use protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationChangeRecord,
    BrokerRegistrationRequest, BrokerRegistrationResponse, RegisterBrokerRecord, UnregisterBrokerRecord,
    UnregisterBrokerResponse,
};
use protocol::{ErrorCode, Uuid};

use super::elections::{Turn, changes_by_turn};
use super::{Context, Decision, Refusal};

/// In a BrokerRegistrationChangeRecord.
const FENCE: i8 = 1;
const UNFENCE: i8 = -1;
const IN_CONTROLLED_SHUTDOWN: i8 = 1;

/// BrokerRegistration. `has_session`: the registered incarnation is still heard of, so another one must be a mistake of
/// configuration; a silent one is replaced.
pub fn register_broker(
    context: &Context<'_>,
    request: &BrokerRegistrationRequest,
    has_session: bool,
) -> Result<Decision<BrokerRegistrationResponse>, Refusal> {
    let existing = context.image.cluster.broker(request.broker_id);
    check_registration(context, request, existing.map(|b| &**b).filter(|_| has_session))?;
    let mut record = registration_record(context, request)?;
    let mut records = Vec::new();
    match existing {
        Some(same) if same.incarnation_id == request.incarnation_id => {
            record.fenced = same.fenced;
            record.in_controlled_shutdown = same.in_controlled_shutdown;
            record.broker_epoch = same.epoch;
        }
        _ => {
            if let Some(former) = existing {
                records = changes_by_turn(context, turn_of_former(context, former, request));
            }
            // The epoch is the offset of this very record.
            record.broker_epoch = context.image.end_offset + records.len() as i64;
        }
    }
    let answer = BrokerRegistrationResponse { broker_epoch: record.broker_epoch, ..Default::default() };
    records.push(Record::from(record));
    Ok(Decision { records, answer })
}

/// How the former incarnation left. One that closed its logs wrote its epoch down; any other may have lost records that
/// it acknowledged, and must not be believed to have them (KIP-966).
fn turn_of_former(context: &Context<'_>, former: &Broker, request: &BrokerRegistrationRequest) -> Turn {
    let told = former.epoch == request.previous_broker_epoch;
    let clean = told || context.settings.broken.trusts_unclean;
    if clean || !context.image.features.eligible_leader_replicas() {
        Turn::Leaves(request.broker_id)
    } else {
        Turn::Forgets(request.broker_id)
    }
}

fn check_registration(
    context: &Context<'_>,
    request: &BrokerRegistrationRequest,
    live: Option<&Broker>,
) -> Result<(), Refusal> {
    let expected = &context.settings.cluster_id;
    if *expected != request.cluster_id {
        let message = format!("Expected cluster ID {expected}, but got cluster ID {}", request.cluster_id);
        return Err(Refusal::new(ErrorCode::InconsistentClusterId, message));
    }
    if live.is_some_and(|broker| broker.incarnation_id != request.incarnation_id) {
        let message = "Another broker is registered with that broker id. If the broker was recently restarted this should \
                       self-resolve once the heartbeat manager expires the broker's session.";
        return Err(Refusal::new(ErrorCode::DuplicateBrokerRegistration, message));
    }
    if request.is_migrating_zk_broker {
        let message = "Controller does not support registering ZK brokers.";
        return Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
    }
    if context.level().has_directory_assignment() {
        check_directories(context, request)?;
    }
    Ok(())
}

fn check_directories(context: &Context<'_>, request: &BrokerRegistrationRequest) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidRegistration, message));
    if request.log_dirs.is_empty() {
        return invalid("No directories specified in request".into());
    }
    if request.log_dirs.iter().any(|dir| is_reserved(*dir)) {
        return invalid("Reserved directory ID in request".into());
    }
    for (at, dir) in request.log_dirs.iter().enumerate() {
        if request.log_dirs[..at].contains(dir) {
            return invalid("Duplicate directory ID in request".into());
        }
        let others = context.image.cluster.brokers().filter(|b| b.id != request.broker_id);
        if let Some(other) = others.into_iter().find(|b| b.log_dirs.contains(dir)) {
            return invalid(format!("Broker {} is already registered with directory {dir}", other.id));
        }
    }
    Ok(())
}

/// Kafka keeps the first hundred ids for itself (`DirectoryId.reserved`).
fn is_reserved(directory: Uuid) -> bool {
    directory.0 < 100
}

/// The record without what depends on the former registration.
fn registration_record(
    context: &Context<'_>,
    request: &BrokerRegistrationRequest,
) -> Result<RegisterBrokerRecord, Refusal> {
    let told = |name: &str| request.features.iter().any(|feature| feature.name == *name);
    if !told(metadata::features::METADATA_VERSION) {
        let message = "Request features do not contain 'metadata.version'";
        return Err(Refusal::new(ErrorCode::InvalidRegistration, message));
    }
    for feature in &request.features {
        check_feature(context, feature)?;
    }
    for (name, _) in context.image.features.iter().filter(|(name, level)| *level != 0 && !told(name)) {
        check_feature(context, &Feature { name: name.clone(), ..Default::default() })?;
    }
    let endpoint = |l: &protocol::messages::broker_registration_request::Listener| BrokerEndpoint {
        name: l.name.clone(),
        host: l.host.clone(),
        port: l.port,
        security_protocol: l.security_protocol,
        ..Default::default()
    };
    let feature = |f: &Feature| BrokerFeature {
        name: f.name.clone(),
        min_supported_version: f.min_supported_version,
        max_supported_version: f.max_supported_version,
        ..Default::default()
    };
    let has_directories = context.level().has_directory_assignment();
    Ok(RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        end_points: request.listeners.iter().map(endpoint).collect(),
        features: request.features.iter().map(feature).collect(),
        rack: request.rack.clone(),
        fenced: true,
        log_dirs: if has_directories { request.log_dirs.clone() } else { Vec::new() },
        ..Default::default()
    })
}

/// A broker must understand what the cluster has finalized.
fn check_feature(context: &Context<'_>, feature: &Feature) -> Result<(), Refusal> {
    let finalized = context.image.features.level(&feature.name);
    let (min, max) = (feature.min_supported_version, feature.max_supported_version);
    if (min..=max).contains(&finalized) {
        return Ok(());
    }
    let message = format!(
        "Unable to register because the broker does not support finalized version {finalized} of {}. The broker wants a \
         version between {min} and {max}, inclusive.",
        feature.name
    );
    Err(Refusal::new(ErrorCode::UnsupportedVersion, message))
}

/// Where a broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    Fenced,
    Active,
    ControlledShutdown,
    /// May end its process.
    ShutdownNow,
}

impl BrokerState {
    fn of(broker: &Broker) -> BrokerState {
        match broker {
            b if b.fenced => BrokerState::Fenced,
            b if b.in_controlled_shutdown => BrokerState::ControlledShutdown,
            _ => BrokerState::Active,
        }
    }
}

/// What only the active controller's memory knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatFacts {
    /// Offset of the last record of the broker's controlled shutdown; None if it has not begun.
    pub controlled_shutdown_offset: Option<i64>,
    /// The lowest metadata offset that active brokers have told; None if there is none.
    pub lowest_active_offset: Option<i64>,
}

/// BrokerHeartbeat. The answer comes with the state that the broker will be in.
pub fn heartbeat(
    context: &Context<'_>,
    request: &BrokerHeartbeatRequest,
    facts: HeartbeatFacts,
) -> Result<Decision<(BrokerHeartbeatResponse, BrokerState)>, Refusal> {
    let broker = context.check_broker_epoch(request.broker_id, request.broker_epoch)?;
    let (current, next) = (BrokerState::of(broker), next_state(context, broker, request, facts));
    let mut records = match next {
        same if same == current => Vec::new(),
        BrokerState::Fenced => fence_records(context, broker),
        BrokerState::ShutdownNow if current == BrokerState::Fenced => Vec::new(),
        BrokerState::ShutdownNow => fence_records(context, broker),
        BrokerState::Active => unfence_records(context, broker),
        BrokerState::ControlledShutdown => shutdown_records(context, broker),
    };
    // A broker that is on its way out may still lead what could not be moved when it asked.
    if next == BrokerState::ControlledShutdown && current == next {
        records.extend(changes_by_turn(context, Turn::Leaves(broker.id)));
    }
    records.extend(directory_records(context, broker, request, &records));
    let answer = BrokerHeartbeatResponse {
        is_caught_up: request.current_metadata_offset >= broker.epoch,
        is_fenced: matches!(next, BrokerState::Fenced | BrokerState::ShutdownNow),
        should_shut_down: next == BrokerState::ShutdownNow,
        ..Default::default()
    };
    Ok(Decision { records, answer: (answer, next) })
}

fn next_state(
    context: &Context<'_>,
    broker: &Broker,
    request: &BrokerHeartbeatRequest,
    facts: HeartbeatFacts,
) -> BrokerState {
    match BrokerState::of(broker) {
        BrokerState::Fenced if request.want_shut_down => BrokerState::ShutdownNow,
        // Who is leaving comes back as a new incarnation only.
        BrokerState::Fenced if request.want_fence || broker.in_controlled_shutdown => BrokerState::Fenced,
        // It has read its own registration, so it knows all that was decided about its former incarnation.
        BrokerState::Fenced if request.current_metadata_offset >= broker.epoch => BrokerState::Active,
        BrokerState::Fenced => BrokerState::Fenced,
        BrokerState::Active if request.want_fence && request.want_shut_down => BrokerState::ShutdownNow,
        BrokerState::Active if request.want_fence => BrokerState::Fenced,
        BrokerState::Active if !request.want_shut_down => BrokerState::Active,
        BrokerState::Active if leads_any(context, broker.id) => BrokerState::ControlledShutdown,
        BrokerState::Active => BrokerState::ShutdownNow,
        _ if controlled_shutdown_reached(context, broker.id, facts) => BrokerState::ShutdownNow,
        _ => BrokerState::ControlledShutdown,
    }
}

/// Whether a broker in controlled shutdown may go: it leads nothing, and every active broker has heard of that.
pub fn controlled_shutdown_reached(context: &Context<'_>, id: i32, facts: HeartbeatFacts) -> bool {
    // None: a new active controller does not know when the shutdown began; the broker asks again, and it starts anew.
    let begun = facts.controlled_shutdown_offset;
    let heard = |begun: i64| facts.lowest_active_offset.is_none_or(|lowest| lowest >= begun);
    begun.is_some_and(heard) && !leads_any(context, id)
}

fn leads_any(context: &Context<'_>, id: i32) -> bool {
    let mut partitions = context.image.topics.iter().flat_map(|topic| topic.partitions.values());
    partitions.any(|partition| partition.leader == id)
}

/// Fences a broker that is silent or gone: it leaves every ISR, and others lead.
pub fn fence_broker(context: &Context<'_>, id: i32) -> Decision<()> {
    let records = match context.image.cluster.broker(id) {
        Some(broker) if !broker.fenced => fence_records(context, broker),
        _ => Vec::new(),
    };
    Decision { records, answer: () }
}

fn fence_records(context: &Context<'_>, broker: &Broker) -> Vec<Record> {
    let mut records = changes_by_turn(context, Turn::Leaves(broker.id));
    records.push(Record::from(BrokerRegistrationChangeRecord { fenced: FENCE, ..change_of(broker) }));
    records
}

fn unfence_records(context: &Context<'_>, broker: &Broker) -> Vec<Record> {
    let mut records =
        vec![Record::from(BrokerRegistrationChangeRecord { fenced: UNFENCE, ..change_of(broker) })];
    records.extend(changes_by_turn(context, Turn::Joins(broker.id)));
    records
}

fn shutdown_records(context: &Context<'_>, broker: &Broker) -> Vec<Record> {
    let change = BrokerRegistrationChangeRecord {
        in_controlled_shutdown: IN_CONTROLLED_SHUTDOWN,
        ..change_of(broker)
    };
    let mut records = vec![Record::from(change)];
    records.extend(changes_by_turn(context, Turn::Leaves(broker.id)));
    records
}

fn change_of(broker: &Broker) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord { broker_id: broker.id, broker_epoch: broker.epoch, ..Default::default() }
}

/// What the heartbeat tells about log directories: failed ones (KIP-858) and cordoned ones (KIP-1066). `decided` are the
/// records of the same heartbeat, which the image does not have yet.
fn directory_records(
    context: &Context<'_>,
    broker: &Broker,
    request: &BrokerHeartbeatRequest,
    decided: &[Record],
) -> Vec<Record> {
    let image = context.image.with(decided);
    let context = &Context { image: &image, settings: context.settings };
    let mut records = Vec::new();
    let failed = |dir: &Uuid| request.offline_log_dirs.contains(dir);
    if context.level().has_directory_assignment() && broker.log_dirs.iter().any(failed) {
        records.extend(super::directories::offline_records(context, broker.id, &request.offline_log_dirs));
        let log_dirs = broker.log_dirs.iter().copied().filter(|dir| !failed(dir)).collect();
        records.push(Record::from(BrokerRegistrationChangeRecord { log_dirs, ..change_of(broker) }));
    }
    let cordoned = request.cordoned_log_dirs.as_ref().filter(|_| context.level().has_cordoned_log_dirs());
    if cordoned.is_some() && cordoned != broker.cordoned_log_dirs.as_ref() {
        let change =
            BrokerRegistrationChangeRecord { cordoned_log_dirs: cordoned.cloned(), ..change_of(broker) };
        records.push(Record::from(change));
    }
    records
}

/// UnregisterBroker: forgets a broker. Its replicas stay assigned until they are reassigned, but are in no ISR or ELR.
pub fn unregister_broker(
    context: &Context<'_>,
    id: i32,
) -> Result<Decision<UnregisterBrokerResponse>, Refusal> {
    let broker = context.image.cluster.broker(id).ok_or_else(|| {
        Refusal::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not currently registered"))
    })?;
    let mut records = changes_by_turn(context, Turn::Forgets(id));
    let record = UnregisterBrokerRecord { broker_id: id, broker_epoch: broker.epoch, ..Default::default() };
    records.push(Record::from(record));
    Ok(Decision { records, answer: UnregisterBrokerResponse::default() })
}
