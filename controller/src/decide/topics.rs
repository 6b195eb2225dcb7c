//! CreateTopics.

use std::collections::{BTreeMap, BTreeSet};

use metadata::configs::Values;
use metadata::{ConfigResource, LeaderRecoveryState, Partition, Record, topic_name};
use protocol::ids::METADATA_TOPIC;
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::{ConfigRecord, CreateTopicsRequest, CreateTopicsResponse, TopicRecord};
use protocol::{ErrorCode, Str, Uuid, bounds};

use super::{Context, Decision, Random, Refusal, configs};
use crate::placement::{place, usable_brokers};

/// CreateTopics: each topic is created, or refused with a reason of its own. `may_describe_configs` tells for which
/// topics the answer may carry configs.
pub fn create_topics(
    context: &Context<'_>,
    request: &CreateTopicsRequest,
    may_describe_configs: &dyn Fn(&str) -> bool,
    random: &mut Random<'_>,
) -> Result<Decision<CreateTopicsResponse>, Refusal> {
    check_partition_total(context, request)?;
    let mut names = BTreeSet::new();
    let twice: BTreeSet<&Str> =
        request.topics.iter().map(|t| &t.name).filter(|name| !names.insert(*name)).collect();
    let mut records = Vec::new();
    let mut answered = BTreeSet::new();
    let mut topics = Vec::new();
    let mut created = Vec::new();
    for topic in request.topics.iter().filter(|topic| answered.insert(&topic.name)) {
        let allowed = if twice.contains(&topic.name) {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
        } else {
            check_name(context, &topic.name, &created)
        };
        let result = allowed.and_then(|()| create_topic(context, topic, random)).and_then(|new| {
            // One entry of the log must hold it all; Kafka's limit is the same.
            let fits = records.len() + new.records.len() <= bounds::CONTROLLER_PROPOSAL_RECORDS_MAX;
            if fits { Ok(new) } else { Err(excessive_partitions()) }
        });
        topics.push(match result {
            Ok(new) => {
                created.push(topic.name.clone());
                let answer = new.answer(context, topic, may_describe_configs(&topic.name));
                records.extend(new.records);
                answer
            }
            Err(refusal) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code: refusal.code.code(),
                error_message: refusal.text(),
                ..Default::default()
            },
        });
    }
    if request.validate_only {
        records.clear();
    }
    Ok(Decision { records, answer: CreateTopicsResponse { topics, ..Default::default() } })
}

fn excessive_partitions() -> Refusal {
    Refusal::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")
}

fn check_partition_total(context: &Context<'_>, request: &CreateTopicsRequest) -> Result<(), Refusal> {
    let count = |topic: &CreatableTopic| match topic.num_partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
        -1 => i64::from(configs::default_partitions(context)),
        given => i64::from(given.max(0)),
    };
    let total: i64 = request.topics.iter().map(count).sum();
    if total > bounds::PARTITIONS_PER_REQUEST_MAX { Err(excessive_partitions()) } else { Ok(()) }
}

