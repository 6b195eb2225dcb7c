//! Reassignments that are under way: how far they are, and until they are done.
//!
//! The controller tells which partitions still move; the bytes are those of the new replicas beside their leaders'.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::client::NamedPartition;

use super::file::Assignment;
use super::row;
use crate::client::Client;
use crate::cluster_state::{self, ClusterState, PartitionState};
use crate::output::Output;
use crate::patience::Patience;
use crate::progress::Progress;

/// A broker's metadata are so far behind the controller's at most, or something else is wrong.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// A cluster that does not answer for so long is not followed any more; what was begun goes on.
const SILENT_MAX: Duration = Duration::from_secs(30);

const COLUMNS: &[&str] = &["topic", "partition", "replicas", "new_replicas", "state"];
const DONE: &str = "done";
const MOVING: &str = "moving";
const OTHERWISE: &str = "not as planned";

/// What has just begun, without waiting for it.
pub(super) fn begun(state: &ClusterState, begun: &Assignment) -> Output {
    let mut output = Output::new(COLUMNS);
    for (key, target) in begun {
        let before = state.partition(&key.0, key.1).map(|p| p.replicas.clone()).unwrap_or_default();
        output.row(row(key, &before, target, MOVING));
    }
    if !begun.is_empty() {
        output.note("`weir partition reassign --list` shows how far it is, with --wait until it is done");
    }
    output
}

/// Waits until partitions have come where they shall be. `before`: how they were when that began.
pub(super) async fn until_done(
    client: &Client,
    patience: Patience,
    before: &ClusterState,
    targets: &Assignment,
) -> Result<Output, String> {
    let clock = client.host.clock();
    let deadline = patience.deadline_if_asked(clock.now());
    let mut progress = Progress::new(clock, "bytes copied", None);
    let added = |(key, target): &(NamedPartition, Vec<i32>)| {
        let settled: Vec<i32> = before.partition(&key.0, key.1).map(stays).unwrap_or_default();
        let key = key.clone();
        target.clone().into_iter().filter(move |id| !settled.contains(id)).map(move |id| (id, key.clone()))
    };
    let followers: BTreeSet<(i32, NamedPartition)> = targets.iter().flat_map(added).collect();
    let mut is_in_time = true;
    let mut answered = clock.now();
    let still = loop {
        let looked = clock.now();
        match look(client, targets, &followers).await {
            Ok((still, _)) if still.is_empty() || !is_in_time => break still,
            Ok((still, (has, of))) => {
                answered = clock.now();
                let done = targets.len() - still.len();
                progress.set(has, of, format!("{done} of {} partitions done", targets.len()));
            }
            Err(why) if !is_in_time || clock.now() - answered > SILENT_MAX => return Err(why),
            // A broker restarts, or another controller takes over.
            Err(_) => {}
        }
        // Whatever became of it in the last wait is told too.
        is_in_time = deadline.pause(clock, clock.now() - looked).await;
    };
    drop(progress);
    let now = seen(client, targets, &still).await?;
    let mut output = Output::new(COLUMNS);
    for (key, target) in targets {
        output.row(row_of(before, &now, key, target, still.contains(key)));
        refuse_otherwise(&mut output, &now, key, target, still.contains(key));
    }
    if !still.is_empty() {
        output.failure(format!(
            "{} of {} partitions still move after {} s: the cluster goes on by itself, and `weir partition reassign --list \
             --wait` follows it",
            still.len(),
            targets.len(),
            deadline.limit.as_secs()
        ));
    }
    Ok(output)
}

/// The partitions that still move, and how many bytes of how many their new replicas have.
async fn look(
    client: &Client,
    targets: &Assignment,
    followers: &BTreeSet<(i32, NamedPartition)>,
) -> Result<(BTreeSet<NamedPartition>, (u64, u64)), String> {
    let ongoing = cluster_state::reassignments(client).await?;
    let keys = targets.iter().map(|(key, _)| key);
    let still: BTreeSet<NamedPartition> = keys.filter(|key| ongoing.contains_key(*key)).cloned().collect();
    if still.is_empty() {
        return Ok((still, (0, 0)));
    }
    let leaders = leaders(client, targets).await?;
    Ok((still, cluster_state::copied_bytes(client, followers, &leaders).await))
}

