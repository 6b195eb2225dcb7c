//! Changes of ISRs on their way to the controller: one AlterPartition at a time, with everything that waits.
//!
//! ```text
//!   fetch of a follower --> may join --.
//!   every half lag time --> must leave -+-> queue --> AlterPartition --> answers --> partition
//! ```
//! **Invariant:** a change is asked for until it is answered for good, or its partition does not want it any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use host::Host;
use protocol::ids::PartitionId;
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use protocol::{ErrorCode, Uuid, bounds};
use tokio::sync::Notify;

use crate::controller_link::ControllerLink;
use crate::metrics::Replication;
use crate::partition::{IsrChange, IsrOutcome, Partition};
use crate::replicas::Replicas;

type Queue = BTreeMap<PartitionId, (Arc<Partition>, IsrChange)>;

/// See the module.
#[derive(Debug)]
pub struct IsrChanges {
    queue: Mutex<Queue>,
    submitted: Notify,
    metrics: Arc<Replication>,
}

impl IsrChanges {
    pub fn new(metrics: Arc<Replication>) -> IsrChanges {
        IsrChanges { queue: Mutex::default(), submitted: Notify::new(), metrics }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code that holds this lock panics")
    }

    /// Asks for a change. A partition has one at a time.
    pub fn submit(&self, partition: &Arc<Partition>, change: IsrChange) {
        tracing::debug!(topic = %partition.topic, partition = partition.id.partition, ?change, "asking for another ISR");
        self.queue().insert(partition.id, (Arc::clone(partition), change));
        self.submitted.notify_one();
    }

    /// Runs until it is dropped. Cancellation is safe: what was asked for and not answered, the metadata will say.
    pub async fn run(self: Arc<Self>, host: Host, link: Arc<ControllerLink>) {
        loop {
            self.submitted.notified().await;
            loop {
                let mut asked = std::mem::take(&mut *self.queue());
                asked.retain(|_, (partition, change)| partition.wants(change));
                if asked.is_empty() {
                    break;
                }
                let answer = link.alter_partition(&request(&link, &asked)).await;
                let answer =
                    answer.inspect_err(|error| tracing::debug!(%error, "AlterPartition has no answer"));
                if self.settle(asked, answer.ok()).await {
                    host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
                }
            }
        }
    }

    /// Gives the answers to the partitions. True if some must be asked for again.
    async fn settle(&self, asked: Queue, answer: Option<AlterPartitionResponse>) -> bool {
        let whole =
            answer.as_ref().map_or(ErrorCode::NetworkException, |a| ErrorCode::from_code(a.error_code));
        let told: BTreeMap<(Uuid, i32), _> = answer
            .iter()
            .flat_map(|answer| &answer.topics)
            .flat_map(|topic| topic.partitions.iter().map(|p| ((topic.topic_id, p.partition_index), p)))
            .collect();
        let mut again = false;
        for (id, (partition, change)) in asked {
            let of_one = match (whole, told.get(&(id.topic_id, id.partition))) {
                (ErrorCode::None, Some(data)) => match ErrorCode::from_code(data.error_code) {
                    ErrorCode::None => Ok(*data),
                    error => Err(error),
                },
                (ErrorCode::None, None) => Err(ErrorCode::UnknownServerError),
                (error, _) => Err(error),
            };
            if let Err(error) = of_one {
                self.metrics.failed_isr_updates.inc();
                tracing::info!(topic = %partition.topic, partition = id.partition, %error, "the ISR was not changed");
            }
            if let Ok(IsrOutcome::Again) = partition.isr_answered(&change, of_one).await {
                again = true;
                // A newer one may be there already: the partition has given this one up then.
                self.queue().entry(id).or_insert((partition, change));
            }
        }
        again
    }
}

fn request(link: &ControllerLink, asked: &Queue) -> AlterPartitionRequest {
    let (broker_id, broker_epoch) = link.registration();
    let member = |(id, epoch): &(i32, i64)| BrokerState {
        broker_id: *id,
        broker_epoch: if *id == broker_id { broker_epoch } else { *epoch },
        ..Default::default()
    };
    let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
    for (id, (_, change)) in asked {
        topics.entry(id.topic_id).or_default().push(PartitionData {
            partition_index: id.partition,
            leader_epoch: change.leader_epoch,
            new_isr_with_epochs: change.isr.iter().map(member).collect(),
            // Whoever leads has recovered what it could.
            leader_recovery_state: 0,
            partition_epoch: change.partition_epoch,
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(topic_id, partitions)| TopicData {
        topic_id,
        partitions,
        ..Default::default()
    });
    AlterPartitionRequest { broker_id, broker_epoch, topics: topics.collect(), ..Default::default() }
}

/// Puts out of ISRs who has not been at the end of the log for `lag_max`; looks twice within that time.
pub async fn shrink(host: Host, replicas: Arc<Replicas>, changes: Arc<IsrChanges>, lag_max: Duration) {
    loop {
        host.clock().sleep(lag_max / 2).await;
        for partition in replicas.all() {
            if let Some(change) = partition.shrink_isr() {
                changes.submit(&partition, change);
            }
        }
    }
}
