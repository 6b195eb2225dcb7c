//! Counters of topics: over all of them, and by topic where they are not zero (as in Kafka, whose meters begin to exist when
//! they first count).

use crate::metrics::exposition::{Pages, ReaderGone};
use crate::metrics::names::{self, Name};
use crate::metrics::{Counter, Metrics, TopicCounters};

type Of = fn(&TopicCounters) -> &Counter;

const BY_TOPIC: [(&Name, Of); 12] = [
    (&names::TOPIC_MESSAGES_IN, |topic| &topic.messages_in),
    (&names::TOPIC_BYTES_IN, |topic| &topic.bytes_in),
    (&names::TOPIC_BYTES_OUT, |topic| &topic.bytes_out),
    (&names::TOPIC_BYTES_REJECTED, |topic| &topic.bytes_rejected),
    (&names::TOPIC_PRODUCE_REQUESTS, |topic| &topic.produce_requests),
    (&names::TOPIC_FAILED_PRODUCE_REQUESTS, |topic| &topic.failed_produce_requests),
    (&names::TOPIC_FETCH_REQUESTS, |topic| &topic.fetch_requests),
    (&names::TOPIC_FAILED_FETCH_REQUESTS, |topic| &topic.failed_fetch_requests),
    (&names::TOPIC_INVALID_MAGIC, |topic| &topic.invalid_magic),
    (&names::TOPIC_INVALID_CRC, |topic| &topic.invalid_crc),
    (&names::TOPIC_INVALID_SEQUENCE, |topic| &topic.invalid_sequence),
    (&names::TOPIC_NO_KEY, |topic| &topic.no_key),
];

const OVER_ALL: [(&Name, Of); 2] = [
    (&names::TOPIC_REPLICATION_BYTES_IN, |topic| &topic.replication_bytes_in),
    (&names::TOPIC_REPLICATION_BYTES_OUT, |topic| &topic.replication_bytes_out),
];

pub(super) async fn write(metrics: &Metrics, pages: &mut Pages) -> Result<(), ReaderGone> {
    let topics = metrics.topics();
    let over_all = |of: Of| {
        let live: u64 = topics.iter().map(|topic| of(topic).get()).sum();
        (live + of(&metrics.shared.retired).get()) as f64
    };
    for (name, of) in BY_TOPIC {
        pages.single(name, over_all(of));
        for topic in &topics {
            let count = of(topic).get();
            if count > 0 {
                pages.sample(&[("topic", &topic.topic)], count as f64);
                pages.turn().await?;
            }
        }
    }
    for (name, of) in OVER_ALL {
        pages.single(name, over_all(of));
    }
    Ok(())
}
