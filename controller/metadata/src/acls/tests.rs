//! Who may do what.

use protocol::access::ResourceType;

use super::*;
use protocol::messages::AccessControlEntryRecord;

const ALICE: Requester<'_> = Requester { principal: "User:alice", host: "10.0.0.1" };

fn image(entries: &[(&str, i8, &str, Operation, i8)]) -> Image {
    let record = |(at, (name, pattern, principal, operation, permission)): (
        usize,
        &(&str, i8, &str, Operation, i8),
    )| {
        Record::from(AccessControlEntryRecord {
            id: Uuid(at as u128),
            resource_type: ResourceType::Topic.code(),
            resource_name: Str::from(*name),
            pattern_type: *pattern,
            principal: Str::from(*principal),
            host: Str::from("*"),
            operation: *operation as i8,
            permission_type: *permission,
            ..Default::default()
        })
    };
    let records: Vec<Record> = entries.iter().enumerate().map(record).collect();
    Image::default().with(&records)
}

fn may(image: &Image, operation: Operation, topic: &str) -> bool {
    let authorizer =
        Authorizer::Standard { super_users: vec![Str::from("User:root")], allow_if_no_entry: false };
    authorize(image, &authorizer, ALICE, operation, Resource::topic(topic))
}

#[test]
fn without_an_authorizer_everything_is_allowed() {
    let denied = image(&[("t", PATTERN_LITERAL, "User:alice", Operation::All, PERMISSION_DENY)]);
    let topic = Resource::topic("t");
    assert!(authorize(&denied, &Authorizer::None, ALICE, Operation::Write, topic));
}

#[test]
fn deny_wins_over_allow() {
    let both = image(&[
        ("t", PATTERN_LITERAL, "User:alice", Operation::All, PERMISSION_ALLOW),
        ("*", PATTERN_LITERAL, "User:*", Operation::Write, PERMISSION_DENY),
    ]);
    assert!(may(&both, Operation::Read, "t"));
    assert!(!may(&both, Operation::Write, "t"));
}

#[test]
fn reading_implies_describing_but_denying_it_does_not_deny_that() {
    let allowed = image(&[("pre", PATTERN_PREFIXED, "User:alice", Operation::Read, PERMISSION_ALLOW)]);
    assert!(may(&allowed, Operation::Describe, "prefix"));
    assert!(!may(&allowed, Operation::DescribeConfigs, "prefix"));
    assert!(!may(&allowed, Operation::Read, "other"));
    let denied = image(&[
        ("t", PATTERN_LITERAL, "User:alice", Operation::Read, PERMISSION_DENY),
        ("t", PATTERN_LITERAL, "User:alice", Operation::Describe, PERMISSION_ALLOW),
    ]);
    assert!(may(&denied, Operation::Describe, "t"));
}

#[test]
fn super_users_and_resources_without_entries() {
    let empty = Image::default();
    let topic = Resource::topic("t");
    let standard = |allow_if_no_entry| Authorizer::Standard {
        super_users: vec![Str::from("User:alice")],
        allow_if_no_entry,
    };
    let bob = Requester { principal: "User:bob", ..ALICE };
    assert!(authorize(&empty, &standard(false), ALICE, Operation::Write, topic));
    assert!(!authorize(&empty, &standard(false), bob, Operation::Write, topic));
    assert!(authorize(&empty, &standard(true), bob, Operation::Write, topic));
    let others = image(&[("t", PATTERN_LITERAL, "User:carol", Operation::Read, PERMISSION_ALLOW)]);
    assert!(
        !authorize(&others, &standard(true), bob, Operation::Read, topic),
        "an entry for somebody else concerns it"
    );
}
