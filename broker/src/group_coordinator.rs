//! The group coordinator of this broker: which groups live here, and the way of an operation to their shard and back.
//!
//! ```text
//!  handler ─► submit ─► shard's queue ─► shard/run: perform ─► append to __consumer_offsets ─► committed ─► answer
//!  metadata ─► follow: a partition is led here ─► shard/load: replay its log ─► serving
//!                      led elsewhere, or anew   ─► shard gone: NOT_COORDINATOR to all who wait
//! ```
//! **Invariant:** a shard works under one leader epoch. What it could not append it forgets by being loaded anew.

mod load;
mod run;
mod shard;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use coordinator::{Answer, GroupConfig, GroupMeasure, Operation, Refusal, partition_of};
use host::Host;
use metadata::features::GROUP_VERSION;
use metadata::{Changes, Image};
use protocol::config::Configs;
use protocol::ids::PartitionId;
use protocol::{ErrorCode, Str, bounds};

use crate::metadata_cache::MetadataCache;
use crate::replicas::Replicas;
use crate::topic_settings::TopicSettings;
use shard::Shard;

/// Kafka's topic of groups and offsets.
pub const TOPIC: &str = "__consumer_offsets";

/// What shards share.
struct Surroundings {
    host: Host,
    node_id: i32,
    server: Arc<Configs>,
    metadata: Arc<MetadataCache>,
}

/// See the module.
pub struct GroupCoordinator {
    surroundings: Arc<Surroundings>,
    replicas: Arc<Replicas>,
    shards: Mutex<BTreeMap<i32, Arc<Shard>>>,
    /// What requests are checked by before they go to a shard.
    config: GroupConfig,
    /// Consumer groups (KIP-848) are among `group.coordinator.rebalance.protocols`.
    serves_consumers: bool,
}

impl GroupCoordinator {
    pub fn new(
        host: &Host,
        node_id: i32,
        server: &Arc<Configs>,
        metadata: &Arc<MetadataCache>,
        replicas: &Arc<Replicas>,
    ) -> GroupCoordinator {
        let surroundings = Surroundings {
            host: host.clone(),
            node_id,
            server: Arc::clone(server),
            metadata: Arc::clone(metadata),
        };
        GroupCoordinator {
            surroundings: Arc::new(surroundings),
            replicas: Arc::clone(replicas),
            shards: Mutex::default(),
            config: GroupConfig::new(server, 0),
            serves_consumers: server
                .list("group.coordinator.rebalance.protocols")
                .iter()
                .any(|name| name.eq_ignore_ascii_case("consumer")),
        }
    }

    /// Whether the members of consumer groups are answered.
    ///
    /// # Errors
    /// `UNSUPPORTED_VERSION` where the newer protocol is switched off, as with Kafka.
    pub fn check_serves_consumers(&self) -> Result<(), ErrorCode> {
        let level = self.surroundings.metadata.current().features.level(GROUP_VERSION);
        if self.serves_consumers && level > 0 { Ok(()) } else { Err(ErrorCode::UnsupportedVersion) }
    }

    /// Whether an operation can be right at all, wherever its group lives.
    ///
    /// # Errors
    /// With a message where the answer has room for one.
    pub fn check(&self, operation: &Operation) -> Result<(), Refusal> {
        coordinator::check(operation, &self.config)
    }

    /// Puts an operation on a group into its shard's queue. The order of calls is the order in which they are done.
    ///
    /// # Errors
    /// What `check` refuses, NOT_COORDINATOR where the group does not live here, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
    pub fn submit(
        &self,
        group: &str,
        operation: Operation,
    ) -> Result<impl Future<Output = Result<Answer, ErrorCode>> + Send + use<>, ErrorCode> {
        self.check(&operation).map_err(|refusal| refusal.code)?;
        let shard = self.shard_of(group)?;
        let answer = shard.submit(operation)?;
        Ok(async move {
            // The shard is gone, and with it whoever would have answered.
            answer.await.unwrap_or(Err(ErrorCode::NotCoordinator))
        })
    }

    /// Asks every shard that lives here.
    ///
    /// # Errors
    /// As `submit`: one shard that does not answer makes the whole incomplete.
    pub fn submit_to_all(
        &self,
        operation: &Operation,
    ) -> Result<impl Future<Output = Result<Vec<Answer>, ErrorCode>> + Send + use<>, ErrorCode> {
        let shards: Vec<Arc<Shard>> = self.shards().values().cloned().collect();
        let waiting: Result<Vec<_>, ErrorCode> =
            shards.iter().map(|shard| shard.submit(operation.clone())).collect();
        let waiting = waiting?;
        Ok(async move {
            let mut answers = Vec::with_capacity(waiting.len());
            for answer in waiting {
                answers.push(answer.await.unwrap_or(Err(ErrorCode::NotCoordinator))?);
            }
            Ok(answers)
        })
    }

