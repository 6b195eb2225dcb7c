//! `weir broker wait`: until a broker is registered, not fenced, and in the ISR of every partition that it has a replica of.
//!
//! The broker itself is asked for its partitions: another one may still know the ISRs from before it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::Instant;
use wire::client::NamedPartition;

use crate::client::Client;
use crate::cluster_state::{self, ClusterState, PartitionState};
use crate::patience::Deadline;
use crate::progress::{Progress, bytes_in_words};

/// Bytes are asked of many brokers, and only a person looks at them.
const BYTES_EVERY: Duration = Duration::from_secs(1);
/// So many partitions are named in a sentence.
const NAMED_MAX: usize = 3;

/// What a broker still lacks.
#[derive(Debug)]
enum Lacks {
    /// The cluster, or the broker, does not answer.
    Answer(String),
    Registration,
    Unfencing,
    /// Replicas that are not in sync, of so many.
    Sync {
        out: Vec<PartitionState>,
        replicas: usize,
    },
}

/// Waits; returns how many replicas the broker has, all in sync.
pub async fn until_in_sync(
    client: &Client,
    id: i32,
    deadline: &Deadline,
    progress: &mut Progress,
) -> Result<usize, String> {
    let clock = client.host.clock();
    let mut behind = Behind { next: clock.now(), shown: String::new() };
    loop {
        let begun = clock.now();
        let lacks = match look(client, id).await {
            Ok(replicas) => return Ok(replicas),
            Err(lacks) => lacks,
        };
        match &lacks {
            Lacks::Sync { out, replicas } => {
                let detail = behind.told(client, id, out).await;
                progress.set((replicas - out.len()) as u64, *replicas as u64, detail);
            }
            Lacks::Answer(_) => progress.set(0, 0, "it does not answer yet"),
            Lacks::Registration => progress.set(0, 0, "it is not registered yet"),
            Lacks::Unfencing => progress.set(0, 0, "it is fenced"),
        }
        if !deadline.pause(clock, clock.now() - begun).await {
            return Err(in_a_sentence(id, &lacks, deadline.limit, &behind.shown));
        }
    }
}

async fn look(client: &Client, id: i32) -> Result<usize, Lacks> {
    let brokers = cluster_state::brokers(client).await.map_err(Lacks::Answer)?;
    match brokers.get(&id) {
        None => return Err(Lacks::Registration),
        Some(broker) if broker.is_fenced => return Err(Lacks::Unfencing),
        Some(_) => {}
    }
    let state = ClusterState::read(client, None, Some(id)).await.map_err(Lacks::Answer)?;
    let replicas = state.replicas_of(id).count();
    let out: Vec<PartitionState> = state.replicas_of(id).filter(|p| !p.isr.contains(&id)).cloned().collect();
    if out.is_empty() { Ok(replicas) } else { Err(Lacks::Sync { out, replicas }) }
}

/// How far it is behind, asked now and then.
struct Behind {
    next: Instant,
    shown: String,
}

impl Behind {
    async fn told(&mut self, client: &Client, id: i32, out: &[PartitionState]) -> String {
        if client.host.clock().now() >= self.next {
            let followers: BTreeSet<(i32, NamedPartition)> = out.iter().map(|p| (id, p.key())).collect();
            let leaders: BTreeMap<NamedPartition, i32> =
                out.iter().filter_map(|p| Some((p.key(), p.leader?))).collect();
            let (has, of) = cluster_state::copied_bytes(client, &followers, &leaders).await;
            self.shown = match of - has {
                0 => String::new(),
                behind => format!("{} behind", bytes_in_words(behind)),
            };
            self.next = client.host.clock().now() + BYTES_EVERY;
        }
        self.shown.clone()
    }
}

fn in_a_sentence(id: i32, lacks: &Lacks, limit: Duration, behind: &str) -> String {
    let seconds = limit.as_secs();
    match lacks {
        Lacks::Answer(why) => format!("broker {id} was not seen to be back within {seconds} s: {why}"),
        Lacks::Registration => format!(
            "broker {id} is not registered after {seconds} s: is its process running, with node.id={id}, and what does its \
             log say?"
        ),
        Lacks::Unfencing => format!(
            "broker {id} is registered but still fenced after {seconds} s: it is down, or reads its logs; its log says \
             which, and --timeout gives it longer"
        ),
        Lacks::Sync { out, replicas } => {
            let named = name_some(out.iter().map(ToString::to_string));
            let behind = if behind.is_empty() { String::new() } else { format!(", {behind}") };
            format!(
                "broker {id} is up, but {} of its {replicas} replicas are not in sync after {seconds} s ({named}{behind}): \
                 --timeout gives it longer, and `weir partition list --under-replicated` shows them",
                out.len()
            )
        }
    }
}

/// The first few, and how many there are besides.
pub fn name_some(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED_MAX);
    let first = all.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

#[cfg(test)]
mod tests {
    use protocol::Str;

    use super::*;

    #[test]
    fn whoever_waits_in_vain_is_told_what_is_missing() {
        let limit = Duration::from_secs(9);
        let out =
            (0..5).map(|index| PartitionState { topic: Str::from_static("t"), index, ..Default::default() });
        let lacks = Lacks::Sync { out: out.collect(), replicas: 7 };
        let said = in_a_sentence(2, &lacks, limit, "1.5 MB behind");
        assert!(said.contains("5 of its 7 replicas"), "{said}");
        assert!(said.contains("(t-0, t-1, t-2 and 2 more, 1.5 MB behind)"), "{said}");
        assert!(in_a_sentence(2, &Lacks::Registration, limit, "").contains("not registered after 9 s"));
        assert!(in_a_sentence(2, &Lacks::Unfencing, limit, "").contains("fenced after 9 s"));
        let said = in_a_sentence(2, &Lacks::Answer("no route".to_owned()), limit, "");
        assert!(said.ends_with("no route"), "{said}");
    }
}
