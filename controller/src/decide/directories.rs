//! Which log directory of a broker a replica lives in, and what happens when a directory fails (KIP-858).

use std::collections::BTreeSet;

use metadata::Record;
use protocol::messages::assign_replicas_to_dirs_response as response;
use protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use protocol::{ErrorCode, Uuid};

use super::elections::Rules;
use super::partition_change::Election;
use super::{Context, Decision, Refusal};

/// The changes of partitions whose replica on `broker` was in a directory that failed: it leaves their ISRs.
pub(super) fn offline_records(context: &Context<'_>, broker: i32, failed: &[Uuid]) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in context.image.topics.iter() {
        let was_there = |directory: Option<Uuid>| directory.is_some_and(|d| failed.contains(&d));
        for (index, _) in topic.partitions.iter().filter(|(_, p)| was_there(p.directory(broker))) {
            records.extend(leave(context, topic, *index, broker));
        }
    }
    records
}

/// Takes a broker out of one partition's ISR and leadership.
fn leave(context: &Context<'_>, topic: &metadata::Topic, index: i32, broker: i32) -> Option<Record> {
    let partition = topic.partition(index)?;
    let is_live = |id| id != broker && context.image.cluster.is_active(id);
    let rules = Rules::of(context, topic);
    let mut change = rules.change(context, (topic.id, index, partition), &is_live);
    if rules.unclean_election {
        change.election = Election::Unclean;
    }
    change.isr.retain(|id| *id != broker);
    change.record().map(Record::from)
}

/// AssignReplicasToDirs: a broker tells where it has put its replicas.
pub fn assign_replicas_to_dirs(
    context: &Context<'_>,
    request: &AssignReplicasToDirsRequest,
) -> Result<Decision<AssignReplicasToDirsResponse>, Refusal> {
    if !context.level().has_directory_assignment() {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            "Directory assignment is not supported yet.",
        ));
    }
    let broker = context.check_broker_epoch(request.broker_id, request.broker_epoch)?;
    let mut records = Vec::new();
    let mut offline = BTreeSet::new();
    let mut directories = Vec::new();
    for directory in &request.directories {
        let mut topics = Vec::new();
        for topic in &directory.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let assigned = assign(context, request.broker_id, (topic.topic_id, index), directory.id);
                let error_code =
                    assigned.as_ref().map_or_else(|code| code.code(), |_| ErrorCode::None.code());
                if let Ok(record) = assigned {
                    records.extend(record);
                    if !broker.has_online_directory(directory.id) {
                        offline.insert((topic.topic_id, index));
                    }
                }
                partitions.push(response::PartitionData { partition_index: index, error_code });
            }
            topics.push(response::TopicData { topic_id: topic.topic_id, partitions });
        }
        directories.push(response::DirectoryData { id: directory.id, topics });
    }
    // A replica that turns out to be in a failed directory leaves its ISR, judged with its new directory.
    let image = context.image.with(&records);
    let after = Context { image: &image, settings: context.settings };
    for (topic_id, index) in offline {
        let topic = image.topics.by_id(topic_id).expect("the replica was just assigned");
        records.extend(leave(&after, topic, index, request.broker_id));
    }
    Ok(Decision { records, answer: AssignReplicasToDirsResponse { directories, ..Default::default() } })
}

fn assign(
    context: &Context<'_>,
    broker: i32,
    (topic_id, index): (Uuid, i32),
    dir: Uuid,
) -> Result<Option<Record>, ErrorCode> {
    let topic = context.image.topics.by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !partition.replicas.contains(&broker) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let is_live = |id| context.image.cluster.is_active(id);
    let mut change = Rules::of(context, topic).change(context, (topic_id, index, partition), &is_live);
    change.directories.push((broker, dir));
    Ok(change.record().map(Record::from))
}
