//! Metadata as Kafka record batches: what an entry of the log holds, what brokers fetch, what a checkpoint is made of.
//!
//! ```text
//!   entry        | LeaderChange (control, 1 record; first entry of an epoch only) | metadata records, one batch |
//!   membership   | KRaftVersion, KRaftVoters (control, 2 records) |
//!   level        | KRaftVersion (control, 1 record) |
//!   checkpoint   | SnapshotHeader (control) | KRaftVersion, KRaftVoters (from level 1 on) | records, 1024 a batch ... |
//!                | SnapshotFooter (control) |
//! ```
//!
//! **Invariant:** every record has an offset, control records too, as in Kafka: `kafka-dump-log` reads these bytes, and
//! a broker's metadata offset means here what it means there.

use std::collections::BTreeMap;

use bytes::Bytes;
use metadata::{Delta, Image, Record, features, record};
use protocol::batch::{self, BatchBuilder, BatchOptions, ControlRecord};
use protocol::ids::{LeaderEpoch, Offset};
use protocol::messages::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    leader_change_message, voters_record,
};
use protocol::{Encoder, Message, Str, bounds};

use super::types::{Membership, RaftId, Voter};

/// Kafka's `ControlRecordType` numbers.
const LEADER_CHANGE: i16 = 2;
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;
const KRAFT_VERSION: i16 = 5;
const KRAFT_VOTERS: i16 = 6;

/// `kraft.version` of a quorum whose voters can change. Ours always live in the log, known by their directory ids; below
/// this level, as in Kafka's static quorums, nobody may change them.
pub const DYNAMIC_VOTERS: i16 = 1;

/// Records that a membership entry becomes.
pub const RECORDS_OF_MEMBERSHIP: i64 = 2;

/// Why bytes are not metadata.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a metadata batch is damaged: {0}")]
    Batch(#[from] batch::BatchError),
    #[error(transparent)]
    Record(#[from] metadata::record::Error),
    #[error("a metadata record has no value")]
    NoValue,
    #[error("metadata batches begin at offset {found}, not at {expected}")]
    Gap { expected: i64, found: i64 },
    #[error("a checkpoint lacks its {0}")]
    Checkpoint(&'static str),
}

/// What is the same for all batches of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub epoch: i32,
    pub timestamp_ms: i64,
}

fn options(base_offset: i64, stamp: Stamp, control: bool) -> BatchOptions {
    let (base_offset, leader_epoch) = (Offset(base_offset), LeaderEpoch(stamp.epoch));
    BatchOptions { base_offset, leader_epoch, control, ..BatchOptions::default() }
}

/// A batch of encoded metadata records.
///
/// # Panics
/// Without any.
pub fn data(base_offset: i64, stamp: Stamp, values: &[Bytes]) -> Bytes {
    let mut builder = BatchBuilder::new(options(base_offset, stamp, false));
    for value in values {
        builder.append(stamp.timestamp_ms, None, Some(value), &[]);
    }
    builder.finish().to_bytes()
}

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut out = Encoder::new();
    message.encode(&mut out, version).expect("control records hold only fields of their version");
    out.into_bytes().expect("only bytes were encoded")
}

fn control(base_offset: i64, stamp: Stamp, records: &[(i16, Bytes)]) -> Bytes {
    let mut builder = BatchBuilder::new(options(base_offset, stamp, true));
    for (kind, value) in records {
        let [high, low] = kind.to_be_bytes();
        // Key: version 0, then the type.
        builder.append(stamp.timestamp_ms, Some(&[0, 0, high, low]), Some(value), &[]);
    }
    builder.finish().to_bytes()
}

/// The first record of an epoch: who leads, and who could have voted.
pub fn leader_change(base_offset: i64, stamp: Stamp, leader: i32, voters: &[RaftId]) -> Bytes {
    let voter = |id: &RaftId| leader_change_message::Voter { voter_id: id.node, ..Default::default() };
    let message = LeaderChangeMessage {
        // Kafka's tools read version 0 only; the directory ids of voters are in KRaftVoters.
        version: 0,
        leader_id: leader,
        voters: voters.iter().map(voter).collect(),
        // Raft counts votes, it does not keep the names.
        granting_voters: Vec::new(),
        ..LeaderChangeMessage::default()
    };
    control(base_offset, stamp, &[(LEADER_CHANGE, encoded(&message, 0))])
}

