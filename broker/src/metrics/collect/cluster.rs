//! The cluster as kafka_exporter tells it: brokers, and how many partitions topics have.
//!
//! kafka_exporter is one process for the whole cluster and a broker is one of many: each thing is told by one of them (a topic
//! by the leader of its first partition, the number of brokers by the first that lives), so that sums come out right.

use crate::broker::Broker;
use crate::metrics::exposition::{Pages, ReaderGone};
use crate::metrics::names;

pub(super) async fn write(broker: &Broker, pages: &mut Pages) -> Result<(), ReaderGone> {
    let image = broker.metadata.applied();
    let own = broker.config.node_id;
    let live = || image.cluster.brokers().filter(|other| !other.fenced);
    if live().next().is_some_and(|first| first.id == own) {
        pages.single(&names::EXPORTER_BROKERS, live().count() as f64);
    }
    if let Some(endpoint) = broker.advertised().first() {
        let address = format!("{}:{}", endpoint.host, endpoint.port);
        pages.family(&names::EXPORTER_BROKER_INFO);
        pages.sample(&[("address", &address), ("id", &own.to_string())], 1.0);
    }
    pages.family(&names::EXPORTER_PARTITIONS);
    for topic in image.topics.iter() {
        let first = topic.partitions.iter().next();
        if first.is_some_and(|(_, partition)| partition.leader == own) {
            pages.sample(&[("topic", &topic.name)], f64::from(topic.partition_count()));
            pages.turn().await?;
        }
    }
    Ok(())
}
