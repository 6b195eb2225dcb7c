//! Groups that this broker coordinates: their offsets, and how far they are behind.
//!
//! ```text
//!   committed offset ── lag ──► high watermark        of partitions that have a replica here, or are led by others: asked for
//!   time of its batch ── lag in time ──► now          of partitions that are led here
//! ```
//! The lag in time is the age of the oldest batch that was not consumed, whatever the rates are.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{GroupMeasure, TopicPartition};
use metadata::Image;
use protocol::ids::{Offset, PartitionId};
use protocol::messages::ListOffsetsRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::{ErrorCode, Str, bounds};
use wire::client::{Node, NodeOptions, Target};

use crate::broker::Broker;
use crate::metrics::exposition::{Pages, ReaderGone};
use crate::metrics::names::{self, Name};
use crate::partition::{Partition, Role};

/// An offset of a group.
struct Row {
    group: usize,
    partition: TopicPartition,
    offset: i64,
    /// Where the partition's readable records end; None if that is not known.
    end: Option<i64>,
    behind_seconds: Option<f64>,
}

impl Row {
    fn lag(&self) -> Option<i64> {
        self.end.map(|end| (end - self.offset).max(0))
    }
}

struct Group {
    id: Str,
    kind: &'static str,
    state: &'static str,
    members: usize,
}

