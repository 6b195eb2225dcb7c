//! A member of a classic group.

use bytes::Bytes;
use protocol::Str;
use protocol::messages::group_metadata_value::MemberMetadata;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;

use super::Awaits;
use crate::machine::Ticket;
use crate::operation::{Join, detached};

/// A way of assigning that a member knows, and what it says to the leader under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: Str,
    pub(crate) metadata: Bytes,
}

impl Protocol {
    pub(crate) fn list(asked: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
        let copy = |p: &JoinGroupRequestProtocol| Protocol {
            name: p.name.detached(),
            metadata: detached(&p.metadata),
        };
        asked.iter().map(copy).collect()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Str,
    pub(crate) instance_id: Option<Str>,
    pub(crate) client_id: Str,
    pub(crate) client_host: Str,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In the order of its preference.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    pub(crate) awaits: Awaits,
    /// Joined, and has not been in a generation yet: its wait can expire.
    pub(crate) is_new: bool,
}

impl Member {
    pub(super) fn new(id: Str, join: &Join) -> Member {
        Member {
            id,
            instance_id: join.request.group_instance_id.as_ref().map(Str::detached),
            client_id: join.client_id.detached(),
            client_host: join.client_host.detached(),
            rebalance_timeout_ms: rebalance_timeout_ms(join),
            session_timeout_ms: join.request.session_timeout_ms,
            protocols: Protocol::list(&join.request.protocols),
            assignment: Bytes::new(),
            awaits: Awaits::Nothing,
            is_new: true,
        }
    }

    pub(super) fn from_record(recorded: &MemberMetadata, protocol: &Str) -> Member {
        let timeout = match recorded.rebalance_timeout {
            -1 => recorded.session_timeout,
            given => given,
        };
        Member {
            id: recorded.member_id.detached(),
            instance_id: recorded.group_instance_id.as_ref().map(Str::detached),
            client_id: recorded.client_id.detached(),
            client_host: recorded.client_host.detached(),
            rebalance_timeout_ms: timeout,
            session_timeout_ms: recorded.session_timeout,
            protocols: vec![Protocol {
                name: protocol.detached(),
                metadata: detached(&recorded.subscription),
            }],
            assignment: detached(&recorded.assignment),
            awaits: Awaits::Nothing,
            is_new: false,
        }
    }

    pub(super) fn to_record(&self, protocol: Option<&str>) -> MemberMetadata {
        MemberMetadata {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: protocol.map(|name| self.metadata(name)).unwrap_or_default(),
            assignment: self.assignment.clone(),
            ..Default::default()
        }
    }

    /// Takes over what a member says when it joins again.
    pub(super) fn update(&mut self, join: &Join, ticket: Ticket) {
        self.protocols = Protocol::list(&join.request.protocols);
        self.rebalance_timeout_ms = rebalance_timeout_ms(join);
        self.session_timeout_ms = join.request.session_timeout_ms;
        self.awaits = Awaits::Join(ticket);
    }

    /// What it says under a protocol; nothing under one that it does not have.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|p| p.name == *protocol);
        found.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    pub(crate) fn awaits_join(&self) -> bool {
        matches!(self.awaits, Awaits::Join(_))
    }

    /// Who waits for the coordinator is not silent; only a new member's wait can be too long.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && self.awaits != Awaits::Nothing
    }
}

/// Version 0 knows one time-out for both.
pub(crate) fn rebalance_timeout_ms(join: &Join) -> i32 {
    if join.version == 0 { join.request.session_timeout_ms } else { join.request.rebalance_timeout_ms }
}
