//! Following the metadata log: fetch, decode, make the next image, publish it, let the replicas take it over.
//!
//! ```text
//!   Fetch at end_offset --> batches    --> Delta --> image --> cache --> replicas --> "applied"
//!                       \-> snapshot id --> FetchSnapshot, piece by piece --> image --> ...
//! ```
//! **Invariant:** the image is what the records up to its end offset make, in their order; only committed records are ever
//! read, so nothing is taken back. A record that cannot be read stops the broker from going on with half the truth: it
//! stays at the last image that it understood, and says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use metadata::{Changes, Delta, Image, Record};
use protocol::batch::batches;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::{PartitionData, SnapshotId};
use protocol::messages::fetch_snapshot_request::{PartitionSnapshot, SnapshotId as WantedId, TopicSnapshot};
use protocol::messages::{FetchRequest, FetchSnapshotRequest};
use protocol::{ErrorCode, Str, Uuid, bounds};
use wire::client::CallError;

use super::ControllerLink;
use crate::group_coordinator::GroupCoordinator;
use crate::metadata_cache::MetadataCache;
use crate::replicas::Replicas;

const METADATA_TOPIC: Str = Str::from_static("__cluster_metadata");

/// Why the metadata could not be followed this time.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("controller {id} is not active")]
    NotActive { id: i32, hint: Option<i32> },
    #[error("the controller answers {0}")]
    Refused(ErrorCode),
    #[error("the controller's answer is not one: {0}")]
    Malformed(&'static str),
    #[error("the metadata log cannot be read: {0}")]
    Batch(#[from] protocol::batch::BatchError),
    #[error(transparent)]
    Record(#[from] metadata::record::Error),
}

/// What has been read.
struct Position {
    /// Everything read, an open metadata transaction included.
    image: Image,
    /// Epoch of the last record, or -1.
    epoch: i32,
    changes: Changes,
}

/// Follows until it is dropped. Cancellation is safe between images; the replicas may then have taken over half of one,
/// which only happens when the broker stops.
pub async fn follow(
    link: Arc<ControllerLink>,
    metadata: Arc<MetadataCache>,
    replicas: Arc<Replicas>,
    groups: Arc<GroupCoordinator>,
) {
    let mut position = Position { image: Image::default(), epoch: -1, changes: Changes::default() };
    loop {
        let id = link.active();
        match step(&link, id, &mut position).await {
            Ok(()) => publish(&link, &metadata, &replicas, &groups, &mut position).await,
            Err(error) => {
                match &error {
                    Error::NotActive { id, hint } => link.is_not_active(*id, *hint),
                    Error::Call(_) => link.is_not_active(id, None),
                    other => tracing::error!(error = %other, "cannot follow the metadata"),
                }
                tracing::debug!(%error, controller = id, "the metadata is not followed at the moment");
                link.host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
            }
        }
    }
}

/// Publishes what was read, unless it ends inside a metadata transaction.
async fn publish(
    link: &ControllerLink,
    metadata: &MetadataCache,
    replicas: &Replicas,
    groups: &GroupCoordinator,
    position: &mut Position,
) {
    let before = metadata.applied();
    if position.image.is_in_transaction() || position.image.end_offset == before.end_offset {
        return;
    }
    let changes = std::mem::take(&mut position.changes);
    let image = Arc::new(position.image.clone());
    metadata.publish(Arc::clone(&image));
    replicas.apply(&before, &image, &changes).await;
    groups.follow(&before, &image, &changes);
    let end_offset = image.end_offset;
    metadata.set_applied(image);
    link.applied(end_offset);
}

async fn step(link: &ControllerLink, id: i32, position: &mut Position) -> Result<(), Error> {
    let data = fetch(link, id, position).await?;
    if data.snapshot_id.end_offset >= 0 {
        let (image, epoch) = fetch_snapshot(link, id, &data.snapshot_id).await?;
        position.changes = everything(&position.image, &image);
        (position.image, position.epoch) = (image, epoch);
        return Ok(());
    }
    if data.diverging_epoch.end_offset >= 0 {
        return Err(Error::Malformed("committed metadata was taken back"));
    }
    let records =
        data.records.unwrap_or_default().to_bytes().ok_or(Error::Malformed("its records are elsewhere"))?;
    if records.is_empty() {
        return Ok(());
    }
    let mut delta = Delta::new(&position.image);
    let epoch = apply_batches(&mut delta, records)?;
    let (_, image, changes) = delta.into_parts();
    merge(&mut position.changes, changes);
    position.image = image;
    position.epoch = epoch.unwrap_or(position.epoch);
    Ok(())
}

async fn fetch(link: &ControllerLink, id: i32, position: &Position) -> Result<PartitionData, Error> {
    let wait = bounds::METADATA_FETCH_WAIT;
    let partition = FetchPartition {
        partition: 0,
        fetch_offset: position.image.end_offset,
        last_fetched_epoch: position.epoch,
        partition_max_bytes: bounds::CONTROLLER_FETCH_BYTES_MAX as i32,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: METADATA_TOPIC,
        topic_id: Uuid::METADATA_TOPIC,
        partitions: vec![partition],
        ..Default::default()
    };
    let request = FetchRequest {
        cluster_id: Some(link.identity.cluster_id.clone()),
        max_wait_ms: wait.as_millis() as i32,
        min_bytes: 1,
        max_bytes: bounds::CONTROLLER_FETCH_BYTES_MAX as i32,
        topics: vec![topic],
        ..Default::default()
    };
    let session = link.lines(id).follow.session().await?;
    let answer = session.call_within(wait + bounds::CONTROLLER_CALL_TIMEOUT, &request).await?;
    refuse(answer.error_code, id, -1)?;
    let topic = answer.responses.into_iter().next().ok_or(Error::Malformed("it has no topic"))?;
    let data = topic.partitions.into_iter().next().ok_or(Error::Malformed("it has no partition"))?;
    refuse(data.error_code, id, data.current_leader.leader_id)?;
    Ok(data)
}

fn refuse(code: i16, id: i32, leader: i32) -> Result<(), Error> {
    let hint = Some(leader).filter(|leader| *leader >= 0);
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::NotController
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch => Err(Error::NotActive { id, hint }),
        // A controller that came back and has not read its log yet.
        ErrorCode::OffsetOutOfRange => Err(Error::NotActive { id, hint: None }),
        other => Err(Error::Refused(other)),
    }
}

/// Applies batches to a delta; returns the epoch of the last one.
fn apply_batches(delta: &mut Delta, records: Bytes) -> Result<Option<i32>, Error> {
    let mut epoch = None;
    for batch in batches(records) {
        let batch = batch?;
        let (first, next) = (batch.header.base_offset.0, batch.header.next_offset().0);
        let end = delta.image().end_offset;
        if next <= end {
            continue;
        }
        if first > end {
            return Err(Error::Malformed("its batches leave a gap"));
        }
        batch.check_crc()?;
        epoch = Some(batch.header.leader_epoch.0);
        if batch.header.is_control() {
            delta.skip_offsets(next - end);
            continue;
        }
        for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX)? {
            let record = record?;
            if record.offset.0 >= end {
                delta.apply(&decode(record.value)?);
            }
        }
        delta.skip_offsets((next - delta.image().end_offset).max(0));
    }
    Ok(epoch)
}

