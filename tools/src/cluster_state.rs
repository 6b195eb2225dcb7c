//! Brokers, partitions and who is in sync: the cluster as one broker knows it at one moment.
//!
//! What other commands decide from it (is this partition in danger, is that broker back) is a pure function of it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::{
    DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest,
};
use protocol::{ErrorCode, Str};
use wire::client::NamedPartition;

use crate::client::{Client, in_words, told};

/// Kafka's `ConfigResource.Type.TOPIC`.
const TOPIC: i8 = 2;

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerState {
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
    /// It is not heard of, or was not yet.
    pub is_fenced: bool,
}

impl BrokerState {
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub topic: Str,
    pub index: i32,
    pub leader: Option<i32>,
    /// The preferred leader first.
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    /// `min.insync.replicas` of the topic.
    pub min_isr: usize,
    /// Of a reassignment, where it was asked for.
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

impl std::fmt::Display for PartitionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

impl PartitionState {
    pub fn key(&self) -> NamedPartition {
        (self.topic.clone(), self.index)
    }

    /// Replicas that were there before a reassignment began.
    fn settled_replicas(&self) -> usize {
        self.replicas.len().saturating_sub(self.adding.len())
    }

    /// How many must be in sync for a write with acks=all. A topic with fewer replicas than `min.insync.replicas` can
    /// still be written to: then all of them must be.
    pub fn in_sync_min(&self) -> usize {
        self.min_isr.min(self.settled_replicas()).max(1)
    }

    pub fn is_under_replicated(&self) -> bool {
        self.isr.len() < self.settled_replicas()
    }

    pub fn is_available(&self) -> bool {
        self.leader.is_some()
    }

    pub fn is_under_min_isr(&self) -> bool {
        !self.is_available() || self.isr.len() < self.in_sync_min()
    }

    pub fn is_at_min_isr(&self) -> bool {
        self.is_available() && self.isr.len() == self.in_sync_min()
    }

    /// The worst that can be said of it.
    pub fn word(&self) -> &'static str {
        match self {
            p if !p.is_available() => "unavailable",
            p if p.is_under_min_isr() => "under-min-isr",
            p if p.is_under_replicated() && p.is_at_min_isr() => "at-min-isr",
            p if p.is_under_replicated() => "under-replicated",
            _ => "in-sync",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// The fenced ones too.
    pub brokers: BTreeMap<i32, BrokerState>,
    /// By topic and index.
    pub partitions: Vec<PartitionState>,
}

impl ClusterState {
    /// All topics, or those that are named, which must exist. `of`: as this broker knows them; otherwise any.
    pub async fn read(
        client: &Client,
        names: Option<&[String]>,
        of: Option<i32>,
    ) -> Result<ClusterState, String> {
        let brokers = brokers(client).await?;
        let topics = match of {
            None => client.metadata(names).await?.topics,
            Some(id) => {
                client.metadata(Some(&[])).await?; // Where it is.
                let request = MetadataRequest {
                    topics: None,
                    allow_auto_topic_creation: false,
                    ..MetadataRequest::default()
                };
                client.call_broker(id, &request).await?.topics
            }
        };
        if names.is_some() {
            for topic in &topics {
                let name = topic.name.as_deref().unwrap_or_default();
                told(&format!("topic {name}"), topic.error_code, None)?;
            }
        }
        let min_isrs = min_isrs(client, topics.iter().filter_map(|t| t.name.clone()).collect()).await?;
        let mut partitions: Vec<PartitionState> =
            topics.iter().flat_map(|topic| partitions_of(topic, &min_isrs)).collect();
        partitions.sort_by(|a, b| (&a.topic, a.index).cmp(&(&b.topic, b.index)));
        Ok(ClusterState { brokers, partitions })
    }