    /// Tells every group that lives here, page by page, until `tell` wants no more. Returns how many shards serve and how many
    /// do not.
    pub(crate) async fn measure(&self, mut tell: impl FnMut(GroupMeasure) -> bool) -> (usize, usize) {
        let shards: Vec<Arc<Shard>> = self.shards().values().cloned().collect();
        let (mut serving, all) = (0, shards.len());
        'shards: for shard in shards {
            let mut after = None;
            loop {
                let operation = Operation::Measure { after, offsets_max: bounds::METRICS_GROUP_PAGE_OFFSETS };
                let Ok(waiting) = shard.submit(operation) else { continue 'shards };
                let Ok(Ok(Answer::Measured(page))) = waiting.await else { continue 'shards };
                after = page.groups.last().map(|group| group.id.clone());
                if !page.groups.into_iter().all(&mut tell) {
                    break;
                }
                if !page.has_more {
                    break;
                }
            }
            serving += 1;
        }
        (serving, all - serving)
    }

    fn shard_of(&self, group: &str) -> Result<Arc<Shard>, ErrorCode> {
        let image = self.surroundings.metadata.applied();
        let topic = image.topics.by_name(TOPIC).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(group, topic.partition_count());
        self.shards().get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    fn shards(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, Arc<Shard>>> {
        self.shards.lock().expect("no code that holds this lock panics")
    }

    /// Takes over what changed in the metadata; the replicas have done so before.
    pub fn follow(&self, before: &Image, image: &Image, changes: &Changes) {
        let names = changes.removed_topics.iter().filter_map(|id| before.topics.by_id(*id));
        let removed: Vec<Str> = names.map(|topic| topic.name.clone()).collect();
        let of = |image: &Image| image.topics.by_name(TOPIC).map(|topic| topic.id);
        let is_about_groups = of(before) != of(image)
            || of(image).is_some_and(|id| changes.topics.iter().any(|(changed, _)| *changed == id));
        if is_about_groups {
            self.place_shards(image);
        }
        if !removed.is_empty() {
            for shard in self.shards().values() {
                // One that is loading will not know; its offsets of these topics expire some day.
                drop(shard.submit(Operation::TopicsDeleted(removed.clone())));
            }
        }
    }

    fn place_shards(&self, image: &Image) {
        let node_id = self.surroundings.node_id;
        let topic = image.topics.by_name(TOPIC);
        let partitions =
            topic.into_iter().flat_map(|t| t.partitions.iter().map(|(index, p)| (t.id, *index, p)));
        let led = partitions.filter(|(.., registered)| registered.leader == node_id);
        let led: BTreeMap<i32, (PartitionId, i32)> = led
            .map(|(topic_id, partition, p)| {
                (partition, (PartitionId { topic_id, partition }, p.leader_epoch))
            })
            .collect();
        let mut shards = self.shards();
        shards.retain(|index, shard| {
            let stays = led.get(index).is_some_and(|(id, epoch)| shard.is(*id, *epoch));
            if !stays {
                shard.close(ErrorCode::NotCoordinator);
            }
            stays
        });
        for (index, (id, epoch)) in led {
            if shards.contains_key(&index) {
                continue;
            }
            // Without a log (its dir has failed) nobody coordinates.
            let Some(partition) = self.replicas.find(id) else { continue };
            let shard = Shard::new(partition, epoch);
            shards.insert(index, Arc::clone(&shard));
            let surroundings = Arc::clone(&self.surroundings);
            self.surroundings.host.spawn("group shard", run::run(shard, surroundings));
        }
    }

    /// The end of this broker: nobody is answered any more.
    pub fn close(&self) {
        for shard in std::mem::take(&mut *self.shards()).into_values() {
            shard.close(ErrorCode::NotCoordinator);
        }
    }
}

impl Surroundings {
    /// The settings of the internal topic now.
    fn settings(&self, shard: &Shard) -> Arc<TopicSettings> {
        shard.partition.settings(&self.metadata.current(), &self.server, self.node_id)
    }

    fn group_config(&self, shard: &Shard) -> GroupConfig {
        GroupConfig::new(&self.server, self.settings(shard).batch_bytes_max)
    }
}

impl std::fmt::Debug for GroupCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupCoordinator({} shards)", self.shards().len())
    }
}