/// `created`: names that this request has created already, which may collide as well.
fn check_name(context: &Context<'_>, name: &Str, created: &[Str]) -> Result<(), Refusal> {
    if *name == *METADATA_TOPIC {
        let message = "Creation of internal topic __cluster_metadata is prohibited.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let invalid = |message| Refusal::new(ErrorCode::InvalidTopicException, message);
    topic_name::check(name).map_err(invalid)?;
    if context.image.topics.id(name).is_some() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    let unified = |name: &str| name.replace('.', "_");
    let sibling = created.iter().find(|other| unified(other) == unified(name));
    match context.image.topics.collision(name).or(sibling) {
        Some(other) => Err(invalid(format!("Topic '{name}' collides with existing topic: {other}"))),
        None => Ok(()),
    }
}

struct NewTopic {
    id: Uuid,
    records: Vec<Record>,
    values: Values,
    partitions: usize,
    replication_factor: usize,
}

impl NewTopic {
    fn answer(
        &self,
        context: &Context<'_>,
        topic: &CreatableTopic,
        with_configs: bool,
    ) -> CreatableTopicResult {
        let (name, topic_id) = (topic.name.clone(), self.id);
        let result = CreatableTopicResult { name, topic_id, error_message: None, ..Default::default() };
        if !with_configs {
            let topic_config_error_code = ErrorCode::TopicAuthorizationFailed.code();
            return CreatableTopicResult { topic_config_error_code, configs: None, ..result };
        }
        CreatableTopicResult {
            num_partitions: i32::try_from(self.partitions).expect("bounded by PARTITIONS_PER_REQUEST_MAX"),
            replication_factor: i16::try_from(self.replication_factor)
                .expect("replicas are distinct registered brokers"),
            configs: Some(configs::creation_configs(context, &self.values)),
            ..result
        }
    }
}

fn create_topic(
    context: &Context<'_>,
    topic: &CreatableTopic,
    random: &mut Random<'_>,
) -> Result<NewTopic, Refusal> {
    let values = configs::check_creation_configs(context, topic)?;
    let assignments =
        if topic.assignments.is_empty() { placed(context, topic, random)? } else { manual(context, topic)? };
    let id = fresh_topic_id(context, random);
    let mut records =
        vec![Record::from(TopicRecord { name: topic.name.clone(), topic_id: id, ..Default::default() })];
    // Configs stand before partitions, so that whoever creates the partitions finds them.
    let resource = ConfigResource::topic(&topic.name);
    records.extend(values.iter().map(|(name, value)| {
        Record::from(ConfigRecord {
            resource_type: resource.kind.0,
            resource_name: resource.name.clone(),
            name: name.clone(),
            value: Some(value.clone()),
            ..Default::default()
        })
    }));
    let (partitions, replication_factor) = (assignments.len(), assignments.first().map_or(0, Vec::len));
    for (index, replicas) in (0..).zip(assignments) {
        let partition =
            new_partition(context, replicas).map_err(|replicas| all_inactive(topic, index, replicas))?;
        records.push(Record::from(partition.to_record(id, index, context.level())));
    }
    Ok(NewTopic { id, records, values, partitions, replication_factor })
}

fn fresh_topic_id(context: &Context<'_>, random: &mut Random<'_>) -> Uuid {
    loop {
        let id = random.uuid();
        if context.image.topics.by_id(id).is_none() {
            return id;
        }
    }
}

fn all_inactive(topic: &CreatableTopic, index: i32, replicas: usize) -> Refusal {
    if topic.assignments.is_empty() {
        all_inactive_when_placed(replicas)
    } else {
        all_inactive_when_assigned(index)
    }
}

pub(super) fn all_inactive_when_placed(replicas: usize) -> Refusal {
    let message = format!(
        "Unable to replicate the partition {replicas} time(s): All brokers are currently fenced or in controlled shutdown."
    );
    Refusal::new(ErrorCode::InvalidReplicationFactor, message)
}

pub(super) fn all_inactive_when_assigned(index: i32) -> Refusal {
    let message = format!(
        "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
    );
    Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
}

/// A partition's first state: those replicas that are active are in sync, the first of them leads. Fails with the number
/// of replicas if none is.
pub(super) fn new_partition(context: &Context<'_>, replicas: Vec<i32>) -> Result<Partition, usize> {
    let isr: Vec<i32> = replicas.iter().copied().filter(|id| context.image.cluster.is_active(*id)).collect();
    let leader = *isr.first().ok_or(replicas.len())?;
    let directory = |id: &i32| {
        let broker = context.image.cluster.broker(*id).expect("replicas are registered brokers");
        broker.default_directory(context.level())
    };
    Ok(Partition {
        directories: replicas.iter().map(directory).collect(),
        replicas,
        isr,
        leader,
        leader_recovery_state: LeaderRecoveryState::Recovered,
        ..Partition::default()
    })
}

fn placed(
    context: &Context<'_>,
    topic: &CreatableTopic,
    random: &mut Random<'_>,
) -> Result<Vec<Vec<i32>>, Refusal> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let or_default = |given: i32, default: i32| if given == -1 { default } else { given };
    let partitions = or_default(topic.num_partitions, configs::default_partitions(context));
    let factor =
        or_default(topic.replication_factor.into(), configs::default_replication_factor(context).into());
    let factor = i16::try_from(factor).expect("both come from an i16");
    place(&usable_brokers(context.image), usize::try_from(partitions).unwrap_or(0), factor, random).map_err(
        |fault| {
            let message = format!("Unable to replicate the partition {factor} time(s): {fault}");
            Refusal::new(ErrorCode::InvalidReplicationFactor, message)
        },
    )
}

fn manual(context: &Context<'_>, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
    let request_fault = |message| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    if topic.replication_factor != -1 {
        return request_fault(
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        );
    }
    if topic.num_partitions != -1 {
        return request_fault(
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        );
    }
    let mut by_index: BTreeMap<i32, &CreatableReplicaAssignment> = BTreeMap::new();
    let mut replication_factor = None;
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if by_index.insert(index, assignment).is_some() {
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        check_assignment(context, &assignment.broker_ids, replication_factor)?;
        replication_factor = Some(assignment.broker_ids.len());
        if !assignment.broker_ids.iter().any(|id| context.image.cluster.is_active(*id)) {
            return Err(all_inactive_when_assigned(index));
        }
    }
    if (0..).zip(by_index.keys()).any(|(expected, index)| expected != *index) {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(by_index.into_values().map(|assignment| assignment.broker_ids.clone()).collect())
}

/// Replicas that a client chose: distinct registered brokers, as many as other partitions have.
pub(super) fn check_assignment(
    context: &Context<'_>,
    replicas: &[i32],
    factor: Option<usize>,
) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, id) in sorted.iter().enumerate() {
        if context.image.cluster.broker(*id).is_none() {
            return invalid(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if at > 0 && sorted[at - 1] == *id {
            return invalid(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
    }
    match factor {
        Some(factor) if factor != replicas.len() => invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {factor} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}
