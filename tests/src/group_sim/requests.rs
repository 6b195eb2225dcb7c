//! The requests of members.

use bytes::Bytes;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::messages::consumer_protocol_assignment::TopicPartition;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest, OffsetFetchRequest,
    SyncGroupRequest,
};
use protocol::record_frame::{decode_versioned, encode_versioned};
use protocol::{Str, Uuid};

use super::{GROUP, PARTITIONS, REBALANCE, SESSION, TOPIC};

const CONSUMER_VERSION: i16 = 1;

pub(super) fn join(member: &Str) -> JoinGroupRequest {
    let subscription = ConsumerProtocolSubscription { topics: vec![TOPIC.into()], ..Default::default() };
    let metadata = encode_versioned(&subscription, CONSUMER_VERSION).expect("it fits");
    let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata, ..Default::default() };
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: SESSION.as_millis() as i32,
        rebalance_timeout_ms: REBALANCE.as_millis() as i32,
        member_id: member.clone(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// The leader assigns: each partition to the next member.
pub(super) fn sync(told: &JoinGroupResponse) -> SyncGroupRequest {
    let count = told.members.len();
    let one =
        |(index, member): (usize, &protocol::messages::join_group_response::JoinGroupResponseMember)| {
            let partitions = (0..PARTITIONS).filter(|p| *p as usize % count == index).collect();
            let topic = TopicPartition { topic: TOPIC.into(), partitions, ..Default::default() };
            let assignment =
                ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() };
            let assignment = encode_versioned(&assignment, CONSUMER_VERSION).expect("it fits");
            SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment,
                ..Default::default()
            }
        };
    SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: told.generation_id,
        member_id: told.member_id.clone(),
        protocol_type: told.protocol_type.clone(),
        protocol_name: told.protocol_name.clone(),
        assignments: told.members.iter().enumerate().map(one).collect(),
        ..Default::default()
    }
}

pub(super) fn assigned(bytes: &Bytes) -> Vec<i32> {
    let read = decode_versioned::<ConsumerProtocolAssignment>(bytes.clone());
    let topics = read.map(|assignment| assignment.assigned_partitions).unwrap_or_default();
    topics.into_iter().flat_map(|topic| topic.partitions).collect()
}

pub(super) fn heartbeat(member: &Str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id: generation,
        member_id: member.clone(),
        ..Default::default()
    }
}

pub(super) fn beat(
    member: &Str,
    epoch: i32,
    topic_id: Uuid,
    owned: Vec<i32>,
) -> ConsumerGroupHeartbeatRequest {
    let owned = TopicPartitions { topic_id, partitions: owned, ..Default::default() };
    let is_nothing = epoch <= 0 || owned.partitions.is_empty();
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.into(),
        member_id: member.clone(),
        member_epoch: epoch,
        rebalance_timeout_ms: REBALANCE.as_millis() as i32,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(if is_nothing { Vec::new() } else { vec![owned] }),
        ..Default::default()
    }
}

/// The requests of the simulation name topics as their version wants it: by name and by id.
pub(super) fn commit(
    member: &Str,
    generation: i32,
    topic_id: Uuid,
    partition: i32,
    offset: i64,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: TOPIC.into(),
        topic_id,
        partitions: vec![partition],
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.clone(),
        topics: vec![topic],
        ..Default::default()
    }
}

/// As an administrator asks.
pub(super) fn fetch(topic_id: Uuid, partition: i32) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.into(),
        topic_id,
        partition_indexes: vec![partition],
        ..Default::default()
    };
    let group =
        OffsetFetchRequestGroup { group_id: GROUP.into(), topics: Some(vec![topic]), ..Default::default() };
    OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() }
}
