//! CreatePartitions: a topic gets more of them.

use std::collections::BTreeSet;

use metadata::Record;
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use protocol::{ErrorCode, bounds};

use super::topics::{all_inactive_when_assigned, all_inactive_when_placed, check_assignment, new_partition};
use super::{Context, Decision, Random, Refusal, code_and_message};
use crate::placement::{place, usable_brokers};

/// CreatePartitions: each topic grows, or is refused with a reason of its own.
pub fn create_partitions(
    context: &Context<'_>,
    request: &CreatePartitionsRequest,
    random: &mut Random<'_>,
) -> Decision<CreatePartitionsResponse> {
    let mut names = BTreeSet::new();
    let twice: BTreeSet<_> =
        request.topics.iter().map(|t| &t.name).filter(|name| !names.insert(*name)).collect();
    let mut records = Vec::new();
    let mut answered = BTreeSet::new();
    let mut results = Vec::new();
    for topic in request.topics.iter().filter(|topic| answered.insert(&topic.name)) {
        let grown = if twice.contains(&topic.name) {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
        } else {
            grow(context, topic, random)
        };
        let grown = grown.and_then(|new| {
            let fits = records.len() + new.len() <= bounds::CONTROLLER_PROPOSAL_RECORDS_MAX;
            let message = "Excessively large number of partitions per request.";
            if fits { Ok(new) } else { Err(Refusal::new(ErrorCode::PolicyViolation, message)) }
        });
        let (error_code, error_message) = code_and_message(&grown);
        records.extend(grown.unwrap_or_default());
        results.push(CreatePartitionsTopicResult { name: topic.name.clone(), error_code, error_message });
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, answer: CreatePartitionsResponse { results, ..Default::default() } }
}

fn grow(
    context: &Context<'_>,
    request: &CreatePartitionsTopic,
    random: &mut Random<'_>,
) -> Result<Vec<Record>, Refusal> {
    let unknown = || Refusal::new(ErrorCode::UnknownTopicOrPartition, "");
    let topic = context.image.topics.by_name(&request.name).ok_or_else(unknown)?;
    let present = topic.partition_count();
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    if request.count == present {
        return invalid(format!("Topic already has {present} partition(s)."));
    }
    if request.count < present {
        let (name, count) = (&request.name, request.count);
        return invalid(format!(
            "The topic {name} currently has {present} partition(s); {count} would not be an increase."
        ));
    }
    let additional = usize::try_from(request.count - present).expect("it is positive");
    if additional > bounds::CONTROLLER_PROPOSAL_RECORDS_MAX {
        return Err(Refusal::new(
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        ));
    }
    let factor = topic.partitions.values().next().map_or(0, |p| p.replicas.len());
    let assignments = match &request.assignments {
        Some(assignments) if assignments.len() != additional => {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Some(assignments) => {
            for assignment in assignments {
                check_assignment(context, &assignment.broker_ids, Some(factor))?;
            }
            assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect()
        }
        None => {
            let factor = i16::try_from(factor).expect("replicas are distinct brokers of one cluster");
            let placed = place(&usable_brokers(context.image), additional, factor, random);
            placed.map_err(|fault| Refusal::new(ErrorCode::InvalidReplicationFactor, fault.to_string()))?
        }
    };
    let manual = request.assignments.is_some();
    (present..)
        .zip(assignments)
        .map(|(index, replicas)| {
            let inactive = |count| {
                if manual { all_inactive_when_assigned(index) } else { all_inactive_when_placed(count) }
            };
            let partition = new_partition(context, replicas).map_err(inactive)?;
            Ok(Record::from(partition.to_record(topic.id, index, context.level())))
        })
        .collect()
}
