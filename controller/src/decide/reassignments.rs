//! Moves of replicas: AlterPartitionReassignments and ListPartitionReassignments (KIP-455).
//!
//! ```text
//!  replicas [1 2 3]  target [3 4]       1. replicas [3 4 1 2]  adding [4]  removing [1 2]
//!                                       2. the leader reports 4 in sync
//!                                       3. replicas [3 4]       adding []   removing []      (`Change` ends it)
//! ```

use metadata::{LeaderRecoveryState, Partition, Record, Topic};
use protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use protocol::{ErrorCode, Str};

use super::elections::Rules;
use super::partition_change::Election;
use super::topics::check_assignment;
use super::{Context, Decision, Refusal, code_and_message};

/// AlterPartitionReassignments: each partition begins to move, or is refused with a reason of its own.
pub fn alter_partition_reassignments(
    context: &Context<'_>,
    request: &AlterPartitionReassignmentsRequest,
) -> Decision<AlterPartitionReassignmentsResponse> {
    if request.topics.is_empty() {
        // Nothing is looked at, not even the request: Kafka's answer is the one that its schema begins with.
        let answer =
            AlterPartitionReassignmentsResponse { error_message: Some(Str::default()), ..Default::default() };
        return Decision { records: Vec::new(), answer };
    }
    let mut records = Vec::new();
    let mut responses = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for target in &topic.partitions {
            let result = alter(context, &topic.name, target, request.allow_replication_factor_change);
            let (error_code, error_message) = code_and_message(&result);
            records.extend(result.ok().flatten());
            let partition_index = target.partition_index;
            partitions.push(ReassignablePartitionResponse { partition_index, error_code, error_message });
        }
        responses.push(ReassignableTopicResponse { name: topic.name.clone(), partitions });
    }
    let answer = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses,
        ..Default::default()
    };
    Decision { records, answer }
}

fn alter(
    context: &Context<'_>,
    name: &Str,
    target: &ReassignablePartition,
    any_factor: bool,
) -> Result<Option<Record>, Refusal> {
    let unknown = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
    let index = target.partition_index;
    let topic = context.image.topics.by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let partition =
        topic.partition(index).ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    match &target.replicas {
        None => cancel(context, topic, index, partition),
        Some(replicas) => reassign(context, topic, (index, partition), replicas, any_factor),
    }
}

fn reassign(
    context: &Context<'_>,
    topic: &Topic,
    (index, partition): (i32, &Partition),
    target: &[i32],
    any_factor: bool,
) -> Result<Option<Record>, Refusal> {
    check_assignment(context, target, None)?;
    let before = partition.replicas.iter().filter(|id| !partition.adding.contains(id)).count();
    if !any_factor && before != target.len() {
        let message = format!("The replication factor is changed from {before} to {}", target.len());
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    let without = |ids: &[i32], others: &[i32]| {
        let mut rest: Vec<i32> = ids.iter().copied().filter(|id| !others.contains(id)).collect();
        rest.sort_unstable();
        rest
    };
    let is_live = |id| context.image.cluster.is_active(id);
    let mut change = Rules::of(context, topic).change(context, (topic.id, index, partition), &is_live);
    change.removing = without(&partition.replicas, target);
    change.adding = without(target, &partition.replicas);
    change.replicas = [target, &change.removing].concat();
    Ok(change.record().map(Record::from))
}

/// Back to the replicas from before. If none of them is in sync, that is an unclean election.
fn cancel(
    context: &Context<'_>,
    topic: &Topic,
    index: i32,
    partition: &Partition,
) -> Result<Option<Record>, Refusal> {
    if !partition.is_reassigning() {
        return Err(Refusal::new(ErrorCode::NoReassignmentInProgress, ""));
    }
    let rules = Rules::of(context, topic);
    let kept = |ids: &[i32]| -> Vec<i32> {
        ids.iter().copied().filter(|id| !partition.adding.contains(id)).collect()
    };
    let (replicas, mut isr) = (kept(&partition.replicas), kept(&partition.isr));
    let unclean = isr.is_empty();
    if unclean {
        let live = replicas.iter().copied().find(|id| context.image.cluster.is_active(*id));
        let Some(leader) = live.filter(|_| rules.unclean_election) else {
            let message = format!(
                "Unable to revert partition assignment for {}:{index} because it would require an unclean leader election.",
                topic.name
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        };
        isr.push(leader);
    }
    let is_live = |id| context.image.cluster.is_active(id);
    let mut change = rules.change(context, (topic.id, index, partition), &is_live);
    if rules.unclean_election {
        change.election = Election::Unclean;
    }
    if unclean {
        change.recovery = LeaderRecoveryState::Recovering;
    }
    change.isr = isr;
    change.replicas = replicas;
    change.removing.clear();
    change.adding.clear();
    Ok(change.record().map(Record::from))
}

/// ListPartitionReassignments: those under way, of the asked topics or of all.
pub fn list_partition_reassignments(
    context: &Context<'_>,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let ongoing = |(index, partition): (i32, &Partition)| OngoingPartitionReassignment {
        partition_index: index,
        replicas: partition.replicas.clone(),
        adding_replicas: partition.adding.clone(),
        removing_replicas: partition.removing.clone(),
    };
    let of_topic = |topic: &Topic, indexes: Option<&[i32]>| {
        let asked = |index: &i32| indexes.is_none_or(|indexes| indexes.contains(index));
        let moving = topic.partitions.iter().filter(|(index, p)| asked(index) && p.is_reassigning());
        let partitions: Vec<_> = moving.map(|(index, p)| ongoing((*index, p))).collect();
        let some = !partitions.is_empty();
        some.then(|| OngoingTopicReassignment { name: topic.name.clone(), partitions })
    };
    let topics = match &request.topics {
        None => context.image.topics.iter().filter_map(|topic| of_topic(topic, None)).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                of_topic(context.image.topics.by_name(&asked.name)?, Some(&asked.partition_indexes))
            })
            .collect(),
    };
    ListPartitionReassignmentsResponse { topics, error_message: None, ..Default::default() }
}
