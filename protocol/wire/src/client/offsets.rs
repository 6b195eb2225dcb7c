//! Offsets of many partitions by their times: one request to each leader.

use std::collections::BTreeMap;

use protocol::messages::ListOffsetsRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::{ErrorCode, Str};

use super::cluster::{Cluster, ClusterError, Leader};

/// A partition by the name of its topic.
pub type NamedPartition = (Str, i32);

impl Cluster {
    /// `offset_for` of many partitions at once. Each has an answer of its own; what is retriable is tried again.
    pub async fn offsets_for(
        &self,
        partitions: impl IntoIterator<Item = NamedPartition>,
        timestamp: i64,
    ) -> BTreeMap<NamedPartition, Result<i64, ClusterError>> {
        let mut retry = self.retry();
        let mut answers = BTreeMap::new();
        let mut open: Vec<NamedPartition> = partitions.into_iter().collect();
        loop {
            let by_leader = self.by_leader(open, retry.is_again(), &mut answers).await;
            for (leader, asked) in by_leader.into_values() {
                self.ask_leader(&leader, asked, timestamp, &mut answers).await;
            }
            let failed = |(key, answer): (&NamedPartition, &Result<i64, ClusterError>)| match answer {
                Err(error) if error.is_retriable() => Some((key.clone(), error.clone())),
                _ => None,
            };
            let failed: Vec<_> = answers.iter().filter_map(failed).collect();
            match failed.first() {
                Some((_, error)) if retry.wait(error).await => {}
                _ => return answers,
            }
            open = failed.into_iter().map(|(key, _)| key).collect();
        }
    }

    /// Puts partitions together by who leads them. Those of which no leader is known get their error into `answers`.
    pub async fn by_leader<T>(
        &self,
        partitions: Vec<NamedPartition>,
        fresh: bool,
        answers: &mut BTreeMap<NamedPartition, Result<T, ClusterError>>,
    ) -> BTreeMap<i32, (Leader, Vec<NamedPartition>)> {
        let mut topics: Vec<Str> = partitions.iter().map(|(topic, _)| topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        let view = self.view();
        let is_known = topics.iter().all(|topic| view.topics.contains_key(topic));
        // One question for all topics: `leader` would ask for each that is not known. Its own error is the answer then.
        if (fresh || !is_known)
            && let Err(error) = self.refresh(Some(&topics)).await
        {
            answers.extend(partitions.into_iter().map(|key| (key, Err(error.clone()))));
            return BTreeMap::new();
        }
        let mut found: BTreeMap<i32, (Leader, Vec<NamedPartition>)> = BTreeMap::new();
        for key in partitions {
            match self.leader(&key.0, key.1, false).await {
                Ok(leader) => {
                    found.entry(leader.broker_id).or_insert_with(|| (leader, Vec::new())).1.push(key);
                }
                Err(error) => drop(answers.insert(key, Err(error))),
            }
        }
        found
    }

    async fn ask_leader(
        &self,
        leader: &Leader,
        asked: Vec<NamedPartition>,
        timestamp: i64,
        answers: &mut BTreeMap<NamedPartition, Result<i64, ClusterError>>,
    ) {
        let mut topics: BTreeMap<Str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (topic, partition_index) in &asked {
            let partition =
                ListOffsetsPartition { partition_index: *partition_index, timestamp, ..Default::default() };
            topics.entry(topic.clone()).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name, partitions });
        let request =
            ListOffsetsRequest { replica_id: -1, topics: topics.collect(), ..ListOffsetsRequest::default() };
        let answer = match leader.node.call(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = ClusterError::from(error);
                answers.extend(asked.into_iter().map(|key| (key, Err(error.clone()))));
                return;
            }
        };
        for key in &asked {
            let incomplete = ClusterError::Incomplete(leader.node.name().to_owned());
            answers.insert(key.clone(), Err(incomplete));
        }
        for topic in answer.topics {
            for p in topic.partitions {
                let refused = |code| ClusterError::Refused {
                    what: format!("{}-{}", topic.name, p.partition_index),
                    code,
                    message: String::new(),
                };
                let found = match ErrorCode::from_code(p.error_code) {
                    ErrorCode::None => Ok(p.offset),
                    code => Err(refused(code)),
                };
                answers.insert((topic.name.detached(), p.partition_index), found);
            }
        }
    }
}
