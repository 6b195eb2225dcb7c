//! Replicas on this broker, and what kafka_exporter tells of the partitions that are led here.

use std::sync::Arc;

use protocol::Str;

use crate::broker::Broker;
use crate::metrics::exposition::{Pages, ReaderGone};
use crate::metrics::names::{self, Name};
use crate::partition::{Measure, Partition, Role};

/// A partition at the time of the answer.
struct Row {
    topic: Str,
    index: i32,
    measure: Measure,
    min_isr: usize,
    is_reassigning: bool,
    is_preferred: bool,
}

impl Row {
    fn is_led(&self) -> bool {
        self.measure.role == Role::Leader
    }

    fn is_under_replicated(&self) -> bool {
        self.is_led() && self.measure.isr < self.measure.replicas
    }

    fn is_under_min_isr(&self) -> bool {
        self.is_led() && self.measure.isr < self.min_isr
    }

    fn is_at_min_isr(&self) -> bool {
        self.is_led() && self.measure.isr == self.min_isr
    }
}

type Value = fn(&Row) -> f64;

/// Told of every replica.
const OF_REPLICAS: [(&Name, Value); 4] = [
    (&names::LOG_START_OFFSET, |row| row.measure.offsets.log_start.0 as f64),
    (&names::LOG_END_OFFSET, |row| row.measure.offsets.log_end.0 as f64),
    (&names::LOG_SEGMENTS, |row| row.measure.log.segments as f64),
    (&names::LOG_SIZE, |row| row.measure.log.size_bytes as f64),
];

/// Told by the leader.
const OF_LEADERS: [(&Name, Value); 13] = [
    (&names::IS_UNDER_REPLICATED, |row| f64::from(u8::from(row.is_under_replicated()))),
    (&names::IS_UNDER_MIN_ISR, |row| f64::from(u8::from(row.is_under_min_isr()))),
    (&names::IS_AT_MIN_ISR, |row| f64::from(u8::from(row.is_at_min_isr()))),
    (&names::ISR_COUNT, |row| row.measure.isr as f64),
    (&names::REPLICAS_COUNT, |row| row.measure.replicas as f64),
    (&names::LAST_STABLE_LAG, |row| {
        (row.measure.offsets.high_watermark.0 - row.measure.offsets.last_stable.0) as f64
    }),
    (&names::EXPORTER_CURRENT_OFFSET, |row| row.measure.offsets.high_watermark.0 as f64),
    (&names::EXPORTER_OLDEST_OFFSET, |row| row.measure.offsets.log_start.0 as f64),
    (&names::EXPORTER_ISR, |row| row.measure.isr as f64),
    (&names::EXPORTER_REPLICAS, |row| row.measure.replicas as f64),
    (&names::EXPORTER_IS_PREFERRED, |row| f64::from(u8::from(row.is_preferred))),
    (&names::EXPORTER_IS_UNDER_REPLICATED, |row| f64::from(u8::from(row.is_under_replicated()))),
    // Which broker leads is this one: the value is filled in below.
    (&names::EXPORTER_LEADER, |_| f64::NAN),
];

pub(super) async fn write(broker: &Broker, pages: &mut Pages) -> Result<(), ReaderGone> {
    let rows = rows(broker, pages).await?;
    write_sums(broker, &rows, pages);
    for (name, value) in OF_REPLICAS {
        write_family(pages, name, rows.iter(), value).await?;
    }
    let leader = f64::from(broker.config.node_id);
    for (name, value) in OF_LEADERS {
        let value = |row: &Row| Some(value(row)).filter(|value| !value.is_nan()).unwrap_or(leader);
        write_family(pages, name, rows.iter().filter(|row| row.is_led()), value).await?;
    }
    Ok(())
}

async fn write_family<'a>(
    pages: &mut Pages,
    name: &Name,
    rows: impl Iterator<Item = &'a Row>,
    value: impl Fn(&Row) -> f64,
) -> Result<(), ReaderGone> {
    pages.family(name);
    for row in rows {
        pages.sample(&[("partition", &row.index.to_string()), ("topic", &row.topic)], value(row));
        pages.turn().await?;
    }
    Ok(())
}

/// Ordered by topic and partition.
async fn rows(broker: &Broker, pages: &mut Pages) -> Result<Vec<Row>, ReaderGone> {
    let image = broker.metadata.applied();
    let (server, node_id) = (&broker.config.server, broker.config.node_id);
    let mut rows = Vec::new();
    let row = |partition: Arc<Partition>| {
        let measure = partition.measure();
        let registered = image.topics.partition(partition.id.topic_id, partition.id.partition);
        let min_isr = partition.settings(&image, server, node_id).min_insync_replicas;
        Row {
            topic: partition.topic.clone(),
            index: partition.id.partition,
            // More than there are replicas cannot be in sync.
            min_isr: min_isr.min(measure.replicas.max(1)),
            is_reassigning: registered.is_some_and(|registered| registered.is_reassigning()),
            is_preferred: registered.is_some_and(|registered| registered.preferred_leader() == node_id),
            measure,
        }
    };
    for partition in broker.replicas.all() {
        rows.push(row(partition));
        if rows.len() % 256 == 0 {
            pages.pause().await;
        }
    }
    rows.sort_by(|one, other| (&one.topic, one.index).cmp(&(&other.topic, other.index)));
    Ok(rows)
}

fn write_sums(broker: &Broker, rows: &[Row], pages: &mut Pages) {
    let count = |of: fn(&Row) -> bool| rows.iter().filter(|row| of(row)).count() as f64;
    pages.single(&names::PARTITION_COUNT, rows.len() as f64);
    pages.single(&names::LEADER_COUNT, count(Row::is_led));
    pages.single(&names::UNDER_REPLICATED, count(Row::is_under_replicated));
    pages.single(&names::UNDER_MIN_ISR, count(Row::is_under_min_isr));
    pages.single(&names::AT_MIN_ISR, count(Row::is_at_min_isr));
    pages.single(&names::REASSIGNING, count(|row| row.is_led() && row.is_reassigning));
    pages.single(&names::PRODUCER_IDS, rows.iter().map(|row| row.measure.log.producers as f64).sum());
    pages.family(&names::FETCHER_MAX_LAG);
    let lag_max = rows.iter().map(|row| row.measure.lag).max().unwrap_or(0);
    pages.sample(&[("clientId", "Replica")], lag_max as f64);
    let dirs: Vec<_> = broker.log_dirs.all().collect();
    let is_offline = |dir: &std::path::Path| broker.log_dirs.dir(dir).is_some_and(|dir| dir.is_offline());
    let partitions = broker.replicas.all();
    let offline = partitions.iter().filter(|partition| is_offline(&partition.log_dir)).count();
    pages.single(&names::OFFLINE_REPLICAS, offline as f64);
    pages.single(&names::OFFLINE_LOG_DIRS, dirs.iter().filter(|dir| dir.is_offline()).count() as f64);
    pages.family(&names::LOG_DIR_OFFLINE);
    for dir in dirs {
        let path = dir.files.path().to_string_lossy().into_owned();
        pages.sample(&[("logDirectory", &path)], f64::from(u8::from(dir.is_offline())));
    }
}