/// The voters from here on, under a level that was finalized before. Every voter computes these bytes by itself, so there is
/// no clock in them.
pub fn voters(base_offset: i64, epoch: i32, level: i16, membership: &Membership) -> Bytes {
    control(base_offset, Stamp { epoch, timestamp_ms: 0 }, &voters_records(level, membership))
}

/// The level of the quorum's protocol from here on.
pub fn kraft_version(base_offset: i64, stamp: Stamp, level: i16) -> Bytes {
    control(base_offset, stamp, &[version_record(level)])
}

fn version_record(level: i16) -> (i16, Bytes) {
    let record = KRaftVersionRecord { version: 0, k_raft_version: level, ..KRaftVersionRecord::default() };
    (KRAFT_VERSION, encoded(&record, 0))
}

/// Observers are no voters: the log names them to Raft only.
fn voters_records(level: i16, membership: &Membership) -> [(i16, Bytes); 2] {
    let address = |id: &RaftId| membership.get_node(id).map_or("", |node| node.address.as_str());
    let record = VotersRecord {
        version: 0,
        voters: membership.voter_ids().map(|id| voter(&id, address(&id))).collect(),
        ..VotersRecord::default()
    };
    [version_record(level), (KRAFT_VOTERS, encoded(&record, 0))]
}

fn voter(id: &RaftId, address: &str) -> voters_record::Voter {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    let endpoint = voters_record::Endpoint {
        name: Str::from("CONTROLLER"),
        host: Str::from(host.trim_start_matches('[').trim_end_matches(']')),
        port: port.parse().unwrap_or(0),
        ..voters_record::Endpoint::default()
    };
    voters_record::Voter {
        voter_id: id.node,
        voter_directory_id: id.directory,
        endpoints: vec![endpoint],
        k_raft_version_feature: voters_record::KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: DYNAMIC_VOTERS,
            ..voters_record::KRaftVersionFeature::default()
        },
        ..voters_record::Voter::default()
    }
}

/// Applies the batches of an entry. They must begin where the image ends.
///
/// # Errors
/// Damage, and records that this release does not know: a node that meets one must stop.
pub fn apply(delta: &mut Delta, batches: &Bytes) -> Result<(), Error> {
    for batch in batch::batches(batches.clone()) {
        let batch = batch?;
        let expected = delta.image().end_offset;
        if batch.header.base_offset != Offset(expected) {
            return Err(Error::Gap { expected, found: batch.header.base_offset.0 });
        }
        if batch.header.is_control() {
            delta.apply_control(&batch)?;
            continue;
        }
        for record in records(&batch)? {
            delta.apply(&record);
        }
    }
    Ok(())
}

fn records(batch: &batch::Batch) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for record in batch.records(bounds::CONTROLLER_SNAPSHOT_BYTES_MAX)? {
        records.push(record::decode(record?.value.ok_or(Error::NoValue)?)?);
    }
    Ok(records)
}

/// The bytes of a checkpoint: Kafka's `<end offset>-<epoch>.checkpoint`.
pub fn checkpoint(image: &Image, membership: &Membership, stamp: Stamp) -> Bytes {
    let (mut out, mut offset) =
        checkpoint_head(image.features.level(features::KRAFT_VERSION), membership, stamp);
    let level = image.features.metadata_version();
    let mut values = Vec::new();
    let flush = |values: &mut Vec<Bytes>, out: &mut Vec<u8>, offset: &mut i64| {
        if !values.is_empty() {
            out.extend_from_slice(&data(*offset, stamp, values));
            *offset += values.len() as i64;
            values.clear();
        }
    };
    for record in image.records() {
        values.push(record::encode(&record, level).expect("an image holds what its level can carry"));
        if values.len() == bounds::CONTROLLER_SNAPSHOT_BATCH_RECORDS_MAX {
            flush(&mut values, &mut out, &mut offset);
        }
    }
    flush(&mut values, &mut out, &mut offset);
    out.extend_from_slice(&checkpoint_foot(offset, stamp));
    out.into()
}

