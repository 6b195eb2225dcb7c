//! What Kafka's controllers tell: the state of the quorum, and the cluster as its metadata has it.

use metadata::{Image, QuorumStatus};

use crate::metrics::exposition::{Pages, ReaderGone};
use crate::metrics::names;

/// Numbers of all partitions of an image.
#[derive(Default)]
struct Partitions {
    all: usize,
    offline: usize,
    not_preferred: usize,
}

pub(super) async fn write(status: &QuorumStatus, pages: &mut Pages) -> Result<(), ReaderGone> {
    write_raft(status, pages);
    let image = &status.image;
    let (mut fenced, mut leaving, mut active) = (0, 0, 0);
    for broker in image.cluster.brokers() {
        let counted = match (broker.fenced, broker.in_controlled_shutdown) {
            (true, _) => &mut fenced,
            (false, true) => &mut leaving,
            (false, false) => &mut active,
        };
        *counted += 1;
    }
    pages.single(&names::ACTIVE_BROKERS, f64::from(active));
    pages.single(&names::FENCED_BROKERS, f64::from(fenced));
    pages.single(&names::LEAVING_BROKERS, f64::from(leaving));
    let partitions = count(image, pages).await;
    pages.single(&names::GLOBAL_TOPICS, image.topics.len() as f64);
    pages.single(&names::GLOBAL_PARTITIONS, partitions.all as f64);
    pages.single(&names::OFFLINE_PARTITIONS, partitions.offline as f64);
    pages.single(&names::PREFERRED_IMBALANCE, partitions.not_preferred as f64);
    pages.turn().await
}

fn write_raft(status: &QuorumStatus, pages: &mut Pages) {
    let end_offset = status.image.end_offset;
    pages.single(&names::ACTIVE_CONTROLLERS, f64::from(u8::from(status.is_active)));
    pages.single(&names::LAST_APPLIED_OFFSET, (end_offset - 1) as f64);
    pages.single(&names::LAST_COMMITTED_OFFSET, (end_offset - 1) as f64);
    pages.single(&names::TIMED_OUT_HEARTBEATS, status.timed_out_heartbeats as f64);
    let id = |id: Option<i32>| f64::from(id.unwrap_or(-1));
    let numbers = [
        (&names::RAFT_EPOCH, f64::from(status.epoch)),
        (&names::RAFT_LEADER, id(status.leader)),
        (&names::RAFT_VOTE, id(status.vote)),
        (&names::RAFT_HIGH_WATERMARK, end_offset as f64),
        (&names::RAFT_LOG_END_OFFSET, end_offset as f64),
        (&names::RAFT_LOG_END_EPOCH, f64::from(status.last_epoch)),
        (&names::RAFT_VOTERS, status.voters as f64),
        (&names::RAFT_OBSERVERS, status.observers as f64),
    ];
    for (spellings, value) in numbers {
        spellings.iter().for_each(|name| pages.single(name, value));
    }
    for name in &names::RAFT_STATE {
        pages.family(name);
        pages.sample(&[("state", status.state)], 1.0);
    }
}

async fn count(image: &Image, pages: &Pages) -> Partitions {
    let mut counted = Partitions::default();
    for topic in image.topics.iter() {
        for (_, partition) in topic.partitions.iter() {
            counted.all += 1;
            counted.offline += usize::from(!partition.has_leader());
            counted.not_preferred += usize::from(partition.leader != partition.preferred_leader());
            if counted.all % 1024 == 0 {
                pages.pause().await;
            }
        }
    }
    counted
}
