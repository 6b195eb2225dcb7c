//! Leaders: who takes over when a broker comes or goes, and elections that are asked for.

use metadata::{Partition, Record, Topic};
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use protocol::{ErrorCode, Str, Uuid, bounds};

use super::partition_change::{Change, Election};
use super::{Context, Decision, Refusal, code_and_message, configs};

/// A broker whose standing is about to change by records that the image does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It leaves every ISR, and leads nothing.
    Leaves(i32),
    /// It may lead from now on.
    Joins(i32),
    /// It lost its page cache: it leaves every ISR and ELR, and leads nothing.
    Forgets(i32),
}

impl Turn {
    fn concerns(self, partition: &Partition) -> bool {
        match self {
            Turn::Leaves(id) => partition.isr.contains(&id),
            Turn::Joins(_) => !partition.has_leader(),
            Turn::Forgets(id) => partition.isr.contains(&id) || partition.elr.contains(&id),
        }
    }
}

/// The changes of all partitions that a broker's turn concerns.
///
/// Looks at every partition: 10,000 take 0.2 to 0.6 ms, and to change all of them 10 ms (measured, 2 busy cores). Brokers come
/// and go seldom, and an index by broker would have to be kept in every image.
pub(super) fn changes_by_turn(context: &Context<'_>, turn: Turn) -> Vec<Record> {
    let is_live = |id: i32| match turn {
        Turn::Leaves(gone) | Turn::Forgets(gone) if id == gone => false,
        Turn::Joins(new) if id == new => true,
        _ => context.image.cluster.is_active(id),
    };
    let mut records = Vec::new();
    for topic in context.image.topics.iter() {
        let mut concerned = topic.partitions.iter().filter(|(_, p)| turn.concerns(p)).peekable();
        if concerned.peek().is_none() {
            continue;
        }
        let rules = Rules::of(context, topic);
        for (index, partition) in concerned {
            let mut change = rules.change(context, (topic.id, *index, partition), &is_live);
            if rules.unclean_election {
                change.election = Election::Unclean;
            }
            if let Turn::Leaves(gone) | Turn::Forgets(gone) = turn {
                change.isr.retain(|id| *id != gone);
            }
            if let Turn::Forgets(gone) = turn {
                change.unclean_replica = Some(gone);
            }
            records.extend(change.record().map(Record::from));
        }
    }
    records
}

/// What a topic's configs say about changes of its partitions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `min.insync.replicas`, at most the replication factor.
    min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub(super) unclean_election: bool,
}

impl Rules {
    pub(super) fn of(context: &Context<'_>, topic: &Topic) -> Rules {
        let replication_factor = topic.partitions.values().next().map_or(0, |p| p.replicas.len());
        Rules {
            min_isr: configs::min_insync_replicas(context, &topic.name).min(replication_factor),
            unclean_election: configs::unclean_election_enabled(context, &topic.name),
        }
    }

    pub(super) fn change<'a>(
        self,
        context: &'a Context<'a>,
        partition: (Uuid, i32, &'a Partition),
        is_live: &'a dyn Fn(i32) -> bool,
    ) -> Change<'a> {
        Change::new(context, partition, self.min_isr, is_live)
    }
}

/// Kafka's `ElectionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Preferred,
    Unclean,
}