/// Where a checkpoint begins, and the offset after that.
fn checkpoint_head(level: i16, membership: &Membership, stamp: Stamp) -> (Vec<u8>, i64) {
    let header = SnapshotHeaderRecord {
        version: 0,
        last_contained_log_timestamp: stamp.timestamp_ms,
        ..Default::default()
    };
    let mut out = control(0, stamp, &[(SNAPSHOT_HEADER, encoded(&header, 0))]).to_vec();
    if level < DYNAMIC_VOTERS {
        return (out, 1);
    }
    out.extend_from_slice(&control(1, stamp, &voters_records(level, membership)));
    (out, 1 + RECORDS_OF_MEMBERSHIP)
}

fn checkpoint_foot(offset: i64, stamp: Stamp) -> Bytes {
    let footer = SnapshotFooterRecord { version: 0, ..Default::default() };
    control(offset, stamp, &[(SNAPSHOT_FOOTER, encoded(&footer, 0))])
}

/// The checkpoint of an empty log that names the first voters: what formatting a directory for them writes.
pub fn first_checkpoint(membership: &Membership, timestamp_ms: i64) -> Bytes {
    let stamp = Stamp { epoch: 0, timestamp_ms };
    let (mut out, offset) = checkpoint_head(DYNAMIC_VOTERS, membership, stamp);
    out.extend_from_slice(&checkpoint_foot(offset, stamp));
    out.into()
}

/// The voters that the checkpoint of an empty log names, with their addresses.
///
/// # Errors
/// Damage, and a checkpoint that names none.
pub fn first_voters(bytes: &Bytes) -> Result<BTreeMap<RaftId, Voter>, Error> {
    for batch in batch::batches(bytes.clone()) {
        let batch = batch?;
        batch.check_crc()?;
        for record in batch.records(bounds::CONTROLLER_SNAPSHOT_BYTES_MAX)? {
            if let Some(ControlRecord::KRaftVoters(voters)) =
                ControlRecord::read(&record?).map_err(metadata::record::Error::from)?
            {
                return Ok(voters.voters.iter().filter_map(named_voter).collect());
            }
        }
    }
    Err(Error::Checkpoint("voters"))
}

fn named_voter(voter: &voters_record::Voter) -> Option<(RaftId, Voter)> {
    let endpoint = voter.endpoints.first()?;
    let address = address_of(&endpoint.host, endpoint.port);
    Some((RaftId { node: voter.voter_id, directory: voter.voter_directory_id }, Voter { address }))
}

