//! `weir group reset-offsets`: where the offsets would go, and with `--execute` the move.
//!
//! What no record has is not committed: an offset before the beginning becomes the beginning, one behind the end the end.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Str, Uuid};
use wire::client::NamedPartition;

use super::{describe, every_name, offsets};
use crate::cli::ResetArgs;
use crate::client::{Client, in_words, topic_and_partitions};
use crate::commands::topic::{EARLIEST, LATEST};
use crate::moment;
use crate::output::Output;
use crate::progress::Progress;

/// Where the offsets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Shift(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

impl Place {
    fn of(args: &ResetArgs, now_ms: i64) -> Result<Place, String> {
        Ok(match args {
            ResetArgs { to_earliest: true, .. } => Place::Earliest,
            ResetArgs { to_latest: true, .. } => Place::Latest,
            ResetArgs { to_offset: Some(offset), .. } => Place::Offset(*offset),
            ResetArgs { shift_by: Some(count), .. } => Place::Shift(*count),
            ResetArgs { to_datetime: Some(text), .. } => Place::Time(moment::time_ms(text)?),
            ResetArgs { by_duration: Some(text), .. } => {
                Place::Time(now_ms.saturating_sub(moment::duration_ms(text)?))
            }
            _ => Place::Current,
        })
    }
}

/// Shows, and with `execute` moves, the offsets of the groups that are named.
pub(super) async fn run(client: &Client, args: ResetArgs) -> Result<Output, String> {
    let place = Place::of(&args, client.host.clock().wall_ms())?;
    let names = if args.all_groups { every_name(client).await? } else { args.names.clone() };
    let topic_names = client.topic_names().await?;
    let mut output = Output::new(&["group", "topic", "partition", "current_offset", "new_offset"]);
    let clock = client.host.clock();
    let mut progress = Progress::new(clock, "groups", Some(names.len() as u64));
    for name in &names {
        let moved = one_group(client, name, place, &args, &topic_names).await;
        progress.add(1);
        match moved {
            Ok(moved) => {
                for (key, (current, new)) in moved {
                    let row = [
                        name.as_str().into(),
                        key.0.as_str().into(),
                        key.1.into(),
                        current.into(),
                        new.into(),
                    ];
                    output.row(row.to_vec());
                }
            }
            Err(why) => output.failure(why),
        }
    }
    if !args.execute {
        output.note("nothing was changed; --execute does it");
    }
    Ok(output)
}

type Moved = BTreeMap<NamedPartition, (Option<i64>, i64)>;

async fn one_group(
    client: &Client,
    name: &str,
    place: Place,
    args: &ResetArgs,
    topic_names: &BTreeMap<Uuid, Str>,
) -> Result<Moved, String> {
    refuse_members(client, name).await?;
    let committed = offsets::committed(client, name, topic_names).await?;
    let wanted = partitions(client, args, &committed).await?;
    let moved = new_offsets(client, place, &wanted, &committed).await?;
    if args.execute && !moved.is_empty() {
        let offsets = moved.iter().map(|(key, (_, new))| (key.clone(), *new)).collect();
        offsets::commit(client, name, &offsets, topic_names).await?;
    }
    Ok(moved)
}

/// A group that nobody knows yet may get offsets: that is how they are put before its first member comes.
async fn refuse_members(client: &Client, name: &str) -> Result<(), String> {
    match describe::describe(client, name).await? {
        Some(group) if !group.members.is_empty() => Err(format!(
            "the offsets of group {name} cannot be moved while it has members ({}, state {}): stop them first; \
             `weir group describe {name} --members` shows them",
            group.members.len(),
            group.state
        )),
        _ => Ok(()),
    }
}

async fn partitions(
    client: &Client,
    args: &ResetArgs,
    committed: &BTreeMap<NamedPartition, i64>,
) -> Result<BTreeSet<NamedPartition>, String> {
    if args.all_topics {
        return Ok(committed.keys().cloned().collect());
    }
    let mut wanted = BTreeSet::new();
    for text in &args.topics {
        let (topic, partitions) = topic_and_partitions(text)?;
        let there = client.topic(&topic).await?.partitions;
        let there: BTreeSet<i32> = there.iter().map(|p| p.partition_index).collect();
        let partitions = partitions.unwrap_or_else(|| there.iter().copied().collect());
        if let Some(absent) = partitions.iter().find(|p| !there.contains(p)) {
            return Err(format!(
                "topic {topic} has no partition {absent}; `weir topic describe {topic}` shows them"
            ));
        }
        wanted.extend(partitions.into_iter().map(|p| (Str::from(topic.as_str()), p)));
    }
    Ok(wanted)
}

async fn new_offsets(
    client: &Client,
    place: Place,
    wanted: &BTreeSet<NamedPartition>,
    committed: &BTreeMap<NamedPartition, i64>,
) -> Result<Moved, String> {
    let begins = at(client, wanted, EARLIEST).await?;
    let ends = at(client, wanted, LATEST).await?;
    let by_time = match place {
        Place::Time(ms) => at(client, wanted, ms.max(0)).await?,
        _ => BTreeMap::new(),
    };
    let mut moved = BTreeMap::new();
    for key in wanted {
        let (begin, end) = (begins[key], ends[key]);
        let current = committed.get(key).copied();
        let new = match place {
            Place::Earliest => begin,
            Place::Latest => end,
            Place::Current => current.unwrap_or(end),
            Place::Offset(offset) => offset,
            Place::Shift(count) => {
                let none =
                    || format!("{}-{} has no committed offset to shift; --to-offset sets one", key.0, key.1);
                current.ok_or_else(none)?.saturating_add(count)
            }
            // No record is that late.
            Place::Time(_) => by_time.get(key).copied().filter(|offset| *offset >= 0).unwrap_or(end),
        };
        moved.insert(key.clone(), (current, new.clamp(begin, end.max(begin))));
    }
    Ok(moved)
}

async fn at(
    client: &Client,
    wanted: &BTreeSet<NamedPartition>,
    timestamp: i64,
) -> Result<BTreeMap<NamedPartition, i64>, String> {
    let found = client.cluster.offsets_for(wanted.iter().cloned(), timestamp).await;
    found.into_iter().map(|(key, offset)| Ok((key, offset.map_err(in_words)?))).collect()
}
