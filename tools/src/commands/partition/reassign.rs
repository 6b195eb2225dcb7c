//! `weir partition reassign`: a plan, its execution, how far it has come, and back.
//!
//!     topics, brokers ─ plan ─┐
//!     file ───────────────────┴─ Assignment ─ show | execute ─ follow (ListPartitionReassignments, bytes copied) | verify | cancel

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::AlterPartitionReassignmentsRequest;
use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::{ErrorCode, Str};
use serde_json::Value;
use wire::client::NamedPartition;

use self::file::Assignment;
use self::plan::Candidate;
use crate::cli::ReassignArgs;
use crate::client::{Client, in_words, told};
use crate::cluster_state::{self, ClusterState, PartitionState};
use crate::output::Output;
use crate::patience::Patience;
use crate::progress::bytes_in_words;

pub(crate) mod file;
mod follow;
mod plan;

pub(super) async fn run(client: &Client, patience: Patience, args: &ReassignArgs) -> Result<Output, String> {
    let mut state = ClusterState::read(client, None, None).await?;
    state.add_reassignments(client).await?;
    if args.list {
        return follow::moving(client, patience, &state, None, args.wait).await;
    }
    if args.verify || args.cancel {
        // The moves of a file's partitions, or of the topics that are named.
        let planned = match &args.file {
            Some(path) => Some(file::assignment(&file::read(client, path).await?)?),
            None => None,
        };
        let wanted: Vec<NamedPartition> = match &planned {
            Some(planned) => planned.iter().map(|(key, _)| key.clone()).collect(),
            None => named(client, args).await?.into_iter().map(|p| p.key()).collect(),
        };
        return match args.cancel {
            true => cancel(client, &state, &wanted).await,
            false => follow::moving(client, patience, &state, Some((wanted, planned)), args.wait).await,
        };
    }
    let plan = planned(client, &state, args).await?;
    let current: Assignment =
        plan.iter().filter_map(|(key, _)| Some((key.clone(), settled(&state, key)?))).collect();
    if let Some(path) = &args.save_current {
        file::write(client, path, &current).await?;
    }
    if let Some(path) = &args.save {
        file::write(client, path, &plan).await?;
    }
    let changed: Assignment =
        plan.iter().zip(&current).filter(|(new, old)| new != old).map(|(new, _)| new.clone()).collect();
    match args.execute {
        true => execute(client, patience, args, &state, &changed).await,
        false => show(client, &state, &changed, plan.len()).await,
    }
}

/// The replicas of a partition, as they will be when what is under way is done.
fn settled(state: &ClusterState, (topic, index): &NamedPartition) -> Option<Vec<i32>> {
    let p = state.partition(topic, *index)?;
    Some(p.replicas.iter().copied().filter(|id| !p.removing.contains(id)).collect())
}

async fn named(client: &Client, args: &ReassignArgs) -> Result<Vec<PartitionState>, String> {
    let topics = match &args.topics_to_move_json_file {
        Some(path) => file::topics(&file::read(client, path).await?)?,
        None => args.topics.clone(),
    };
    Ok(super::read(client, &topics).await?.partitions)
}

/// The plan of the file, or a new one.
async fn planned(client: &Client, state: &ClusterState, args: &ReassignArgs) -> Result<Assignment, String> {
    let known = |ids: &[i32]| match ids.iter().find(|id| !state.brokers.contains_key(id)) {
        Some(id) => Err(format!("broker {id} is not registered; `weir broker list` shows those that are")),
        None => Ok(()),
    };
    if let Some(path) = &args.file {
        let plan = file::assignment(&file::read(client, path).await?)?;
        for ((topic, index), replicas) in &plan {
            known(replicas)?;
            if state.partition(topic, *index).is_none() {
                return Err(format!(
                    "{}: partition {topic}-{index} does not exist; `weir partition list` shows those that do",
                    path.display()
                ));
            }
        }
        return Ok(plan);
    }
    known(&args.brokers)?;
    let is_candidate = |id: i32| match args.brokers.is_empty() {
        true => !state.brokers[&id].is_fenced,
        false => args.brokers.contains(&id),
    };
    let rack = |id: &i32| state.brokers[id].rack.clone().filter(|_| !args.disable_rack_aware);
    let candidates: Vec<Candidate> = state
        .brokers
        .keys()
        .filter(|id| is_candidate(**id))
        .map(|id| Candidate { id: *id, rack: rack(id) })
        .collect();
    let keys: Vec<NamedPartition> = named(client, args).await?.into_iter().map(|p| p.key()).collect();
    let current: Vec<Vec<i32>> = keys.iter().map(|key| settled(state, key).unwrap_or_default()).collect();
    let new = plan::plan(&current, &candidates, args.replication_factor)?;
    Ok(keys.into_iter().zip(new).collect())
}

/// The brokers that get a replica which they do not have.
fn added(p: &PartitionState, new: &[i32]) -> Vec<i32> {
    new.iter().copied().filter(|id| !p.replicas.contains(id)).collect()
}

