//! AlterPartition: a leader tells who is in sync.

use metadata::{Image, LeaderRecoveryState, NO_LEADER_CHANGE, Partition, Record, Topic};
use protocol::messages::alter_partition_request::{BrokerState, PartitionData};
use protocol::messages::alter_partition_response as response;
use protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use protocol::{ErrorCode, Message};

use super::elections::Rules;
use super::partition_change::Election;
use super::{Context, Decision, Refusal};

/// The first version that tells the epoch of each ISR member, so that a restarted one cannot slip in (KIP-903).
const WITH_EPOCHS_FROM: i16 = 3;

/// AlterPartition of `version`. Whoever tells an old epoch, or is not the leader, is refused for that partition.
pub fn alter_partition(
    context: &Context<'_>,
    request: &AlterPartitionRequest,
    version: i16,
) -> Result<Decision<AlterPartitionResponse>, Refusal> {
    debug_assert!(AlterPartitionRequest::VERSIONS.contains(&version), "the handler serves no other version");
    context.check_broker_epoch(request.broker_id, request.broker_epoch)?;
    let mut records = Vec::new();
    let mut answer = AlterPartitionResponse::default();
    for topic_data in &request.topics {
        let topic = context.image.topics.by_id(topic_data.topic_id);
        let mut partitions = Vec::new();
        for data in &topic_data.partitions {
            let refused = |code: ErrorCode| response::PartitionData {
                partition_index: data.partition_index,
                error_code: code.code(),
                ..Default::default()
            };
            let outcome = topic.ok_or(ErrorCode::UnknownTopicId);
            let outcome =
                outcome.and_then(|topic| alter_one(context, topic, request.broker_id, data, version));
            partitions.push(match outcome {
                Ok((record, partition)) => {
                    let elected = record.as_ref().is_some_and(|r| elects_another(r, request.broker_id));
                    records.extend(record);
                    if elected { refused(ErrorCode::NewLeaderElected) } else { partition }
                }
                Err(code) => refused(code),
            });
        }
        answer.topics.push(response::TopicData { topic_id: topic_data.topic_id, partitions });
    }
    Ok(Decision { records, answer })
}

/// The end of a reassignment can take leadership from the leader that reports it: it must learn of that first.
fn elects_another(record: &Record, leader: i32) -> bool {
    matches!(record, Record::PartitionChange(change) if change.leader != NO_LEADER_CHANGE && change.leader != leader)
}

fn alter_one(
    context: &Context<'_>,
    topic: &Topic,
    broker: i32,
    data: &PartitionData,
    version: i16,
) -> Result<(Option<Record>, response::PartitionData), ErrorCode> {
    let partition = topic.partition(data.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let isr: Vec<BrokerState> = if version >= WITH_EPOCHS_FROM {
        data.new_isr_with_epochs.clone()
    } else {
        data.new_isr.iter().map(|id| BrokerState { broker_id: *id, broker_epoch: -1 }).collect()
    };
    let recovery =
        LeaderRecoveryState::from_value(data.leader_recovery_state).ok_or(ErrorCode::InvalidRequest)?;
    if !context.settings.broken.ignores_epochs {
        check_epochs(partition, broker, data, &isr)?;
    }
    check_isr(partition, &isr, recovery)?;
    if isr.iter().any(|member| !is_eligible(context.image, member)) {
        return Err(ErrorCode::IneligibleReplica);
    }
    let is_live = |id| context.image.cluster.is_active(id);
    let rules = Rules::of(context, topic);
    let mut change = rules.change(context, (topic.id, data.partition_index, partition), &is_live);
    if rules.unclean_election {
        change.election = Election::Unclean;
    }
    change.isr = isr.iter().map(|member| member.broker_id).collect();
    change.recovery = recovery;
    let record = change.record();
    let after = record.as_ref().map_or_else(|| Partition::clone(partition), |change| partition.merge(change));
    let answer = response::PartitionData {
        partition_index: data.partition_index,
        leader_id: after.leader,
        leader_epoch: after.leader_epoch,
        isr: after.isr,
        leader_recovery_state: after.leader_recovery_state.value(),
        partition_epoch: after.partition_epoch,
        ..Default::default()
    };
    Ok((record.map(Record::from), answer))
}

/// Whether the broker leads, and speaks of the state that there is.
fn check_epochs(
    partition: &Partition,
    broker: i32,
    data: &PartitionData,
    isr: &[BrokerState],
) -> Result<(), ErrorCode> {
    // An epoch from the future: this controller is not the active one any more, and the broker knows more.
    if data.leader_epoch > partition.leader_epoch || data.partition_epoch > partition.partition_epoch {
        return Err(ErrorCode::NotController);
    }
    if data.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if broker != partition.leader {
        return Err(ErrorCode::InvalidRequest);
    }
    if data.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let has_leader = isr.iter().any(|member| member.broker_id == partition.leader);
    if has_leader { Ok(()) } else { Err(ErrorCode::InvalidRequest) }
}

fn check_isr(
    partition: &Partition,
    isr: &[BrokerState],
    recovery: LeaderRecoveryState,
) -> Result<(), ErrorCode> {
    let mut ids: Vec<i32> = isr.iter().map(|member| member.broker_id).collect();
    let all_replicas = ids.iter().all(|id| partition.replicas.contains(id));
    ids.sort_unstable();
    let distinct = ids.windows(2).all(|pair| pair[0] != pair[1]);
    if !all_replicas || !distinct {
        return Err(ErrorCode::InvalidRequest);
    }
    let recovering = recovery == LeaderRecoveryState::Recovering;
    if recovering && (isr.len() > 1 || partition.leader_recovery_state == LeaderRecoveryState::Recovered) {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}

/// May be in an ISR: registered under the epoch that the leader saw, not fenced, not leaving. Epoch -1: not checked.
fn is_eligible(image: &Image, member: &BrokerState) -> bool {
    let broker = image.cluster.broker(member.broker_id);
    broker.is_some_and(|b| b.is_active() && (member.broker_epoch == -1 || member.broker_epoch == b.epoch))
}
