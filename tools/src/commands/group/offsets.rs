//! The committed offsets of a group: fetched and committed.

use std::collections::BTreeMap;

use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use protocol::{ErrorCode, Str, Uuid};
use wire::client::NamedPartition;

use crate::client::{Client, in_words, told};

/// Every offset that a group has committed. `topic_names`: brokers name topics by id from Kafka 4.1 on.
pub(super) async fn committed(
    client: &Client,
    name: &str,
    topic_names: &BTreeMap<Uuid, Str>,
) -> Result<BTreeMap<NamedPartition, i64>, String> {
    let group = Str::from(name);
    let asked = OffsetFetchRequestGroup { group_id: group.clone(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    let code_of = |answer: &OffsetFetchResponse| answer.groups.first().map_or(0, |g| g.error_code);
    let answer = client.cluster.call_coordinator(&group, &request, code_of).await.map_err(in_words)?;
    told(&format!("group {name}"), code_of(&answer), None)?;
    let mut found = BTreeMap::new();
    for topic in answer.groups.into_iter().flat_map(|g| g.topics) {
        let by_id = topic_names.get(&topic.topic_id).filter(|_| topic.name.is_empty());
        // A topic that was deleted a moment ago has no name any more.
        let Some(topic_name) = by_id.cloned().or(Some(topic.name.detached()).filter(|n| !n.is_empty()))
        else {
            continue;
        };
        for p in topic.partitions {
            told(&format!("{topic_name}-{}", p.partition_index), p.error_code, None)?;
            if p.committed_offset >= 0 {
                found.insert((topic_name.clone(), p.partition_index), p.committed_offset);
            }
        }
    }
    Ok(found)
}

/// Commits offsets for a group without members. The first refusal is the error.
pub(super) async fn commit(
    client: &Client,
    name: &str,
    offsets: &BTreeMap<NamedPartition, i64>,
    topic_names: &BTreeMap<Uuid, Str>,
) -> Result<(), String> {
    let group = Str::from(name);
    let ids: BTreeMap<&Str, Uuid> = topic_names.iter().map(|(id, name)| (name, *id)).collect();
    let mut topics: BTreeMap<Str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition_index), offset) in offsets {
        let partition = OffsetCommitRequestPartition {
            partition_index: *partition_index,
            committed_offset: *offset,
            committed_metadata: Some(Str::default()),
            ..Default::default()
        };
        topics.entry(topic.clone()).or_default().push(partition);
    }
    let topic = |(name, partitions): (Str, Vec<OffsetCommitRequestPartition>)| OffsetCommitRequestTopic {
        topic_id: ids.get(&name).copied().unwrap_or_default(),
        name,
        partitions,
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.clone(),
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let code_of = |answer: &OffsetCommitResponse| {
        let codes = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
        codes.into_iter().find(|code| *code != ErrorCode::None.code()).unwrap_or_default()
    };
    let answer = client.cluster.call_coordinator(&group, &request, code_of).await.map_err(in_words)?;
    told(&format!("the offsets of group {name} were not all moved"), code_of(&answer), None)
}
