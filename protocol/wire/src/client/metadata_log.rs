//! Reading `__cluster_metadata-0` from the active controller, as brokers do.
//!
//!     fetch(offset) -> batches from there on            (none: nothing new within the wait)
//!                   -> "take the snapshot 512-3"  -> fetch_snapshot: piece by piece, whole
//!
//! Only committed records are ever given out, so nobody who reads has to truncate.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::bounds::{CONTROLLER_CALL_TIMEOUT, CONTROLLER_FETCH_BYTES_MAX, CONTROLLER_SNAPSHOT_BYTES_MAX};
use protocol::ids::METADATA_TOPIC;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::NodeEndpoint;
use protocol::messages::fetch_snapshot_request::{PartitionSnapshot, SnapshotId, TopicSnapshot};
use protocol::messages::{FetchRequest, FetchSnapshotRequest};
use protocol::{ErrorCode, Str, Uuid};

use super::connection::CallError;
use super::node::Session;

/// How long one piece of a snapshot may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the metadata log could not be read this time.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataLogError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// The controller that was asked is not the active one; perhaps it knows who is, and where.
    #[error("the controller is not active")]
    NotActive { hint: Option<i32>, address: Option<String> },
    #[error("the controller answers {0}")]
    Refused(ErrorCode),
    #[error("the controller's answer is not one: {0}")]
    Malformed(&'static str),
}

/// What a fetch of the metadata log gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataFetched {
    /// Whole batches from the offset on. The first may begin before it.
    Batches { records: Bytes, high_watermark: i64 },
    /// The log begins later: the state up to there is this snapshot.
    Snapshot { end_offset: i64, epoch: i32 },
}

/// The metadata log of one controller.
#[derive(Clone, Debug)]
pub struct MetadataLog {
    session: Session,
    /// Of another cluster nothing is read; None reads any.
    cluster_id: Option<Str>,
    /// As the reader knows it, or -1. Kafka's controllers refuse readers that know none.
    leader_epoch: i32,
}

impl MetadataLog {
    pub fn new(session: Session, cluster_id: Option<Str>) -> MetadataLog {
        MetadataLog { session, cluster_id, leader_epoch: -1 }
    }

    /// Reads only while the controller leads in this epoch.
    pub fn in_epoch(self, leader_epoch: i32) -> MetadataLog {
        MetadataLog { leader_epoch, ..self }
    }

    /// Reads from an offset. `last_epoch` is the epoch of the record before it, or -1; at the end of the log this waits.
    pub async fn fetch(
        &self,
        offset: i64,
        last_epoch: i32,
        wait: Duration,
    ) -> Result<MetadataFetched, MetadataLogError> {
        let bytes_max = CONTROLLER_FETCH_BYTES_MAX as i32;
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: self.leader_epoch,
            fetch_offset: offset,
            last_fetched_epoch: last_epoch,
            partition_max_bytes: bytes_max,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: Str::from_static(METADATA_TOPIC),
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![partition],
            ..Default::default()
        };
        let request = FetchRequest {
            cluster_id: self.cluster_id.clone(),
            max_wait_ms: wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes: bytes_max,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = self.session.call_within(wait + CONTROLLER_CALL_TIMEOUT, &request).await?;
        check(answer.error_code, -1)?;
        let endpoints = answer.node_endpoints;
        let topic = answer.responses.into_iter().next().ok_or(Malformed("it has no topic"))?;
        let data = topic.partitions.into_iter().next().ok_or(Malformed("it has no partition"))?;
        let leader = data.current_leader.leader_id;
        check(data.error_code, leader).map_err(|error| match error {
            MetadataLogError::NotActive { hint, .. } => {
                let endpoint = endpoints.iter().find(|endpoint| endpoint.node_id == leader);
                MetadataLogError::NotActive { hint, address: endpoint.map(address_of) }
            }
            other => other,
        })?;
        if data.snapshot_id.end_offset >= 0 {
            let (end_offset, epoch) = (data.snapshot_id.end_offset, data.snapshot_id.epoch);
            return Ok(MetadataFetched::Snapshot { end_offset, epoch });
        }
        if data.diverging_epoch.end_offset >= 0 {
            return Err(Malformed("committed metadata was taken back"));
        }
        let records = data.records.unwrap_or_default().to_bytes();
        let records = records.ok_or(Malformed("its records are elsewhere"))?;
        Ok(MetadataFetched::Batches { records, high_watermark: data.high_watermark })
    }

    /// A whole snapshot: the bytes of Kafka's `.checkpoint` file.
    pub async fn fetch_snapshot(&self, end_offset: i64, epoch: i32) -> Result<Bytes, MetadataLogError> {
        let mut all = BytesMut::new();
        loop {
            let partition = PartitionSnapshot {
                partition: 0,
                current_leader_epoch: self.leader_epoch,
                snapshot_id: SnapshotId { end_offset, epoch, ..Default::default() },
                position: all.len() as i64,
                ..Default::default()
            };
            let topic = TopicSnapshot {
                name: Str::from_static(METADATA_TOPIC),
                partitions: vec![partition],
                ..Default::default()
            };
            let request = FetchSnapshotRequest {
                cluster_id: self.cluster_id.clone(),
                max_bytes: CONTROLLER_FETCH_BYTES_MAX as i32,
                topics: vec![topic],
                ..Default::default()
            };
            let answer = self.session.call_within(PIECE_TIMEOUT, &request).await?;
            check(answer.error_code, -1)?;
            let topic = answer.topics.into_iter().next().ok_or(Malformed("it has no topic"))?;
            let piece = topic.partitions.into_iter().next().ok_or(Malformed("it has no partition"))?;
            check(piece.error_code, piece.current_leader.leader_id)?;
            let bytes = piece.unaligned_records.to_bytes().ok_or(Malformed("its records are elsewhere"))?;
            if bytes.is_empty() || piece.size < 0 || piece.size > CONTROLLER_SNAPSHOT_BYTES_MAX as i64 {
                return Err(Malformed("a piece of a snapshot is empty, or the snapshot is too large"));
            }
            all.extend_from_slice(&bytes);
            if all.len() as i64 >= piece.size {
                return Ok(all.freeze());
            }
        }
    }
}

use MetadataLogError::Malformed;

fn address_of(endpoint: &NodeEndpoint) -> String {
    let (host, port) = (&endpoint.host, endpoint.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn check(code: i16, leader: i32) -> Result<(), MetadataLogError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::NotController
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch => Err(MetadataLogError::NotActive {
            hint: Some(leader).filter(|leader| *leader >= 0),
            address: None,
        }),
        // A controller that came back and has not read its log yet.
        ErrorCode::OffsetOutOfRange => Err(MetadataLogError::NotActive { hint: None, address: None }),
        other => Err(MetadataLogError::Refused(other)),
    }
}
