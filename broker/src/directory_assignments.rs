//! Which of this broker's log dirs hold its replicas, told to the controller where the metadata says otherwise (KIP-858).
//!
//! ```text
//!   metadata: replica in no dir, or in another --> replicas: opened here --> queue --> AssignReplicasToDirs
//! ```
//! A broker with one log dir has nothing to tell: the controller knows. With several, a dir that fails takes with it only
//! what the controller was told of.
//!
//! **Invariant:** what is in the queue is told again until the controller has answered for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use host::Host;
use protocol::ids::PartitionId;
use protocol::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use protocol::{ErrorCode, Uuid, bounds};
use tokio::sync::Notify;

use crate::controller_link::ControllerLink;

type Queue = BTreeMap<PartitionId, Uuid>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DirectoryAssignments {
    queue: Mutex<Queue>,
    submitted: Notify,
}

impl DirectoryAssignments {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code that holds this lock panics")
    }

    /// A replica is in a dir that the metadata does not say.
    pub(crate) fn submit(&self, id: PartitionId, directory: Uuid) {
        self.queue().insert(id, directory);
        self.submitted.notify_one();
    }

    /// Runs until it is dropped. Cancellation is safe: what was not told is told after the next start, when it is opened.
    pub(crate) async fn run(self: Arc<Self>, host: Host, link: Arc<ControllerLink>) {
        loop {
            self.submitted.notified().await;
            loop {
                let told: Queue = {
                    let queue = self.queue();
                    queue
                        .iter()
                        .take(bounds::DIRECTORY_ASSIGNMENTS_MAX)
                        .map(|(id, dir)| (*id, *dir))
                        .collect()
                };
                if told.is_empty() {
                    break;
                }
                let answer = link.assign_replicas_to_dirs(&request(&link, &told)).await;
                match answer {
                    Ok(answer) if is_final(&answer) => self.settle(&told),
                    Ok(answer) => {
                        tracing::debug!(error = answer.error_code, "log dirs of replicas were not taken");
                        host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "AssignReplicasToDirs has no answer");
                        host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
                    }
                }
            }
        }
    }

    /// What was told is done; what has changed since then is not. Errors of single replicas are final too: the replica, or its
    /// topic, is not this broker's any more.
    fn settle(&self, told: &Queue) {
        self.queue().retain(|id, directory| told.get(id) != Some(directory));
    }
}

/// Whether the controller has looked at what it was told, or will never do so.
fn is_final(answer: &AssignReplicasToDirsResponse) -> bool {
    matches!(ErrorCode::from_code(answer.error_code), ErrorCode::None | ErrorCode::UnsupportedVersion)
}

fn request(link: &ControllerLink, told: &Queue) -> AssignReplicasToDirsRequest {
    let (broker_id, broker_epoch) = link.registration();
    let mut directories: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionData>>> = BTreeMap::new();
    for (id, directory) in told {
        let partition = PartitionData { partition_index: id.partition, ..Default::default() };
        directories.entry(*directory).or_default().entry(id.topic_id).or_default().push(partition);
    }
    let topic = |(topic_id, partitions)| TopicData { topic_id, partitions, ..Default::default() };
    let directory = |(id, topics): (Uuid, BTreeMap<_, _>)| DirectoryData {
        id,
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let directories = directories.into_iter().map(directory).collect();
    AssignReplicasToDirsRequest { broker_id, broker_epoch, directories, ..Default::default() }
}