fn decode(value: Option<Bytes>) -> Result<Record, Error> {
    Ok(metadata::record::decode(value.ok_or(Error::Malformed("a record has no value"))?)?)
}

async fn fetch_snapshot(link: &ControllerLink, id: i32, wanted: &SnapshotId) -> Result<(Image, i32), Error> {
    let session = link.lines(id).follow.session().await?;
    let mut all = BytesMut::new();
    loop {
        let snapshot_id =
            WantedId { end_offset: wanted.end_offset, epoch: wanted.epoch, ..Default::default() };
        let partition =
            PartitionSnapshot { partition: 0, snapshot_id, position: all.len() as i64, ..Default::default() };
        let topic = TopicSnapshot { name: METADATA_TOPIC, partitions: vec![partition], ..Default::default() };
        let request = FetchSnapshotRequest {
            cluster_id: Some(link.identity.cluster_id.clone()),
            max_bytes: bounds::CONTROLLER_FETCH_BYTES_MAX as i32,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = session.call_within(Duration::from_secs(30), &request).await?;
        refuse(answer.error_code, id, -1)?;
        let topic = answer.topics.into_iter().next().ok_or(Error::Malformed("it has no topic"))?;
        let piece = topic.partitions.into_iter().next().ok_or(Error::Malformed("it has no partition"))?;
        refuse(piece.error_code, id, piece.current_leader.leader_id)?;
        let bytes =
            piece.unaligned_records.to_bytes().ok_or(Error::Malformed("its records are elsewhere"))?;
        if bytes.is_empty() || piece.size < 0 || piece.size > bounds::CONTROLLER_SNAPSHOT_BYTES_MAX as i64 {
            return Err(Error::Malformed("a piece of a snapshot is empty, or the snapshot is too large"));
        }
        all.extend_from_slice(&bytes);
        if all.len() as i64 >= piece.size {
            break;
        }
    }
    Ok((read_snapshot(all.freeze(), wanted.end_offset)?, wanted.epoch))
}

fn read_snapshot(bytes: Bytes, end_offset: i64) -> Result<Image, Error> {
    let mut records = Vec::new();
    for batch in batches(bytes) {
        let batch = batch?;
        batch.check_crc()?;
        if batch.header.is_control() {
            continue;
        }
        for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX)? {
            records.push(decode(record?.value)?);
        }
    }
    Ok(Image::from_snapshot(&records, end_offset))
}

/// What may differ between two images that are not joined by records: all topics.
fn everything(before: &Image, after: &Image) -> Changes {
    let mut changes = Changes { features: true, ..Changes::default() };
    for topic in after.topics.iter() {
        changes.topics.insert(topic.id, topic.partitions.iter().map(|(index, _)| *index).collect());
    }
    let gone = before.topics.iter().filter(|topic| after.topics.by_id(topic.id).is_none());
    changes.removed_topics = gone.map(|topic| topic.id).collect();
    changes
}

/// Adds later changes to former ones that were not published yet.
fn merge(changes: &mut Changes, later: Changes) {
    for id in &later.removed_topics {
        changes.topics.remove(id);
    }
    changes.removed_topics.extend(later.removed_topics);
    for (id, indexes) in later.topics {
        changes.topics.entry(id).or_default().extend(indexes);
    }
    changes.features |= later.features;
}