async fn show(
    client: &Client,
    state: &ClusterState,
    changed: &Assignment,
    partitions: usize,
) -> Result<Output, String> {
    let leaders: BTreeSet<(i32, NamedPartition)> = changed
        .iter()
        .filter_map(|(key, _)| Some((state.partition(&key.0, key.1)?.leader?, key.clone())))
        .collect();
    let sizes = cluster_state::replica_sizes(client, &leaders).await;
    let mut output = Output::new(&["topic", "partition", "replicas", "new_replicas", "copied_bytes"]);
    let mut total = 0;
    for (key, new) in changed {
        let Some(p) = state.partition(&key.0, key.1) else { continue };
        let size = p.leader.and_then(|leader| sizes.get(&(leader, key.clone()))).copied();
        let bytes = size.map(|size| size * added(p, new).len() as u64);
        total += bytes.unwrap_or(0);
        output.row(vec![
            key.0.as_str().into(),
            key.1.into(),
            p.replicas.clone().into(),
            new.clone().into(),
            bytes.into(),
        ]);
    }
    output.note(match changed.is_empty() {
        true => format!("all {partitions} partitions are where the plan wants them: there is nothing to move"),
        false => format!(
            "{} of {partitions} partitions would change, and {} be copied; nothing was changed, --execute does it",
            changed.len(),
            bytes_in_words(total)
        ),
    });
    Ok(output)
}

async fn execute(
    client: &Client,
    patience: Patience,
    args: &ReassignArgs,
    state: &ClusterState,
    changed: &Assignment,
) -> Result<Output, String> {
    let under_way = state.partitions.iter().filter(|p| !p.adding.is_empty() || !p.removing.is_empty());
    if let (false, Some(one)) = (args.additional, under_way.into_iter().next()) {
        return Err(format!(
            "other reassignments are under way ({one} is one): wait for them with `weir partition reassign --list --wait`, \
             or begin this one beside them with --additional"
        ));
    }
    let targets: Vec<(NamedPartition, Option<Vec<i32>>)> =
        changed.iter().map(|(key, new)| (key.clone(), Some(new.clone()))).collect();
    let refused = alter(client, &targets).await?;
    let begun: Assignment = changed.iter().filter(|(key, _)| !refused.contains_key(key)).cloned().collect();
    let mut output = match args.no_wait {
        true => follow::begun(state, &begun),
        false => follow::until_done(client, patience, state, &begun).await?,
    };
    if changed.is_empty() {
        output.note("every partition is where the plan wants it: there is nothing to move");
    }
    refused.into_values().for_each(|why| output.failure(why));
    Ok(output)
}

async fn cancel(client: &Client, state: &ClusterState, wanted: &[NamedPartition]) -> Result<Output, String> {
    let is_moving = |key: &&NamedPartition| {
        let p = state.partition(&key.0, key.1);
        p.is_some_and(|p| !p.adding.is_empty() || !p.removing.is_empty())
    };
    let targets: Vec<_> = wanted.iter().filter(is_moving).map(|key| (key.clone(), None)).collect();
    let refused = alter(client, &targets).await?;
    let mut output = Output::new(&["topic", "partition", "cancelled"]);
    for (key, _) in &targets {
        let is_cancelled = !refused.contains_key(key);
        output.row(vec![key.0.as_str().into(), key.1.into(), is_cancelled.into()]);
    }
    if targets.is_empty() {
        output.note("none of these partitions is being reassigned: there is nothing to take back");
    }
    refused.into_values().for_each(|why| output.failure(why));
    Ok(output)
}

/// Sets targets (None: takes them back). Returns what was refused, in sentences.
async fn alter(
    client: &Client,
    targets: &[(NamedPartition, Option<Vec<i32>>)],
) -> Result<BTreeMap<NamedPartition, String>, String> {
    if targets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut topics: BTreeMap<Str, Vec<ReassignablePartition>> = BTreeMap::new();
    for ((topic, index), replicas) in targets {
        let partition = ReassignablePartition {
            partition_index: *index,
            replicas: replicas.clone(),
            ..Default::default()
        };
        topics.entry(topic.clone()).or_default().push(partition);
    }
    let topic = |(name, partitions)| ReassignableTopic { name, partitions, ..Default::default() };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: client.timeout_ms(),
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let answer = client.cluster.call_any(&request, false).await.map_err(in_words)?;
    told("nothing was reassigned", answer.error_code, answer.error_message.as_ref())?;
    let mut refused = BTreeMap::new();
    for topic in answer.responses {
        for p in topic.partitions {
            // It came to its end before it could be taken back.
            let is_over = ErrorCode::from_code(p.error_code) == ErrorCode::NoReassignmentInProgress;
            let what = format!("partition {}-{}", topic.name, p.partition_index);
            if let (false, Err(why)) = (is_over, told(&what, p.error_code, p.error_message.as_ref())) {
                refused.insert((topic.name.clone(), p.partition_index), why);
            }
        }
    }
    Ok(refused)
}

/// A row of what moves.
fn row(key: &NamedPartition, replicas: &[i32], target: &[i32], state: &'static str) -> Vec<Value> {
    vec![key.0.as_str().into(), key.1.into(), replicas.to_vec().into(), target.to_vec().into(), state.into()]
}
