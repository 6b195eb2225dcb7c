//! UpdateFeatures: finalizes levels (KIP-584, KIP-778, KIP-1022).

use std::collections::BTreeMap;

use metadata::features::{ELIGIBLE_LEADER_REPLICAS_VERSION, KRAFT_VERSION, METADATA_VERSION, find};
use metadata::{FeatureRange, MetadataVersion, Record};
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{ClearElrRecord, FeatureLevelRecord, UpdateFeaturesRequest, UpdateFeaturesResponse};
use protocol::{ErrorCode, Message, Str};

use super::{Context, Decision, Refusal, bootstrap, configs};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// The first version whose answer has no results of single features.
const WITHOUT_RESULTS_FROM: i16 = 2;

/// UpdateFeatures of `version`: all updates or none.
pub fn update_features(
    context: &Context<'_>,
    request: &UpdateFeaturesRequest,
    version: i16,
) -> Result<Decision<UpdateFeaturesResponse>, Refusal> {
    debug_assert!(UpdateFeaturesRequest::VERSIONS.contains(&version), "the handler serves no other version");
    let mut levels: BTreeMap<Str, i16> =
        context.image.features.iter().map(|(name, level)| (name.clone(), level)).collect();
    for update in &request.feature_updates {
        levels.insert(update.feature.clone(), update.max_version_level);
    }
    let mut records = Vec::new();
    for update in &request.feature_updates {
        records.extend(update_one(context, update, &levels, version)?);
    }
    if request.validate_only {
        records.clear();
    }
    let ok = |update: &FeatureUpdateKey| UpdatableFeatureResult {
        feature: update.feature.clone(),
        // The word that Kafka has for success, once there was a place for it.
        error_message: (version > 0).then(|| Str::from_static("NONE")),
        ..Default::default()
    };
    let results = if version < WITHOUT_RESULTS_FROM {
        request.feature_updates.iter().map(ok).collect()
    } else {
        Vec::new()
    };
    Ok(Decision {
        records,
        answer: UpdateFeaturesResponse { error_message: None, results, ..Default::default() },
    })
}

/// The level of `kraft.version` that a request which was not refused asks for.
pub fn kraft_version_update(request: &UpdateFeaturesRequest) -> Option<i16> {
    let mut updates = request.feature_updates.iter().filter(|_| !request.validate_only);
    updates.find(|update| update.feature == *KRAFT_VERSION).map(|update| update.max_version_level)
}

fn update_one(
    context: &Context<'_>,
    update: &FeatureUpdateKey,
    levels: &BTreeMap<Str, i16>,
    version: i16,
) -> Result<Vec<Record>, Refusal> {
    let (name, wanted) = (&update.feature, update.max_version_level);
    let current = context.image.features.level(name);
    let invalid = |reason: &str| {
        let message = format!("Invalid update version {wanted} for feature {name}. {reason}");
        Refusal::new(ErrorCode::InvalidUpdateVersion, message)
    };
    let upgrade_type = match (version, update.allow_downgrade) {
        (0, true) => SAFE_DOWNGRADE,
        (0, false) => UPGRADE,
        _ => update.upgrade_type,
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&upgrade_type) {
        return Err(invalid("The controller does not support the given upgrade type."));
    }
    if wanted < 0 {
        return Err(invalid("A feature version cannot be less than 0."));
    }
    if let Some(reason) = why_unsupported(context, name, wanted) {
        return Err(invalid(&reason));
    }
    if wanted < current && upgrade_type == UPGRADE {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
                      downgrade.";
        return Err(invalid(reason));
    }
    if wanted > current && upgrade_type != UPGRADE {
        return Err(invalid("Can't downgrade to a newer version."));
    }
    if *name == *KRAFT_VERSION {
        if wanted < current {
            // Its voters may have changed: the static list of the config may name others.
            return Err(invalid("Can't downgrade the version of this feature."));
        }
        // A control record of the quorum finalizes it, no metadata record.
        return Ok(Vec::new());
    }
    if *name == *METADATA_VERSION {
        check_metadata_version(context, wanted, upgrade_type)?;
    }
    check_dependencies(name, wanted, levels).map_err(|reason| invalid(&reason))?;
    Ok(level_records(context, name, wanted))
}

