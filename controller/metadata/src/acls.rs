//! Access control entries and the decision on them: pure, so that broker and controller decide alike.
//!
//! With no authorizer configured everything is allowed, as in Kafka. With the standard one (`StandardAuthorizer`), a
//! matching DENY wins, then a matching ALLOW; where no entry concerns the resource, the caller's default holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::access::{Operation, Resource};
use protocol::messages::AccessControlEntryRecord;
use protocol::{Str, Uuid};

use crate::{Image, Record};

/// The name that stands for every resource, and in a principal's place for everybody.
const WILDCARD: &str = "*";
const WILDCARD_PRINCIPAL: &str = "User:*";

const PATTERN_LITERAL: i8 = 3;
const PATTERN_PREFIXED: i8 = 4;
const PERMISSION_DENY: i8 = 2;
const PERMISSION_ALLOW: i8 = 3;

/// One entry, in the numbers of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub resource_type: i8,
    pub resource_name: Str,
    pub pattern_type: i8,
    /// `User:alice`, or `User:*` for everybody.
    pub principal: Str,
    /// An address, or `*`.
    pub host: Str,
    pub operation: i8,
    pub permission_type: i8,
}

/// All entries by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acls {
    entries: BTreeMap<Uuid, Arc<Acl>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// `User:name`.
    pub principal: &'a str,
    /// The peer's address, without a port.
    pub host: &'a str,
}

/// How a node decides; from its `server.properties`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorizer {
    /// `authorizer.class.name` is not set: everything is allowed.
    #[default]
    None,
    /// Entries decide.
    Standard {
        /// `super.users`: allowed everything.
        super_users: Vec<Str>,
        /// `allow.everyone.if.no.acl.found`.
        allow_if_no_entry: bool,
    },
}

/// Whether the requester may do `operation` on `resource`, by the entries of `image`.
pub fn authorize(
    image: &Image,
    by: &Authorizer,
    who: Requester<'_>,
    operation: Operation,
    resource: Resource<'_>,
) -> bool {
    let Authorizer::Standard { super_users, allow_if_no_entry } = by else { return true };
    if super_users.iter().any(|user| *user == *who.principal) {
        return true;
    }
    let mut found = false;
    let mut allowed = false;
    for acl in image.acls.entries.values().filter(|acl| acl.concerns(resource)) {
        found = true;
        if !acl.is_about(who) {
            continue;
        }
        if acl.permission_type == PERMISSION_DENY && acl.names(operation) {
            return false;
        }
        allowed |= acl.permission_type == PERMISSION_ALLOW && acl.implies(operation);
    }
    allowed || (!found && *allow_if_no_entry)
}

impl Acl {
    fn concerns(&self, resource: Resource<'_>) -> bool {
        self.resource_type == resource.resource_type.code()
            && match self.pattern_type {
                PATTERN_LITERAL => self.resource_name == *resource.name || self.resource_name == *WILDCARD,
                PATTERN_PREFIXED => resource.name.starts_with(self.resource_name.as_str()),
                _ => false,
            }
    }

    fn is_about(&self, who: Requester<'_>) -> bool {
        (self.principal == *who.principal || self.principal == *WILDCARD_PRINCIPAL)
            && (self.host == *who.host || self.host == *WILDCARD)
    }

    fn names(&self, operation: Operation) -> bool {
        self.operation == operation.code() || self.operation == Operation::All.code()
    }

    /// An entry that allows one operation allows those that it cannot do without.
    fn implies(&self, operation: Operation) -> bool {
        use Operation::{Alter, AlterConfigs, Delete, Describe, DescribeConfigs, Read, Write};
        let of = |operations: &[Operation]| operations.iter().any(|o| self.operation == o.code());
        self.names(operation)
            || match operation {
                Describe => of(&[Read, Write, Delete, Alter]),
                DescribeConfigs => of(&[AlterConfigs]),
                _ => false,
            }
    }
}

impl Acls {
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &Arc<Acl>)> {
        self.entries.iter().map(|(id, acl)| (*id, acl))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn insert(&mut self, record: &AccessControlEntryRecord) {
        let acl = Acl {
            resource_type: record.resource_type,
            resource_name: record.resource_name.detached(),
            pattern_type: record.pattern_type,
            principal: record.principal.detached(),
            host: record.host.detached(),
            operation: record.operation,
            permission_type: record.permission_type,
        };
        self.entries.insert(record.id, Arc::new(acl));
    }

    pub(crate) fn remove(&mut self, id: Uuid) {
        self.entries
            .remove(&id)
            .unwrap_or_else(|| panic!("access control entry {id} is removed, but does not exist"));
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.entries.iter().map(|(id, acl)| {
            Record::from(AccessControlEntryRecord {
                id: *id,
                resource_type: acl.resource_type,
                resource_name: acl.resource_name.clone(),
                pattern_type: acl.pattern_type,
                principal: acl.principal.clone(),
                host: acl.host.clone(),
                operation: acl.operation,
                permission_type: acl.permission_type,
                ..AccessControlEntryRecord::default()
            })
        })
    }
}

#[cfg(test)]
mod tests;
