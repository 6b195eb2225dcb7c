//! A client that commits offsets of a group, and asks for them: what was acknowledged never goes back.
//!
//! A commit without an answer may be done at any later time, as its request may still be on its way: its value may come
//! back. Any other that is smaller than the newest acknowledged one was lost.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};
use protocol::{Str, Uuid};
use wire::client::Node;

use super::client::Client;

const GROUP: Str = Str::from_static("committer");
/// Committed without being acknowledged, or never.
const NOTHING: i64 = -1;

/// What was committed.
#[derive(Clone, Debug)]
pub struct Commits {
    pub acknowledged: i64,
    in_doubt: BTreeSet<i64>,
}

impl Default for Commits {
    fn default() -> Commits {
        Commits { acknowledged: NOTHING, in_doubt: BTreeSet::new() }
    }
}

impl Commits {
    fn may_be(&self, found: i64) -> bool {
        found >= self.acknowledged || self.in_doubt.contains(&found)
    }
}

async fn coordinator(client: &Client) -> Option<Node> {
    let request = FindCoordinatorRequest { key_type: 0, coordinator_keys: vec![GROUP], ..Default::default() };
    let answer = client.any().call(&request).await.ok()?;
    let found = answer.coordinators.first().filter(|found| found.error_code == 0)?;
    client.node(found.node_id)
}

async fn commit(client: &Client, topic: (&str, Uuid), offset: i64) -> Option<bool> {
    let node = coordinator(client).await?;
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: Str::from(topic.0),
        topic_id: topic.1,
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = node.call(&request).await.ok()?;
    Some(answer.topics.first()?.partitions.first()?.error_code == 0)
}

/// The committed offset; None if the coordinator did not answer.
async fn committed(client: &Client, topic: (&str, Uuid)) -> Option<i64> {
    let node = coordinator(client).await?;
    let topic = OffsetFetchRequestTopics {
        name: Str::from(topic.0),
        topic_id: topic.1,
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup { group_id: GROUP, topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    let answer = node.call(&request).await.ok()?;
    let group = answer.groups.first().filter(|group| group.error_code == 0)?;
    let found = group.topics.first()?.partitions.first().filter(|found| found.error_code == 0)?;
    Some(found.committed_offset)
}

/// Commits greater and greater offsets until the client is stopped.
pub async fn run(client: Client, name: &'static str, topic_id: Uuid) {
    for offset in 0.. {
        if client.is_stopped() {
            return;
        }
        // From here on it may be done, whatever is answered.
        client.promises().commits.in_doubt.insert(offset);
        if commit(&client, (name, topic_id), offset).await == Some(true) {
            let mut promises = client.promises();
            promises.commits.acknowledged = offset;
            promises.commits.in_doubt.remove(&offset);
        }
        client.pause(Duration::from_millis(150)).await;
    }
}

/// What is wrong with the committed offset at the end. None: the coordinator did not answer.
///
/// Not looked at before: a coordinator that was cut off, and has not heard that another one has taken over, answers with what it
/// knew, as Kafka's does.
pub async fn check(client: &Client, name: &str, topic_id: Uuid) -> Option<Vec<String>> {
    let before = client.promises().commits.clone();
    let found = committed(client, (name, topic_id)).await?;
    let regressed = (!before.may_be(found))
        .then(|| format!("the group committed {} and is at {found}", before.acknowledged));
    Some(regressed.into_iter().collect())
}