    /// What is being reassigned, as the controller knows it.
    pub async fn add_reassignments(&mut self, client: &Client) -> Result<(), String> {
        let mut ongoing = reassignments(client).await?;
        for p in &mut self.partitions {
            if let Some(moving) = ongoing.remove(&p.key()) {
                (p.adding, p.removing) = (moving.adding_replicas, moving.removing_replicas);
                // Newer than what the broker knew.
                p.replicas = moving.replicas;
            }
        }
        Ok(())
    }

    pub fn partition(&self, topic: &str, index: i32) -> Option<&PartitionState> {
        let at = self.partitions.binary_search_by(|p| (p.topic.as_str(), p.index).cmp(&(topic, index)));
        at.ok().map(|at| &self.partitions[at])
    }

    /// The partitions that a broker has a replica of.
    pub fn replicas_of(&self, broker: i32) -> impl Iterator<Item = &PartitionState> {
        self.partitions.iter().filter(move |p| p.replicas.contains(&broker))
    }
}

fn partitions_of(topic: &MetadataResponseTopic, min_isrs: &BTreeMap<Str, usize>) -> Vec<PartitionState> {
    let name = topic.name.clone().unwrap_or_default();
    let min_isr = min_isrs.get(&name).copied().unwrap_or(1);
    let partition = |p: &protocol::messages::metadata_response::MetadataResponsePartition| PartitionState {
        topic: name.clone(),
        index: p.partition_index,
        leader: (p.leader_id >= 0).then_some(p.leader_id),
        replicas: p.replica_nodes.clone(),
        isr: p.isr_nodes.clone(),
        min_isr,
        adding: Vec::new(),
        removing: Vec::new(),
    };
    topic.partitions.iter().map(partition).collect()
}

/// Every broker that is registered.
pub async fn brokers(client: &Client) -> Result<BTreeMap<i32, BrokerState>, String> {
    let request = DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() };
    let answer = client.cluster.call_any(&request, true).await.map_err(in_words)?;
    told("the cluster", answer.error_code, answer.error_message.as_ref())?;
    let state = |b: &protocol::messages::describe_cluster_response::DescribeClusterBroker| BrokerState {
        host: b.host.to_string(),
        port: b.port,
        rack: b.rack.as_ref().map(Str::to_string),
        is_fenced: b.is_fenced,
    };
    Ok(answer.brokers.iter().map(|b| (b.broker_id, state(b))).collect())
}

/// What is being reassigned in the whole cluster.
pub async fn reassignments(
    client: &Client,
) -> Result<BTreeMap<NamedPartition, OngoingPartitionReassignment>, String> {
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: client.timeout_ms(),
        topics: None,
        ..Default::default()
    };
    let answer = client.cluster.call_any(&request, true).await.map_err(in_words)?;
    told("the reassignments", answer.error_code, answer.error_message.as_ref())?;
    let named =
        |topic: protocol::messages::list_partition_reassignments_response::OngoingTopicReassignment| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |p| ((name.clone(), p.partition_index), p))
        };
    Ok(answer.topics.into_iter().flat_map(named).collect())
}

/// `min.insync.replicas` by topic. A topic that was deleted meanwhile is not in it.
async fn min_isrs(client: &Client, topics: Vec<Str>) -> Result<BTreeMap<Str, usize>, String> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let resource = |name: Str| DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: name,
        configuration_keys: Some(vec![Str::from_static("min.insync.replicas")]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: topics.into_iter().map(resource).collect(),
        ..Default::default()
    };
    let answer = client.cluster.call_any(&request, true).await.map_err(in_words)?;
    let mut found = BTreeMap::new();
    for result in answer.results {
        let value = result.configs.first().and_then(|c| c.value.as_ref()?.parse::<usize>().ok());
        if let Some(value) = value {
            found.insert(result.resource_name, value);
        } else if ErrorCode::from_code(result.error_code) != ErrorCode::UnknownTopicOrPartition {
            let what = format!("min.insync.replicas of topic {}", result.resource_name);
            told(&what, result.error_code, result.error_message.as_ref())?;
        }
    }
    Ok(found)
}

