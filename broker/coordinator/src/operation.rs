//! What can be asked of a shard of the group coordinator, and what it answers.
//!
//! Requests and answers are Kafka's own messages where one concerns one group; the handlers split and join the others.

use bytes::Bytes;
use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitValue, SyncGroupRequest,
    SyncGroupResponse,
};
use protocol::{ErrorCode, Str, Uuid};

use crate::consumer::Refusal;
use crate::offsets::{Committed, TopicPartition};
use crate::shard::MeasuredPage;

/// JoinGroup, and what it does not say itself.
#[derive(Clone, Debug)]
pub struct Join {
    pub request: JoinGroupRequest,
    pub version: i16,
    pub client_id: Str,
    /// `/` and the address, as Kafka writes it.
    pub client_host: Str,
    /// For the name of a new member.
    pub unique: Uuid,
}

/// ConsumerGroupHeartbeat, and what it does not say itself.
#[derive(Clone, Debug)]
pub struct Beat {
    pub request: ConsumerGroupHeartbeatRequest,
    pub version: i16,
    pub client_id: Str,
    /// `/` and the address, as Kafka writes it.
    pub client_host: Str,
    /// For the name of a new member of version 0.
    pub unique: Uuid,
}

/// OffsetCommit of one group.
#[derive(Clone, Debug)]
pub struct Commit {
    pub version: i16,
    pub group: Str,
    pub member_id: Str,
    pub instance_id: Option<Str>,
    /// The generation, or the epoch of the member; below 0 for who is no member.
    pub generation: i32,
    pub offsets: Vec<(TopicPartition, OffsetCommitValue)>,
}

/// OffsetFetch of one group.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub group: Str,
    /// Who asks as a member of a consumer group, and its epoch.
    pub member: Option<(Str, i32)>,
    /// None: all that there are.
    pub partitions: Option<Vec<TopicPartition>>,
    pub require_stable: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub enum Operation {
    Join(Join),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    /// In the form of version 3 and later: a list of members.
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(Beat),
    ConsumerDescribe(Str),
    Commit(Commit),
    Fetch(Fetch),
    DeleteOffsets {
        group: Str,
        partitions: Vec<TopicPartition>,
    },
    Describe(Str),
    List {
        states: Vec<Str>,
        types: Vec<Str>,
    },
    DeleteGroup(Str),
    /// A page of groups, for metrics.
    Measure {
        after: Option<Str>,
        offsets_max: usize,
    },
    /// These topics are gone from the cluster.
    TopicsDeleted(Vec<Str>),
}

/// An offset that was asked for: what is committed, or why it is not told.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    pub partition: TopicPartition,
    pub committed: Result<Option<Committed>, ErrorCode>,
}

/// See the module. Codes stand in the order in which things were asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(ErrorCode),
    Leave(LeaveGroupResponse),
    Measured(MeasuredPage),
    ConsumerHeartbeat(Result<ConsumerGroupHeartbeatResponse, Refusal>),
    ConsumerDescribe(protocol::messages::consumer_group_describe_response::DescribedGroup),
    Commit(Result<Vec<ErrorCode>, ErrorCode>),
    Fetch(Result<Vec<Fetched>, ErrorCode>),
    DeleteOffsets(Result<Vec<ErrorCode>, ErrorCode>),
    Describe(DescribedGroup),
    List(Vec<ListedGroup>),
    DeleteGroup(ErrorCode),
    Done,
}

/// A copy of its own: what is kept must not keep the frame of a request alive.
pub(crate) fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