/// The level and what must change with it.
fn level_records(context: &Context<'_>, name: &Str, wanted: i16) -> Vec<Record> {
    let record = FeatureLevelRecord { name: name.clone(), feature_level: wanted, ..Default::default() };
    let mut records = vec![Record::from(record)];
    let turns_elr_on =
        *name == *ELIGIBLE_LEADER_REPLICAS_VERSION && wanted > 0 && context.image.features.level(name) == 0;
    if turns_elr_on {
        // From now on one value of min.insync.replicas holds for the cluster, and brokers have none of their own.
        if context
            .image
            .configs
            .value(&metadata::ConfigResource::cluster_default(), configs::MIN_INSYNC_REPLICAS)
            .is_none()
        {
            records.push(bootstrap::cluster_min_isr(context));
        }
        records.extend(configs::without_broker_min_isr(context));
    }
    let turns_elr_off =
        *name == *ELIGIBLE_LEADER_REPLICAS_VERSION && wanted == 0 && context.image.features.level(name) > 0;
    if turns_elr_off && context.level().has_eligible_leader_replicas() {
        records.push(Record::from(ClearElrRecord::default()));
    }
    records
}

fn check_metadata_version(context: &Context<'_>, wanted: i16, upgrade_type: i8) -> Result<(), Refusal> {
    let invalid = |reason: &str| {
        let message = format!("Invalid metadata.version {wanted}. {reason}");
        Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message))
    };
    let Some(new) = MetadataVersion::from_level(wanted) else { return invalid("Unknown metadata.version.") };
    let current = context.level();
    if new < current && current.changes_metadata_since(new) {
        return match upgrade_type {
            UNSAFE_DOWNGRADE => invalid("Unsafe metadata downgrade is not supported in this version."),
            _ => invalid(
                "Refusing to perform the requested downgrade because it might delete metadata information.",
            ),
        };
    }
    Ok(())
}

/// Every node must support a level before it is finalized.
fn why_unsupported(context: &Context<'_>, name: &str, wanted: i16) -> Option<String> {
    let unless = |range: Option<FeatureRange>, who: &str| {
        let Some(range) = range.or((wanted == 0).then_some(FeatureRange { min: 0, max: 0 })) else {
            return Some(format!("{who} does not support this feature."));
        };
        let (min, max) = (range.min, range.max);
        (!range.contains(wanted)).then(|| format!("{who} only supports versions {min}-{max}"))
    };
    let own = find(name).map(|f| FeatureRange { min: *f.supported.start(), max: *f.supported.end() });
    let cluster = &context.image.cluster;
    unless(own, &format!("Local controller {}", context.settings.node_id))
        .or_else(|| {
            cluster.brokers().find_map(|b| unless(b.features.get(name).copied(), &format!("Broker {}", b.id)))
        })
        .or_else(|| {
            let others = cluster.controllers().filter(|c| c.id != context.settings.node_id);
            others
                .into_iter()
                .find_map(|c| unless(c.features.get(name).copied(), &format!("Controller {}", c.id)))
        })
}

/// Kafka 4.3 has one dependency: the ELR feature needs a metadata.version whose records carry an ELR.
fn check_dependencies(name: &str, wanted: i16, levels: &BTreeMap<Str, i16>) -> Result<(), String> {
    let level = |name: &str| levels.get(name).copied().unwrap_or_default();
    let elr = if name == ELIGIBLE_LEADER_REPLICAS_VERSION {
        wanted
    } else {
        level(ELIGIBLE_LEADER_REPLICAS_VERSION)
    };
    let knows_elr = MetadataVersion::from_level(level(METADATA_VERSION))
        .is_some_and(|v| v.has_eligible_leader_replicas());
    if elr > 0 && !knows_elr {
        let metadata = level(METADATA_VERSION);
        return Err(format!(
            "{ELIGIBLE_LEADER_REPLICAS_VERSION} could not be set to {elr} because it depends on {METADATA_VERSION} level 23 \
             (it is {metadata})"
        ));
    }
    Ok(())
}
