//! The nodes of a cluster: in which order they are restarted, and what stands against stopping one.
//!
//! ```text
//!  1. what is down           it endangers nothing any more
//!  2. controllers            before brokers: a newer broker may ask what an older controller does not know
//!     the active one last    it moves once, to a node that is restarted already
//!  3. brokers
//! ```
//! A combined node is a controller here.

use std::collections::BTreeMap;

use protocol::messages::DescribeQuorumResponse;

use super::super::ask_quorum;
use crate::client::Client;
use crate::cluster_state::{BrokerState, ClusterState, PartitionState};
use crate::commands::broker::wait::name_some;

/// A voter whose log was whole so short a time ago has it.
const CAUGHT_UP_WITHIN_MS: i64 = 10_000;

/// A process of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterNode {
    pub id: i32,
    pub is_broker: bool,
    pub voter: Option<Voter>,
    pub is_up: bool,
    /// Where it is asked whether it is there: as a broker if it is one.
    pub host: String,
    pub port: i32,
}

/// What the active controller says of a voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Voter {
    pub is_active: bool,
    /// It has the metadata log as far as a majority has it.
    pub is_caught_up: bool,
}

impl ClusterNode {
    pub(super) fn roles(&self) -> Vec<&'static str> {
        let controller = self.voter.map(|v| if v.is_active { "active controller" } else { "controller" });
        self.is_broker.then_some("broker").into_iter().chain(controller).collect()
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn turn(&self) -> (bool, bool, bool, i32) {
        let is_active = self.voter.is_some_and(|v| v.is_active);
        (self.is_up, self.voter.is_none(), is_active, self.id)
    }
}

impl std::fmt::Display for ClusterNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} ({}, {})", self.id, self.roles().join(" and "), self.address())
    }
}

/// Every node, in the order in which they are restarted.
pub(super) async fn read(
    client: &Client,
    brokers: &BTreeMap<i32, BrokerState>,
) -> Result<Vec<ClusterNode>, String> {
    let mut nodes = of(brokers, &ask_quorum(client).await?);
    for node in nodes.iter_mut().filter(|node| !node.is_broker && !node.host.is_empty()) {
        // Nobody else tells whether a controller lives.
        node.is_up = client.node(&node.address()).session().await.is_ok();
    }
    nodes.sort_by_key(ClusterNode::turn);
    Ok(nodes)
}

/// Brokers and voters by their ids.
fn of(brokers: &BTreeMap<i32, BrokerState>, quorum: &DescribeQuorumResponse) -> Vec<ClusterNode> {
    let broker = |(id, b): (&i32, &BrokerState)| ClusterNode {
        id: *id,
        is_broker: true,
        is_up: !b.is_fenced,
        host: b.host.clone(),
        port: b.port,
        voter: None,
    };
    let mut nodes: BTreeMap<i32, ClusterNode> = brokers.iter().map(|b| (*b.0, broker(b))).collect();
    let Some(log) = quorum.topics.iter().flat_map(|t| &t.partitions).next() else {
        return nodes.into_values().collect();
    };
    // By the active controller's own clock.
    let now = log.current_voters.iter().map(|v| v.last_caught_up_timestamp).max().unwrap_or(-1);
    for v in &log.current_voters {
        let listener =
            quorum.nodes.iter().find(|n| n.node_id == v.replica_id).and_then(|n| n.listeners.first());
        let node = nodes.entry(v.replica_id).or_insert_with(|| ClusterNode {
            id: v.replica_id,
            host: listener.map(|l| l.host.to_string()).unwrap_or_default(),
            port: listener.map_or(0, |l| i32::from(l.port)),
            ..Default::default()
        });
        let was = v.last_caught_up_timestamp;
        let is_caught_up =
            v.log_end_offset >= log.high_watermark || was >= 0 && now - was <= CAUGHT_UP_WITHIN_MS;
        node.voter = Some(Voter { is_active: v.replica_id == log.leader_id, is_caught_up });
    }
    nodes.into_values().collect()
}

/// Why a node must not be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Danger {
    /// These partitions would have fewer in sync than `min.insync.replicas`, until others have caught up.
    Isr(Vec<String>),
    /// These have only as many replicas as must be in sync.
    Replicas { partitions: Vec<String>, topic: String },
    /// Fewer than a majority of the voters would be left; these are not there.
    Quorum(Vec<i32>),
}

impl Danger {
    /// It passes when others have caught up.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Danger::Replicas { .. })
    }
}

impl std::fmt::Display for Danger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Danger::Isr(partitions) => write!(
                f,
                "{} would have fewer replicas in sync than min.insync.replicas; `weir partition list --under-replicated` \
                 shows which are missing",
                name_some(partitions.iter().cloned())
            ),
            Danger::Replicas { partitions, topic } => write!(
                f,
                "{} have no more replicas than must be in sync; `weir partition reassign {topic} --replication-factor N \
                 --execute` gives them more, --force goes on without them for a moment",
                name_some(partitions.iter().cloned())
            ),
            Danger::Quorum(missing) => write!(
                f,
                "no majority of the controllers would be left, since these are down or behind: {}; `weir cluster quorum` \
                 shows them",
                name_some(missing.iter().map(i32::to_string))
            ),
        }
    }
}

