//! Groups in three views: offsets with their lag, members, state.
//!
//! A group is asked for by KIP-848's request first, and by the older one when it is of the classic kind.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::consumer_group_describe_response::{self as consumer, Assignment};
use protocol::messages::describe_groups_response as classic;
use protocol::messages::{ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeGroupsRequest};
use protocol::{ErrorCode, Str, record_frame};
use serde_json::Value;
use wire::client::{CallError, ClusterError, NamedPartition};

use super::offsets;
use crate::client::{Client, in_words, told};
use crate::commands::topic::LATEST;
use crate::output::Output;

/// A group as its coordinator describes it.
pub(super) struct Described {
    pub(super) kind: &'static str,
    pub(super) state: String,
    /// Of a classic group the protocol that was agreed on, of a consumer group the assignor.
    assignor: String,
    coordinator: i32,
    group_epoch: Option<i32>,
    assignment_epoch: Option<i32>,
    pub(super) members: Vec<Member>,
}

pub(super) struct Member {
    id: String,
    instance: Option<String>,
    client_id: String,
    host: String,
    epoch: Option<i32>,
    assigned: BTreeMap<Str, Vec<i32>>,
}

/// A group, of whatever kind; None if there is no such group.
pub(super) async fn describe(client: &Client, name: &str) -> Result<Option<Described>, String> {
    let group = Str::from(name);
    let (coordinator, _) = client.cluster.coordinator(&group).await.map_err(in_words)?;
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.clone()], ..Default::default() };
    let code_of = |answer: &protocol::messages::ConsumerGroupDescribeResponse| {
        answer.groups.first().map_or(0, |g| g.error_code)
    };
    match client.cluster.call_coordinator(&group, &request, code_of).await {
        Ok(answer) => {
            let found = answer.groups.into_iter().next().unwrap_or_default();
            match ErrorCode::from_code(found.error_code) {
                ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => {}
                _ => {
                    told(&format!("group {name}"), found.error_code, found.error_message.as_ref())?;
                    return Ok(Some(of_consumer_group(found, coordinator)));
                }
            }
        }
        Err(ClusterError::Call(CallError::NoVersion { .. })) => {}
        Err(error) => return Err(in_words(error)),
    }
    let request = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    let code_of = |answer: &protocol::messages::DescribeGroupsResponse| {
        answer.groups.first().map_or(0, |g| g.error_code)
    };
    let answer = client.cluster.call_coordinator(&group, &request, code_of).await.map_err(in_words)?;
    let found = answer.groups.into_iter().next().unwrap_or_default();
    // Before Kafka 4.0 a group that does not exist was described as dead.
    if ErrorCode::from_code(found.error_code) == ErrorCode::GroupIdNotFound || found.group_state == *"Dead" {
        return Ok(None);
    }
    told(&format!("group {name}"), found.error_code, found.error_message.as_ref())?;
    Ok(Some(of_classic_group(found, coordinator)))
}

/// A group that must exist.
async fn existing(client: &Client, name: &str) -> Result<Described, String> {
    let found = describe(client, name).await?;
    found.ok_or_else(|| format!("group {name} does not exist; `weir group list` shows those that do"))
}

fn of_consumer_group(found: consumer::DescribedGroup, coordinator: i32) -> Described {
    let assigned = |assignment: &Assignment| {
        assignment.topic_partitions.iter().map(|t| (t.topic_name.clone(), t.partitions.clone())).collect()
    };
    let member = |m: &consumer::Member| Member {
        id: m.member_id.to_string(),
        instance: m.instance_id.as_ref().map(Str::to_string),
        client_id: m.client_id.to_string(),
        host: m.client_host.to_string(),
        epoch: Some(m.member_epoch),
        assigned: assigned(&m.assignment),
    };
    Described {
        kind: "consumer",
        state: found.group_state.to_string(),
        assignor: found.assignor_name.to_string(),
        coordinator,
        group_epoch: Some(found.group_epoch),
        assignment_epoch: Some(found.assignment_epoch),
        members: found.members.iter().map(member).collect(),
    }
}