/// The replicas that were there before.
fn stays(p: &PartitionState) -> Vec<i32> {
    p.replicas.iter().copied().filter(|id| !p.adding.contains(id)).collect()
}

/// The replicas that it will have.
fn target(p: &PartitionState) -> Vec<i32> {
    p.replicas.iter().copied().filter(|id| !p.removing.contains(id)).collect()
}

/// What is under way, of everything or of some partitions; with a plan, what of it is done too.
pub(super) async fn moving(
    client: &Client,
    patience: Patience,
    state: &ClusterState,
    wanted: Option<(Vec<NamedPartition>, Option<Assignment>)>,
    wait: bool,
) -> Result<Output, String> {
    let (keys, plan) = match wanted {
        Some((keys, plan)) => (Some(keys.into_iter().collect::<BTreeSet<_>>()), plan),
        None => (None, None),
    };
    let under_way: Assignment = state
        .partitions
        .iter()
        .filter(|p| !p.adding.is_empty() || !p.removing.is_empty())
        .filter(|p| keys.as_ref().is_none_or(|keys| keys.contains(&p.key())))
        .map(|p| (p.key(), target(p)))
        .collect();
    if wait {
        let ended = until_done(client, patience, state, &under_way).await?;
        if plan.is_none() || ended.failed().is_err() {
            return Ok(ended);
        }
    }
    let targets = plan.as_ref().unwrap_or(&under_way);
    let still: BTreeSet<NamedPartition> = match wait {
        true => BTreeSet::new(),
        false => under_way.iter().map(|(key, _)| key.clone()).collect(),
    };
    let now = seen(client, targets, &still).await?;
    let mut output = Output::new(COLUMNS);
    for (key, target) in targets {
        output.row(row_of(state, &now, key, target, still.contains(key)));
        refuse_otherwise(&mut output, &now, key, target, still.contains(key));
    }
    if targets.is_empty() {
        output.note("nothing is being reassigned");
    }
    Ok(output)
}

fn row_of(
    before: &ClusterState,
    now: &ClusterState,
    key: &NamedPartition,
    target: &[i32],
    is_moving: bool,
) -> Vec<serde_json::Value> {
    let replicas = before.partition(&key.0, key.1).map(stays).unwrap_or_default();
    let word = match now.partition(&key.0, key.1) {
        _ if is_moving => MOVING,
        Some(p) if p.replicas == target => DONE,
        _ => OTHERWISE,
    };
    row(key, &replicas, target, word)
}

/// Neither where it shall be nor on its way there.
fn refuse_otherwise(
    output: &mut Output,
    now: &ClusterState,
    key: &NamedPartition,
    target: &[i32],
    is_moving: bool,
) {
    let replicas = now.partition(&key.0, key.1).map(|p| p.replicas.clone()).unwrap_or_default();
    if !is_moving && replicas != target {
        output.failure(format!(
            "partition {}-{} is on brokers {replicas:?} and not on {target:?}, and does not move: the plan was not executed, \
             or cancelled, or another one came after it",
            key.0, key.1
        ));
    }
}

async fn leaders(client: &Client, targets: &Assignment) -> Result<BTreeMap<NamedPartition, i32>, String> {
    let state = read(client, targets).await?;
    Ok(state.partitions.iter().filter_map(|p| Some((p.key(), p.leader?))).collect())
}

async fn read(client: &Client, targets: &Assignment) -> Result<ClusterState, String> {
    let names: BTreeSet<String> = targets.iter().map(|(key, _)| key.0.to_string()).collect();
    ClusterState::read(client, Some(&names.into_iter().collect::<Vec<_>>()), None).await
}

/// The partitions as a broker knows them, after a moment if it is behind the controller.
async fn seen(
    client: &Client,
    targets: &Assignment,
    still: &BTreeSet<NamedPartition>,
) -> Result<ClusterState, String> {
    let clock = client.host.clock();
    let deadline = Patience { asked: Some(SEEN_WITHIN) }.deadline(clock.now());
    loop {
        let looked = clock.now();
        let state = read(client, targets).await?;
        let is_there = |(key, target): &(NamedPartition, Vec<i32>)| {
            still.contains(key) || state.partition(&key.0, key.1).is_some_and(|p| p.replicas == *target)
        };
        if targets.iter().all(is_there) || !deadline.pause(clock, clock.now() - looked).await {
            return Ok(state);
        }
    }
}