/// A family, and what it tells of an offset.
type Family<T> = (&'static Name, fn(&Row) -> T);

/// All that is told.
#[derive(Default)]
struct Groups {
    groups: Vec<Group>,
    rows: Vec<Row>,
    /// Offsets for which there was no room.
    omitted: usize,
}

impl Groups {
    fn take(&mut self, measure: GroupMeasure) -> bool {
        let GroupMeasure { id, kind, state, members, offsets } = measure;
        let room = bounds::METRICS_GROUP_OFFSETS_MAX - self.rows.len();
        self.omitted += offsets.len().saturating_sub(room);
        let group = self.groups.len();
        self.groups.push(Group { id, kind, state, members });
        let row = |(partition, offset)| Row { group, partition, offset, end: None, behind_seconds: None };
        self.rows.extend(offsets.into_iter().take(room).map(row));
        self.groups.len() < bounds::METRICS_GROUPS_MAX
    }

    fn count(&self, is_counted: impl Fn(&Group) -> bool) -> f64 {
        self.groups.iter().filter(|group| is_counted(group)).count() as f64
    }
}

pub(super) async fn write(broker: &Broker, pages: &mut Pages) -> Result<(), ReaderGone> {
    let mut all = Groups::default();
    let (serving, loading) = broker.groups.measure(|group| all.take(group)).await;
    pages.single(&names::GROUP_SHARDS_ACTIVE, serving as f64);
    pages.single(&names::GROUP_SHARDS_LOADING, loading as f64);
    write_counts(&all, pages);
    find_ends(broker, &mut all.rows, pages).await;
    find_times(broker, &mut all.rows, pages).await;
    write_members(&all, pages).await?;
    let families: [Family<Option<f64>>; 3] = [
        (&names::GROUP_CURRENT_OFFSET, |row| Some(row.offset as f64)),
        (&names::GROUP_LAG, |row| row.lag().map(|lag| lag as f64)),
        (&names::GROUP_LAG_SECONDS, |row| row.behind_seconds),
    ];
    for (name, value) in families {
        pages.family(name);
        for row in &all.rows {
            let Some(value) = value(row) else { continue };
            let (topic, partition) = (&row.partition.0, row.partition.1.to_string());
            let group = &all.groups[row.group].id;
            let labels = [("consumergroup", group.as_str()), ("partition", &partition), ("topic", topic)];
            pages.sample(&labels, value);
            pages.turn().await?;
        }
    }
    write_sums(&all, pages).await
}

fn write_counts(all: &Groups, pages: &mut Pages) {
    let classic =
        |state: &'static str| all.count(move |group| group.kind == "classic" && group.state == state);
    pages.single(&names::GROUPS, all.count(|group| group.kind == "classic"));
    pages.single(&names::GROUPS_PREPARING, classic("PreparingRebalance"));
    pages.single(&names::GROUPS_COMPLETING, classic("CompletingRebalance"));
    pages.single(&names::GROUPS_STABLE, classic("Stable"));
    pages.single(&names::GROUPS_EMPTY, classic("Empty"));
    pages.single(&names::GROUPS_DEAD, classic("Dead"));
    pages.single(&names::GROUP_OFFSETS, (all.rows.len() + all.omitted) as f64);
    pages.single(&names::GROUP_OFFSETS_OMITTED, all.omitted as f64);
    pages.single(&names::CLASSIC_GROUPS, all.count(|group| group.kind == "classic"));
    pages.single(&names::CONSUMER_GROUPS, all.count(|group| group.kind == "consumer"));
    for (name, state) in names::CONSUMER_GROUPS_BY_STATE {
        pages.single(&name, all.count(|group| group.kind == "consumer" && group.state == state));
    }
}

async fn write_members(all: &Groups, pages: &mut Pages) -> Result<(), ReaderGone> {
    pages.family(&names::GROUP_MEMBERS);
    for group in &all.groups {
        pages.sample(&[("consumergroup", &group.id)], group.members as f64);
        pages.turn().await?;
    }
    Ok(())
}

/// Sums over the partitions of a topic; rows of a group stand together, and by topic within it.
async fn write_sums(all: &Groups, pages: &mut Pages) -> Result<(), ReaderGone> {
    let families: [Family<i64>; 2] = [
        (&names::GROUP_CURRENT_OFFSET_SUM, |row| row.offset),
        (&names::GROUP_LAG_SUM, |row| row.lag().unwrap_or(0)),
    ];
    for (name, value) in families {
        pages.family(name);
        for of_topic in
            all.rows.chunk_by(|one, next| one.group == next.group && one.partition.0 == next.partition.0)
        {
            let (group, topic) = (&all.groups[of_topic[0].group].id, &of_topic[0].partition.0);
            let sum: i64 = of_topic.iter().map(value).sum();
            pages.sample(&[("consumergroup", group), ("topic", topic)], sum as f64);
            pages.turn().await?;
        }
    }
    Ok(())
}

fn local(broker: &Broker, image: &Image, partition: &TopicPartition) -> Option<Arc<Partition>> {
    let topic_id = image.topics.by_name(&partition.0)?.id;
    broker.replicas.find(PartitionId { topic_id, partition: partition.1 })
}

/// High watermarks: of replicas here, and what other leaders answer.
async fn find_ends(broker: &Broker, rows: &mut [Row], pages: &Pages) {
    let image = broker.metadata.applied();
    let mut elsewhere: BTreeMap<i32, BTreeMap<Str, Vec<i32>>> = BTreeMap::new();
    for (at, row) in rows.iter_mut().enumerate() {
        if let Some(partition) = local(broker, &image, &row.partition)
            && partition.role() != Role::None
        {
            row.end = Some(partition.offsets().high_watermark.0);
        } else if let Some(topic) = image.topics.by_name(&row.partition.0)
            && let Some(registered) = topic.partition(row.partition.1)
        {
            let of_leader = elsewhere.entry(registered.leader).or_default();
            of_leader.entry(row.partition.0.clone()).or_default().push(row.partition.1);
        }
        if at % 1024 == 1023 {
            pages.pause().await;
        }
    }
    for (leader, topics) in elsewhere {
        let ends = Box::pin(ask(broker, &image, leader, topics)).await;
        for row in rows.iter_mut().filter(|row| row.end.is_none()) {
            row.end = ends.get(&row.partition).copied();
        }
    }
}

/// The ends of partitions that another broker leads; what it does not tell in time is not known.
async fn ask(
    broker: &Broker,
    image: &Image,
    leader: i32,
    topics: BTreeMap<Str, Vec<i32>>,
) -> BTreeMap<TopicPartition, i64> {
    let mut ends = BTreeMap::new();
    let Some((endpoint, _)) = broker.endpoint(image, leader, &broker.config.inter_broker_listener) else {
        return ends;
    };
    const LATEST: i64 = -1;
    let topic = |(name, mut partitions): (Str, Vec<i32>)| {
        partitions.sort_unstable();
        partitions.dedup();
        let partitions = partitions.into_iter().map(|partition_index| ListOffsetsPartition {
            partition_index,
            current_leader_epoch: -1,
            timestamp: LATEST,
            ..Default::default()
        });
        ListOffsetsTopic { name, partitions: partitions.collect(), ..Default::default() }
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let target = Target::address(&format!("{}:{}", endpoint.host, endpoint.port));
    let node = Node::new(&broker.host, target, NodeOptions::default());
    let clock = broker.host.clock();
    let answer = clock.timeout(bounds::METRICS_LOOK_UP_TIMEOUT, node.call(&request)).await;
    node.disconnect().await;
    let Ok(Ok(answer)) = answer else { return ends };
    for topic in answer.topics {
        let told = topic.partitions.iter().filter(|told| told.error_code == ErrorCode::None.code());
        ends.extend(told.map(|told| ((topic.name.clone(), told.partition_index), told.offset)));
    }
    ends
}

/// Ages of what was not consumed, of so many partitions that are led here. A disk that is slow is not asked again.
async fn find_times(broker: &Broker, rows: &mut [Row], pages: &Pages) {
    let (image, clock) = (broker.metadata.applied(), broker.host.clock());
    let mut looked = 0;
    for row in rows {
        if row.lag() == Some(0) {
            row.behind_seconds = Some(0.0);
            continue;
        }
        let Some(partition) = local(broker, &image, &row.partition) else { continue };
        if row.end.is_none() || partition.role() != Role::Leader || looked >= bounds::METRICS_LAG_TIMES_MAX {
            continue;
        }
        looked += 1;
        let found = partition.batch_time_ms(Offset(row.offset));
        let Ok(time_ms) = clock.timeout(bounds::METRICS_LOOK_UP_TIMEOUT, found).await else { return };
        let age_ms = time_ms.map(|time_ms| (clock.wall_ms() - time_ms).max(0));
        row.behind_seconds = age_ms.map(|ms| ms as f64 / 1e3);
        if looked % 64 == 0 {
            pages.pause().await;
        }
    }
}