fn of_classic_group(found: classic::DescribedGroup, coordinator: i32) -> Described {
    let is_of_consumers = found.protocol_type == *"consumer";
    let member = |m: &classic::DescribedGroupMember| {
        let assignment =
            record_frame::decode_versioned::<ConsumerProtocolAssignment>(m.member_assignment.clone());
        // What other kinds of groups (Connect) assign is theirs to read.
        let topics = assignment.ok().filter(|_| is_of_consumers).map(|a| a.assigned_partitions);
        let assigned = topics.unwrap_or_default().into_iter().map(|t| (t.topic, t.partitions));
        Member {
            id: m.member_id.to_string(),
            instance: m.group_instance_id.as_ref().map(Str::to_string),
            client_id: m.client_id.to_string(),
            host: m.client_host.to_string(),
            epoch: None,
            assigned: assigned.collect(),
        }
    };
    Described {
        kind: "classic",
        state: found.group_state.to_string(),
        assignor: found.protocol_data.to_string(),
        coordinator,
        group_epoch: None,
        assignment_epoch: None,
        members: found.members.iter().map(member).collect(),
    }
}

/// Committed offsets, how far they are behind, and who reads the partition.
pub(super) async fn offsets(client: &Client, names: &[String]) -> Result<Output, String> {
    let columns = [
        "group",
        "topic",
        "partition",
        "current_offset",
        "log_end_offset",
        "lag",
        "consumer_id",
        "host",
        "client_id",
    ];
    let mut output = Output::new(&columns);
    let topic_names = client.topic_names().await?;
    for name in names {
        let group = match existing(client, name).await {
            Ok(group) => group,
            Err(why) => {
                output.failure(why);
                continue;
            }
        };
        let committed = offsets::committed(client, name, &topic_names).await?;
        let owner_of = |(topic, partition): &NamedPartition| {
            group.members.iter().find(|m| m.assigned.get(topic).is_some_and(|all| all.contains(partition)))
        };
        let assigned = group.members.iter().flat_map(|m| &m.assigned);
        let assigned = assigned.flat_map(|(topic, all)| all.iter().map(move |p| (topic.clone(), *p)));
        let shown: BTreeSet<NamedPartition> = committed.keys().cloned().chain(assigned).collect();
        let mut ends = client.cluster.offsets_for(shown.iter().cloned(), LATEST).await;
        for key in shown {
            let end = match ends.remove(&key) {
                Some(Ok(offset)) => Some(offset),
                Some(Err(error)) => {
                    output.failure(in_words(error));
                    None
                }
                None => None,
            };
            let current = committed.get(&key).copied();
            let lag = end.zip(current).map(|(end, current)| end - current);
            let owner = owner_of(&key);
            output.row(vec![
                name.as_str().into(),
                key.0.as_str().into(),
                key.1.into(),
                current.into(),
                end.into(),
                lag.into(),
                owner.map(|m| m.id.as_str()).into(),
                owner.map(|m| m.host.as_str()).into(),
                owner.map(|m| m.client_id.as_str()).into(),
            ]);
        }
        if group.members.is_empty() {
            output.note(format!("group {name} has no members"));
        }
    }
    Ok(output)
}

/// Members, and what each is assigned.
pub(super) async fn members(client: &Client, names: &[String]) -> Result<Output, String> {
    let columns =
        ["group", "consumer_id", "instance_id", "host", "client_id", "epoch", "partitions", "assignment"];
    let mut output = Output::new(&columns);
    for name in names {
        let mut group = match existing(client, name).await {
            Ok(group) => group,
            Err(why) => {
                output.failure(why);
                continue;
            }
        };
        group.members.sort_by(|a, b| a.id.cmp(&b.id));
        for m in &group.members {
            let count: usize = m.assigned.values().map(Vec::len).sum();
            let list =
                |partitions: &Vec<i32>| partitions.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
            let assigned: Vec<Value> = m
                .assigned
                .iter()
                .map(|(topic, partitions)| format!("{topic}:{}", list(partitions)).into())
                .collect();
            output.row(vec![
                name.as_str().into(),
                m.id.as_str().into(),
                m.instance.as_deref().into(),
                m.host.as_str().into(),
                m.client_id.as_str().into(),
                m.epoch.into(),
                count.into(),
                assigned.into(),
            ]);
        }
        if group.members.is_empty() {
            output.note(format!("group {name} has no members"));
        }
    }
    Ok(output)
}

/// State, coordinator and epochs.
pub(super) async fn states(client: &Client, names: &[String]) -> Result<Output, String> {
    let columns =
        ["group", "type", "coordinator", "assignor", "state", "group_epoch", "assignment_epoch", "members"];
    let mut output = Output::new(&columns);
    for name in names {
        match existing(client, name).await {
            Ok(group) => output.row(vec![
                name.as_str().into(),
                group.kind.into(),
                group.coordinator.into(),
                Some(group.assignor).filter(|assignor| !assignor.is_empty()).into(),
                group.state.into(),
                group.group_epoch.into(),
                group.assignment_epoch.into(),
                group.members.len().into(),
            ]),
            Err(why) => output.failure(why),
        }
    }
    Ok(output)
}
