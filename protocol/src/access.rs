//! What can be asked for, and of what: the words that requests, access control entries and authorizers share.

/// What is to be done with a resource: Kafka's `AclOperation`, with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum Operation {
    /// In an access control entry only: whatever is to be done.
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

impl Operation {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// Kafka's `ResourceType`, with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
    DelegationToken = 6,
    User = 7,
}

impl ResourceType {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// One thing that a request wants to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    pub resource_type: ResourceType,
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    /// The cluster as a whole (Kafka's name for it).
    pub const CLUSTER: Resource<'static> =
        Resource { resource_type: ResourceType::Cluster, name: "kafka-cluster" };

    pub fn topic(name: &'a str) -> Resource<'a> {
        Resource { resource_type: ResourceType::Topic, name }
    }

    pub fn group(name: &'a str) -> Resource<'a> {
        Resource { resource_type: ResourceType::Group, name }
    }

    pub fn transactional_id(name: &'a str) -> Resource<'a> {
        Resource { resource_type: ResourceType::TransactionalId, name }
    }
}