/// All that stands against stopping a node now.
pub(super) fn dangers(nodes: &[ClusterNode], state: &ClusterState, id: i32) -> Vec<Danger> {
    let mut dangers = Vec::new();
    let is_endangered = |p: &&PartitionState| p.isr.contains(&id) && p.isr.len() <= p.in_sync_min();
    let (hopeless, passing): (Vec<&PartitionState>, Vec<&PartitionState>) =
        state.partitions.iter().filter(is_endangered).partition(|p| p.replicas.len() <= p.in_sync_min());
    let names = |all: &[&PartitionState]| all.iter().map(ToString::to_string).collect();
    if let Some(first) = hopeless.first() {
        dangers.push(Danger::Replicas { partitions: names(&hopeless), topic: first.topic.to_string() });
    }
    if !passing.is_empty() {
        dangers.push(Danger::Isr(names(&passing)));
    }
    dangers.extend(quorum_danger(nodes, id));
    dangers
}

/// One or two voters have no majority to spare: their quorum stops for as long as one of them is away, whatever the order.
fn quorum_danger(nodes: &[ClusterNode], id: i32) -> Option<Danger> {
    let voters: Vec<&ClusterNode> = nodes.iter().filter(|node| node.voter.is_some()).collect();
    if voters.len() < 3 || !voters.iter().any(|node| node.id == id) {
        return None;
    }
    let is_there = |node: &&&ClusterNode| node.is_up && node.voter.is_some_and(|v| v.is_caught_up);
    let others: Vec<&ClusterNode> = voters.iter().copied().filter(|node| node.id != id).collect();
    let there = others.iter().filter(is_there).count();
    let missing = others.iter().filter(|node| !is_there(node)).map(|node| node.id).collect();
    (there < voters.len() / 2 + 1).then_some(Danger::Quorum(missing))
}

#[cfg(test)]
mod tests {
    use protocol::Str;

    use super::*;

    fn node(id: i32, is_broker: bool, voter: Option<bool>) -> ClusterNode {
        let voter = voter.map(|is_active| Voter { is_active, is_caught_up: true });
        ClusterNode { id, is_broker, voter, is_up: true, host: format!("h{id}"), port: 9092 }
    }

    fn order(mut nodes: Vec<ClusterNode>) -> Vec<i32> {
        nodes.sort_by_key(ClusterNode::turn);
        nodes.into_iter().map(|node| node.id).collect()
    }

    #[test]
    fn controllers_come_before_brokers_and_the_active_one_last_of_them() {
        let voter = |id, is_active| node(id, false, Some(is_active));
        let apart =
            vec![voter(1, true), voter(2, false), voter(3, false), node(4, true, None), node(5, true, None)];
        assert_eq!(order(apart), [2, 3, 1, 4, 5]);
        let combined = |id, is_active| node(id, true, Some(is_active));
        let mixed = vec![combined(1, false), combined(2, true), combined(3, false), node(4, true, None)];
        assert_eq!(order(mixed), [1, 3, 2, 4]);
    }

    #[test]
    fn what_is_down_is_restarted_first() {
        let down = ClusterNode { is_up: false, ..node(3, true, None) };
        assert_eq!(order(vec![node(1, true, Some(true)), node(2, true, None), down]), [3, 1, 2]);
    }

    fn partition(index: i32, replicas: &[i32], isr: &[i32], min_isr: usize) -> PartitionState {
        PartitionState {
            topic: Str::from_static("t"),
            index,
            leader: isr.first().copied(),
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            min_isr,
            ..Default::default()
        }
    }

    fn state(partitions: Vec<PartitionState>) -> ClusterState {
        ClusterState { partitions, ..Default::default() }
    }

    #[test]
    fn a_node_is_not_stopped_when_a_partition_would_fall_below_min_insync_replicas() {
        let state = state(vec![
            partition(0, &[1, 2, 3], &[1, 2, 3], 2),
            partition(1, &[1, 2, 3], &[1, 2], 2),
            partition(2, &[2, 3, 4], &[2, 3], 2),
        ]);
        assert_eq!(dangers(&[], &state, 1), [Danger::Isr(vec!["t-1".to_owned()])]);
        assert_eq!(dangers(&[], &state, 2), [Danger::Isr(vec!["t-1".to_owned(), "t-2".to_owned()])]);
        assert_eq!(dangers(&[], &state, 4), [], "it is in no ISR");
        let said = dangers(&[], &state, 1)[0].to_string();
        assert!(said.contains("t-1") && said.contains("weir partition list"), "{said}");
    }

    #[test]
    fn partitions_without_a_replica_to_spare_are_told_apart() {
        let state = state(vec![partition(0, &[1], &[1], 2), partition(1, &[1, 2], &[1, 2], 2)]);
        let found = dangers(&[], &state, 1);
        let expected =
            Danger::Replicas { partitions: vec!["t-0".to_owned(), "t-1".to_owned()], topic: "t".to_owned() };
        assert!(found == [expected] && !found[0].may_pass(), "{found:?}");
        assert!(found[0].to_string().contains("--replication-factor"), "{}", found[0]);
    }

    #[test]
    fn a_majority_of_the_controllers_stays() {
        let mut nodes: Vec<ClusterNode> = (1..=3).map(|id| node(id, false, Some(id == 1))).collect();
        let nothing = ClusterState::default();
        assert_eq!(dangers(&nodes, &nothing, 2), []);
        nodes[2].is_up = false;
        assert_eq!(dangers(&nodes, &nothing, 2), [Danger::Quorum(vec![3])]);
        assert_eq!(dangers(&nodes, &nothing, 3), [], "it is down already");
        nodes[2] = ClusterNode { voter: Some(Voter::default()), ..node(3, false, None) };
        assert_eq!(dangers(&nodes, &nothing, 1), [Danger::Quorum(vec![3])], "it is behind");
        nodes.push(node(4, true, None));
        assert_eq!(dangers(&nodes, &nothing, 4), [], "a broker is none of the quorum");
        assert_eq!(dangers(&nodes[..1], &nothing, 1), [], "a sole controller has no majority to spare");
    }
}