/// `host:port`, with brackets around the address of an IPv6 host.
pub fn address_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The image of a checkpoint that covers the log up to `end_offset`.
///
/// # Errors
/// Damage, unknown records, and a checkpoint that is cut off.
pub fn read_checkpoint(bytes: &Bytes, end_offset: i64) -> Result<Image, Error> {
    let mut all = Vec::new();
    let mut kinds = Vec::new();
    let mut kraft_version = 0;
    let mut batches = batch::batches(bytes.clone());
    for batch in batches.by_ref() {
        let batch = batch?;
        batch.check_crc()?;
        if batch.header.is_control() {
            kraft_version = record::kraft_version(&batch)?.unwrap_or(kraft_version);
            for record in batch.records(bounds::CONTROLLER_SNAPSHOT_BYTES_MAX)? {
                let key = record?.key.ok_or(Error::NoValue)?;
                kinds.push(key.get(2..4).map(|kind| i16::from_be_bytes([kind[0], kind[1]])));
            }
        } else {
            all.extend(records(&batch)?);
        }
    }
    if kinds.first() != Some(&Some(SNAPSHOT_HEADER)) {
        return Err(Error::Checkpoint("header"));
    }
    if kinds.last() != Some(&Some(SNAPSHOT_FOOTER)) || !batches.rest().is_empty() {
        return Err(Error::Checkpoint("footer"));
    }
    Ok(Image::from_snapshot(&all, end_offset).with_kraft_version(kraft_version))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use protocol::Uuid;
    use protocol::messages::{FeatureLevelRecord, TopicRecord};

    use super::*;

    const STAMP: Stamp = Stamp { epoch: 3, timestamp_ms: 1_700_000_000_000 };

    fn level() -> Record {
        let latest = features::find(features::METADATA_VERSION).unwrap().default_level;
        let name = Str::from(features::METADATA_VERSION);
        Record::from(FeatureLevelRecord { name, feature_level: latest, ..Default::default() })
    }

    fn image() -> Image {
        let topic = |n: u128| {
            let name = Str::from(format!("topic-{n}"));
            Record::from(TopicRecord { name, topic_id: Uuid(n + 1), ..Default::default() })
        };
        let records: Vec<Record> = std::iter::once(level()).chain((0..3000).map(topic)).collect();
        Image::from_snapshot(&records, 5000)
    }

    fn membership() -> Membership {
        let id = |node| RaftId { node, directory: Uuid(node as u128) };
        let nodes: BTreeMap<RaftId, Voter> =
            (1..=4).map(|n| (id(n), Voter { address: format!("c{n}:9093") })).collect();
        Membership::new(vec![(1..=3).map(id).collect()], nodes).unwrap()
    }

    #[test]
    fn the_first_checkpoint_names_the_voters_and_no_observer() {
        let bytes = first_checkpoint(&membership(), 5);
        let voters = first_voters(&bytes).unwrap();
        let expected: BTreeMap<RaftId, Voter> =
            membership().nodes().take(3).map(|(id, voter)| (*id, voter.clone())).collect();
        assert_eq!(voters, expected);
        assert!(first_voters(&checkpoint(&image(), &membership(), STAMP)).is_err(), "level 0 names none");
        assert!(first_voters(&bytes.slice(..bytes.len() - 100)).is_err());
    }

    #[test]
    fn the_level_of_the_quorum_survives_a_checkpoint_and_comes_with_control_records() {
        let raised = kraft_version(5000, STAMP, DYNAMIC_VOTERS);
        let mut delta = Delta::new(&image());
        apply(&mut delta, &raised).unwrap();
        let image = delta.finish();
        assert_eq!((image.features.level(features::KRAFT_VERSION), image.end_offset), (1, 5001));
        let bytes = checkpoint(&image, &membership(), STAMP);
        assert_eq!(read_checkpoint(&bytes, 5001).unwrap(), image);
        assert!(apply(&mut Delta::new(&image), &kraft_version(5001, STAMP, 9)).is_err(), "an unknown level");
    }

    #[test]
    fn a_checkpoint_gives_the_image_back_and_a_torn_one_is_refused() {
        let image = image();
        let bytes = checkpoint(&image, &membership(), STAMP);
        let back = read_checkpoint(&bytes, 5000).unwrap();
        assert_eq!(back, image);
        assert_eq!(back.end_offset, 5000);
        assert!(matches!(
            read_checkpoint(&bytes.slice(..bytes.len() - 10), 5000),
            Err(Error::Checkpoint("footer"))
        ));
        assert!(read_checkpoint(&bytes.slice(100..), 5000).is_err());
    }

    #[test]
    fn control_records_take_offsets_and_gaps_are_refused() {
        let record = level();
        let level = Image::default().with([&record]).features.metadata_version();
        let value = record::encode(&record, level).unwrap();
        let mut entry = leader_change(7, STAMP, 1, &[RaftId { node: 1, directory: Uuid(9) }]).to_vec();
        entry.extend_from_slice(&data(8, STAMP, &[value]));
        let entry = Bytes::from(entry);
        let mut delta = Delta::new(&Image::from_snapshot([], 7));
        apply(&mut delta, &entry).unwrap();
        assert_eq!(delta.image().end_offset, 9);
        assert!(matches!(apply(&mut delta, &entry), Err(Error::Gap { expected: 9, found: 7 })));
    }
}
