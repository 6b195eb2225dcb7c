//! The ISR contains only replicas that have everything below the high watermark.
//!
//! Looked at with the metadata that is committed and the logs as they are: a member whose program runs under the epoch that is
//! registered has what its leader, if it leads in the epoch that is registered, has told readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Broker;
use broker::partition::{Partition, Role};
use metadata::Image;
use protocol::ids::PartitionId;

use super::super::Cluster;

/// The partition on a broker, if it runs as it is registered.
fn replica(
    brokers: &BTreeMap<i32, Arc<Broker>>,
    image: &Image,
    broker: i32,
    id: PartitionId,
) -> Option<Arc<Partition>> {
    let running = brokers.get(&broker)?;
    let registered = image.cluster.broker(broker)?;
    let is_same = registered.epoch == running.link.broker_epoch() && !registered.fenced;
    running.replicas.find(id).filter(|_| is_same)
}

pub fn look(brokers: &BTreeMap<i32, Arc<Broker>>, image: &Image) -> Vec<String> {
    let mut broken = Vec::new();
    for topic in image.topics.iter() {
        for (index, registered) in topic.partitions.iter() {
            let id = PartitionId { topic_id: topic.id, partition: *index };
            let Some(leader) = replica(brokers, image, registered.leader, id) else { continue };
            if leader.role() != Role::Leader || leader.leader_epoch() != registered.leader_epoch {
                continue;
            }
            let high_watermark = leader.offsets().high_watermark;
            for member in &registered.isr {
                let Some(replica) = replica(brokers, image, *member, id) else { continue };
                let end = replica.offsets().log_end;
                if end < high_watermark {
                    broken.push(format!(
                        "{}-{index}: {member} is in the ISR {:?} and ends at {}, below the high watermark {} of {}",
                        topic.name, registered.isr, end.0, high_watermark.0, registered.leader
                    ));
                }
            }
        }
    }
    broken
}

/// Whether a broker is in the ISR of all its partitions, as it is registered.
pub fn is_everywhere(cluster: &Cluster, broker: i32) -> bool {
    let (brokers, Some(committed)) = (cluster.live_brokers(), cluster.committed()) else { return false };
    let image = &committed.image;
    let Some(running) = brokers.get(&broker) else { return false };
    let is_registered = image
        .cluster
        .broker(broker)
        .is_some_and(|registered| registered.epoch == running.link.broker_epoch() && !registered.fenced);
    let mut partitions = image.topics.iter().flat_map(|topic| topic.partitions.values());
    is_registered && partitions.all(|p| !p.replicas.contains(&broker) || p.isr.contains(&broker))
}

/// What keeps the cluster from being in sync as a whole.
pub fn lacking(cluster: &Cluster) -> Vec<String> {
    let brokers = cluster.live_brokers();
    let Some(committed) = cluster.committed() else { return vec!["no controller runs".to_owned()] };
    let mut lacking = Vec::new();
    for topic in committed.image.topics.iter() {
        for (index, partition) in topic.partitions.iter() {
            if !partition.has_leader() || partition.isr.len() < partition.replicas.len() {
                lacking.push(format!(
                    "{}-{index}: leader {} of epoch {}, ISR {:?} of {:?}",
                    topic.name, partition.leader, partition.leader_epoch, partition.isr, partition.replicas
                ));
                let id = PartitionId { topic_id: topic.id, partition: *index };
                let views = brokers.iter().filter_map(|(id_of, b)| Some((id_of, b.replicas.find(id)?)));
                lacking.extend(views.map(|(broker, partition)| {
                    let (role, epoch) = (partition.role(), partition.leader_epoch());
                    format!("as {broker} sees it: {role:?} in epoch {epoch}, {:?}", partition.offsets())
                }));
            }
        }
    }
    lacking
}
