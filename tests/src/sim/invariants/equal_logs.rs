//! The logs of all replicas are equal below the high watermark, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Broker;
use broker::partition::Partition;
use bytes::{Bytes, BytesMut};
use protocol::batch::batches;
use protocol::ids::{Offset, PartitionId};

pub fn check(brokers: &BTreeMap<i32, Arc<Broker>>) -> impl Future<Output = Vec<String>> + Send + use<> {
    let mut replicas: BTreeMap<PartitionId, Vec<(i32, Arc<Partition>)>> = BTreeMap::new();
    for (id, broker) in brokers {
        for partition in broker.replicas.all() {
            replicas.entry(partition.id).or_default().push((*id, partition));
        }
    }
    async move {
        let mut broken = Vec::new();
        for of_one in replicas.into_values() {
            let committed = of_one.iter().map(|(_, partition)| partition.offsets().high_watermark).min();
            let mut logs = Vec::new();
            for (id, partition) in &of_one {
                logs.push((*id, read(partition, committed.unwrap_or(Offset::ZERO)).await));
            }
            let (first, one) = &logs[0];
            for (other, log) in &logs[1..] {
                if log != one {
                    let (topic, index) = (&of_one[0].1.topic, of_one[0].1.id.partition);
                    broken.push(format!(
                        "the logs of {topic}-{index} on {first} and {other} differ below {committed:?}: {}",
                        first_difference(one, log)
                    ));
                }
            }
        }
        broken
    }
}

/// The batches below an offset, as they lie there.
async fn read(partition: &Arc<Partition>, end: Offset) -> Bytes {
    let mut all = BytesMut::new();
    let mut position = partition.offsets().log_start;
    while position < end {
        let Ok(bytes) = partition.replay_from(position, 1 << 20).await else { break };
        let before = position;
        for batch in batches(bytes).map_while(Result::ok) {
            if batch.header.next_offset() <= end {
                all.extend_from_slice(&batch.to_bytes());
            }
            position = batch.header.next_offset();
        }
        if position == before {
            break;
        }
    }
    all.freeze()
}

/// The first batches that are not the same.
fn first_difference(one: &Bytes, other: &Bytes) -> String {
    let headers = |log: &Bytes| {
        batches(log.clone()).map_while(Result::ok).map(|batch| batch.header).collect::<Vec<_>>()
    };
    let (one, other) = (headers(one), headers(other));
    let at = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    format!("{:?} and {:?}", one.get(at), other.get(at))
}