/// How large replicas are, by broker and partition. What a broker does not tell, since it is down or has none yet, is absent.
pub async fn replica_sizes(
    client: &Client,
    wanted: &BTreeSet<(i32, NamedPartition)>,
) -> BTreeMap<(i32, NamedPartition), u64> {
    let mut by_broker: BTreeMap<i32, BTreeMap<Str, Vec<i32>>> = BTreeMap::new();
    for (broker, (topic, index)) in wanted {
        by_broker.entry(*broker).or_default().entry(topic.clone()).or_default().push(*index);
    }
    let mut sizes = BTreeMap::new();
    for (broker, topics) in by_broker {
        let topic = |(topic, partitions)| DescribableLogDirTopic { topic, partitions, ..Default::default() };
        let topics = Some(topics.into_iter().map(topic).collect());
        let request = DescribeLogDirsRequest { topics, ..Default::default() };
        // A broker that is down has copied nothing.
        let Ok(answer) = client.call_broker(broker, &request).await else { continue };
        for topic in answer.results.iter().flat_map(|dir| &dir.topics) {
            for p in topic.partitions.iter().filter(|p| !p.is_future_key) {
                let key = (broker, (topic.name.clone(), p.partition_index));
                sizes.insert(key, u64::try_from(p.partition_size).unwrap_or(0));
            }
        }
    }
    sizes
}

/// How many bytes followers have of how many, each measured against its leader. Replicas are told as broker and partition.
pub async fn copied_bytes(
    client: &Client,
    followers: &BTreeSet<(i32, NamedPartition)>,
    leaders: &BTreeMap<NamedPartition, i32>,
) -> (u64, u64) {
    let led = followers.iter().filter_map(|(_, key)| Some((*leaders.get(key)?, key.clone())));
    let wanted = led.chain(followers.iter().cloned()).collect();
    let sizes = replica_sizes(client, &wanted).await;
    let mut sum = (0, 0);
    for follower in followers {
        let leader = leaders.get(&follower.1).map(|leader| (*leader, follower.1.clone()));
        let whole = leader.and_then(|leader| sizes.get(&leader)).copied().unwrap_or(0);
        let own = sizes.get(follower).copied().unwrap_or(0);
        sum = (sum.0 + own.min(whole), sum.1 + whole);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(replicas: &[i32], isr: &[i32], min_isr: usize) -> PartitionState {
        PartitionState {
            topic: Str::from_static("t"),
            leader: isr.first().copied(),
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            min_isr,
            ..Default::default()
        }
    }

    #[test]
    fn a_partition_is_called_by_the_worst_of_its_states() {
        assert_eq!(partition(&[1, 2, 3], &[1, 2, 3], 2).word(), "in-sync");
        assert_eq!(partition(&[1, 2, 3, 4], &[1, 2, 3], 2).word(), "under-replicated");
        assert_eq!(partition(&[1, 2, 3], &[1, 2], 2).word(), "at-min-isr");
        assert_eq!(partition(&[1, 2, 3], &[1], 2).word(), "under-min-isr");
        assert_eq!(partition(&[1, 2, 3], &[], 2).word(), "unavailable");
    }

    #[test]
    fn fewer_replicas_than_min_insync_are_enough_when_all_are_in_sync() {
        let alone = partition(&[1], &[1], 2);
        assert!(alone.is_at_min_isr() && !alone.is_under_min_isr());
        assert_eq!(alone.word(), "in-sync");
    }

    #[test]
    fn a_replica_that_is_being_added_is_not_missed_yet() {
        let moving = PartitionState { adding: vec![4], ..partition(&[4, 1, 2], &[1, 2], 2) };
        assert!(!moving.is_under_replicated());
        assert!(PartitionState { adding: Vec::new(), ..moving }.is_under_replicated());
    }
}