/// ElectLeaders. Without a list of partitions, all of them, and those that need nothing are not answered.
pub fn elect_leaders(
    context: &Context<'_>,
    request: &ElectLeadersRequest,
) -> Result<Decision<ElectLeadersResponse>, Refusal> {
    if request.topic_partitions.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Decision { records: Vec::new(), answer: ElectLeadersResponse::default() });
    }
    let asked = match request.election_type {
        0 => Asked::Preferred,
        1 => Asked::Unclean,
        other => {
            return Err(Refusal::new(ErrorCode::InvalidRequest, format!("Unknown election type {other}")));
        }
    };
    let mut decision = Decision { records: Vec::new(), answer: ElectLeadersResponse::default() };
    let mut one = |topic: &Str, index: i32| {
        let result = elect_leader(context, topic, index, asked).map(|record| decision.records.push(record));
        let (error_code, error_message) = code_and_message(&result);
        PartitionResult { partition_id: index, error_code, error_message }
    };
    let mut results = Vec::new();
    match &request.topic_partitions {
        Some(topics) => {
            for topic in topics {
                let partition_result =
                    topic.partitions.iter().map(|index| one(&topic.topic, *index)).collect();
                results.push(ReplicaElectionResult { topic: topic.topic.clone(), partition_result });
            }
        }
        None => {
            for topic in context.image.topics.iter() {
                let all = topic.partitions.keys().map(|index| one(&topic.name, *index));
                let partition_result =
                    all.filter(|r| r.error_code != ErrorCode::ElectionNotNeeded.code()).collect();
                results.push(ReplicaElectionResult { topic: topic.name.clone(), partition_result });
            }
        }
    }
    decision.answer.replica_election_results = results;
    Ok(decision)
}

fn elect_leader(context: &Context<'_>, name: &Str, index: i32, asked: Asked) -> Result<Record, Refusal> {
    let unknown = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
    let topic =
        context.image.topics.by_name(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
    let partition =
        topic.partition(index).ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    let not_needed = match asked {
        Asked::Preferred => partition.leader == partition.preferred_leader(),
        Asked::Unclean => partition.has_leader(),
    };
    if not_needed {
        let message = "Leader election not needed for topic partition.";
        return Err(Refusal::new(ErrorCode::ElectionNotNeeded, message));
    }
    let is_live = |id| context.image.cluster.is_active(id);
    let mut change = Rules::of(context, topic).change(context, (topic.id, index, partition), &is_live);
    change.election = if asked == Asked::Unclean { Election::Unclean } else { Election::Preferred };
    change.record().map(Record::from).ok_or_else(|| match asked {
        Asked::Preferred => {
            Refusal::new(ErrorCode::PreferredLeaderNotAvailable, "The preferred leader was not available.")
        }
        Asked::Unclean => Refusal::new(
            ErrorCode::EligibleLeadersNotAvailable,
            "Eligible topic partition leaders are not available.",
        ),
    })
}

/// Moves leadership to preferred leaders (`auto.leader.rebalance.enable`). The answer: there may be more to do.
pub fn balance_leaders(context: &Context<'_>) -> Decision<bool> {
    let is_live = |id| context.image.cluster.is_active(id);
    for_each_partition(context, |topic, index, partition| {
        let preferred = partition.preferred_leader();
        if partition.leader == preferred || !is_live(preferred) || !partition.isr.contains(&preferred) {
            return None;
        }
        let mut change = Rules::of(context, topic).change(context, (topic.id, index, partition), &is_live);
        change.election = Election::Preferred;
        change.record().map(Record::from)
    })
}

/// Gives partitions without a leader one: cleanly where it can be (a former controller may have died between the records
/// of a broker's return), uncleanly where `unclean.leader.election.enable` allows it. The answer: there may be more to do.
pub fn elect_missing_leaders(context: &Context<'_>) -> Decision<bool> {
    let is_live = |id| context.image.cluster.is_active(id);
    for_each_partition(context, |topic, index, partition| {
        if partition.has_leader() {
            return None;
        }
        let rules = Rules::of(context, topic);
        let mut change = rules.change(context, (topic.id, index, partition), &is_live);
        if rules.unclean_election {
            change.election = Election::Unclean;
        }
        change.record().map(Record::from)
    })
}

fn for_each_partition(
    context: &Context<'_>,
    mut decide: impl FnMut(&Topic, i32, &Partition) -> Option<Record>,
) -> Decision<bool> {
    let mut records = Vec::new();
    for topic in context.image.topics.iter() {
        for (index, partition) in topic.partitions.iter() {
            if records.len() >= bounds::ELECTIONS_PER_BALANCE_MAX {
                return Decision { records, answer: true };
            }
            records.extend(decide(topic, *index, partition));
        }
    }
    Decision { records, answer: false }
}
