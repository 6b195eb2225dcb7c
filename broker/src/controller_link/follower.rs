//! Following the metadata log: fetch, decode, make the next image, publish it, let the replicas take it over.
//!
//! ```text
//!   Fetch at end_offset --> batches    --> Delta --> image --> cache --> replicas --> "applied"
//!                       \-> snapshot id --> FetchSnapshot, piece by piece --> image --> ...
//! ```
//! **Invariant:** the image is what the records up to its end offset make, in their order; only committed records are ever
//! read, so nothing is taken back. A record that cannot be read stops the broker from going on with half the truth: it
//! stays at the last image that it understood, and says so.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metadata::{Changes, Delta, Image, Record};
use protocol::batch::batches;
use protocol::bounds;
use protocol::messages::VotersRecord;
use protocol::messages::voters_record::Endpoint;
use wire::client::{CallError, MetadataFetched, MetadataLog, MetadataLogError};

use super::ControllerLink;
use crate::group_coordinator::GroupCoordinator;
use crate::metadata_cache::MetadataCache;
use crate::replicas::Replicas;

/// Why the metadata could not be followed this time.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    #[error("the metadata log cannot be read: {0}")]
    Batch(#[from] protocol::batch::BatchError),
    #[error(transparent)]
    Record(#[from] metadata::record::Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        Error::Log(error.into())
    }
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
    let mut told = String::new();
    loop {
        let id = link.active();
        match step(&link, id, &mut position).await {
            Ok(()) => publish(&link, &metadata, &replicas, &groups, &mut position).await,
            Err(error) => {
                match &error {
                    Error::Log(MetadataLogError::NotActive { hint, address }) => {
                        if let (Some(leader), Some(address)) = (hint, address) {
                            link.learn(*leader, address);
                        }
                        link.is_not_active(id, *hint);
                    }
                    Error::Log(MetadataLogError::Call(_)) => link.is_not_active(id, None),
                    // Said once: it is tried again, many times a second.
                    other if other.to_string() != told => {
                        tracing::error!(error = %other, "cannot follow the metadata");
                        told = other.to_string();
                    }
                    _ => {}
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
    if !link.knows_registration(position.image.end_offset) {
        // Until then it says what the last life of this broker was: taken over, it would lead once more what others lead now,
        // and take for committed what is not (found by seed 0 of the cluster's simulation).
        return;
    }
    let changes = std::mem::take(&mut position.changes);
    let image = Arc::new(position.image.clone());
    metadata.publish(Arc::clone(&image));
    replicas.apply(&before, &image, &changes).await;
    groups.follow(&before, &image, &changes);
    let is_leaving =
        |id: &i32| image.cluster.broker(*id).is_some_and(|b| b.in_controlled_shutdown && !b.fenced);
    let someone_leaves = changes.brokers.iter().any(is_leaving);
    let end_offset = image.end_offset;
    metadata.set_applied(image);
    link.applied(end_offset);
    if someone_leaves {
        // It goes when all others have told that they know who leads now, and would wait for their next heartbeats.
        link.beat_now();
    }
}

async fn step(link: &ControllerLink, id: i32, position: &mut Position) -> Result<(), Error> {
    match link.unless_replaced(id, read(link, id, position)).await? {
        Read::Snapshot { bytes, end_offset, epoch } => {
            let image = read_snapshot(link, bytes, end_offset)?;
            position.changes = everything(&position.image, &image);
            (position.image, position.epoch) = (image, epoch);
        }
        Read::Batches(records) if records.is_empty() => {}
        Read::Batches(records) => {
            let mut delta = Delta::new(&position.image);
            let epoch = apply_batches(link, &mut delta, records)?;
            let (_, image, changes) = delta.into_parts();
            merge(&mut position.changes, changes);
            position.image = image;
            position.epoch = epoch.unwrap_or(position.epoch);
        }
    }
    Ok(())
}

/// What comes after a position, as bytes.
enum Read {
    Batches(Bytes),
    Snapshot { bytes: Bytes, end_offset: i64, epoch: i32 },
}

async fn read(link: &ControllerLink, id: i32, position: &Position) -> Result<Read, MetadataLogError> {
    let lines = link.lines(id);
    let (offset, epoch) = (position.image.end_offset, position.epoch);
    // While it starts, the registration's answer may come after its record was read, and nothing else says so.
    let is_known = link.knows_registration(offset);
    let wait = if is_known { bounds::METADATA_FETCH_WAIT } else { bounds::METADATA_START_WAIT };
    let fetching = async {
        let log = MetadataLog::new(lines.follow.session().await?, Some(link.identity.cluster_id.clone()));
        let fetched = log.fetch(offset, epoch, wait).await?;
        Ok::<_, MetadataLogError>((log, fetched))
    };
    match asking_when_silent(link, wait, fetching).await? {
        (_, MetadataFetched::Batches { records, .. }) => Ok(Read::Batches(records)),
        (log, MetadataFetched::Snapshot { end_offset, epoch }) => {
            let bytes = log.fetch_snapshot(end_offset, epoch).await?;
            Ok(Read::Snapshot { bytes, end_offset, epoch })
        }
    }
}

/// A fetch that comes back later than it should makes the next heartbeat due: its answer tells who is active.
async fn asking_when_silent<T>(link: &ControllerLink, wait: Duration, fetch: impl Future<Output = T>) -> T {
    let mut fetch = pin!(fetch);
    match link.host.clock().timeout(wait + bounds::METADATA_SILENCE_MAX, &mut fetch).await {
        Ok(fetched) => fetched,
        Err(_) => {
            link.beat_now();
            fetch.await
        }
    }
}

/// Applies batches to a delta; returns the epoch of the last one.
fn apply_batches(link: &ControllerLink, delta: &mut Delta, records: Bytes) -> Result<Option<i32>, Error> {
    let mut epoch = None;
    for batch in batches(records) {
        let batch = batch?;
        let (first, next) = (batch.header.base_offset.0, batch.header.next_offset().0);
        let end = delta.image().end_offset;
        if next <= end {
            continue;
        }
        if first > end {
            return Err(MetadataLogError::Malformed("its batches leave a gap").into());
        }
        batch.check_crc()?;
        epoch = Some(batch.header.leader_epoch.0);
        if batch.header.is_control() {
            let (level, voters) = metadata::record::quorum(&batch)?;
            level.into_iter().for_each(|level| delta.set_kraft_version(level));
            voters.into_iter().for_each(|voters| learn_voters(link, &voters));
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
    Ok(metadata::record::decode(value.ok_or(MetadataLogError::Malformed("a record has no value"))?)?)
}

/// Whoever is active next is one of them, and may be none that the settings name.
fn learn_voters(link: &ControllerLink, voters: &VotersRecord) {
    for voter in &voters.voters {
        if let Some(Endpoint { host, port, .. }) = voter.endpoints.first() {
            let address =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            link.learn(voter.voter_id, &address);
        }
    }
}

fn read_snapshot(link: &ControllerLink, bytes: Bytes, end_offset: i64) -> Result<Image, Error> {
    let mut records = Vec::new();
    let mut kraft_version = 0;
    for batch in batches(bytes) {
        let batch = batch?;
        batch.check_crc()?;
        if batch.header.is_control() {
            let (level, voters) = metadata::record::quorum(&batch)?;
            kraft_version = level.unwrap_or(kraft_version);
            voters.into_iter().for_each(|voters| learn_voters(link, &voters));
            continue;
        }
        for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX)? {
            records.push(decode(record?.value)?);
        }
    }
    Ok(Image::from_snapshot(&records, end_offset).with_kraft_version(kraft_version))
}

/// What may differ between two images that are not joined by records: all topics and brokers. Configs are told apart by the
/// version of the image that they are of.
fn everything(before: &Image, after: &Image) -> Changes {
    let mut changes = Changes { features: true, ..Changes::default() };
    for topic in after.topics.iter() {
        changes.topics.insert(topic.id, topic.partitions.iter().map(|(index, _)| *index).collect());
    }
    let gone = before.topics.iter().filter(|topic| after.topics.by_id(topic.id).is_none());
    changes.removed_topics = gone.map(|topic| topic.id).collect();
    changes.brokers =
        before.cluster.brokers().chain(after.cluster.brokers()).map(|broker| broker.id).collect();
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
    changes.brokers.extend(later.brokers);
    changes.configs.extend(later.configs);
    changes.features |= later.features;
}
