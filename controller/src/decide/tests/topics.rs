//! Topics are made, grown and deleted as Kafka does it, and refused in its words.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::decide::delete_topics::{TopicAccess, delete_topics};
use protocol::ErrorCode::*;
use protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use protocol::messages::create_topics_request::CreatableTopicConfig;
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::{CreatePartitionsRequest, DeleteTopicsRequest};

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    }
}

fn manual(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, ids): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *index,
        broker_ids: ids.to_vec(),
    };
    CreatableTopic { assignments: assignments.iter().map(assignment).collect(), ..topic(name, -1, -1) }
}

/// Code and message of each topic.
fn create_all(world: &mut World, topics: Vec<CreatableTopic>) -> Vec<(ErrorCode, String)> {
    let answer = world.create_topics(&CreateTopicsRequest { topics, ..Default::default() });
    let outcome = |t: protocol::messages::create_topics_response::CreatableTopicResult| {
        (ErrorCode::from_code(t.error_code), t.error_message.map(|m| m.to_string()).unwrap_or_default())
    };
    answer.topics.into_iter().map(outcome).collect()
}

fn create_one(world: &mut World, topic: CreatableTopic) -> (ErrorCode, String) {
    create_all(world, vec![topic]).remove(0)
}

fn ok() -> (ErrorCode, String) {
    (ErrorCode::None, String::new())
}

#[test]
fn a_topic_gets_its_partitions_spread_over_brokers() {
    let mut world = World::new().with_brokers(4);
    assert_eq!(create_one(&mut world, topic("t", 8, 2)), ok());
    let mut leaders = std::collections::BTreeMap::<i32, usize>::new();
    for index in 0..8 {
        let p = world.partition("t", index);
        assert_eq!((p.replicas.len(), p.isr == p.replicas, p.leader), (2, true, p.replicas[0]));
        assert_eq!((p.leader_epoch, p.partition_epoch), (0, 0));
        assert_eq!(p.directories, p.replicas.iter().map(|id| Uuid(5_000 + *id as u128)).collect::<Vec<_>>());
        assert_ne!(p.replicas[0] % 2, p.replicas[1] % 2, "the replicas stand in both racks");
        *leaders.entry(p.leader).or_default() += 1;
    }
    assert_eq!(leaders.into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
}

#[test]
fn defaults_come_from_the_controllers_settings() {
    let mut world = World::new().with_brokers(3);
    world.settings.properties.insert(Str::from("num.partitions"), Str::from("5"));
    world.settings.properties.insert(Str::from("default.replication.factor"), Str::from("3"));
    assert_eq!(create_one(&mut world, topic("t", -1, -1)), ok());
    assert_eq!(world.image.topics.by_name("t").unwrap().partition_count(), 5);
    assert_eq!(world.partition("t", 0).replicas.len(), 3);
}

#[test]
fn names_are_checked_in_kafkas_words() {
    let mut world = World::new().with_brokers(1);
    let long = "a".repeat(250);
    for (name, reason) in [
        ("", "Topic name is invalid: the empty string is not allowed".to_owned()),
        (".", "Topic name is invalid: '.' is not allowed".to_owned()),
        ("..", "Topic name is invalid: '..' is not allowed".to_owned()),
        (&*long, format!("Topic name is invalid: the length of '{long}' is longer than the max allowed length 249")),
        (
            "a b",
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
                .to_owned(),
        ),
    ] {
        assert_eq!(create_one(&mut world, topic(name, 1, 1)), (InvalidTopicException, reason));
    }
    assert_eq!(create_one(&mut world, topic(&"a".repeat(249), 1, 1)), ok());
    assert_eq!(create_one(&mut world, topic("__cluster_metadata", 1, 1)).0, InvalidRequest);
}

#[test]
fn names_that_metrics_cannot_tell_apart_collide() {
    let mut world = World::new().with_brokers(1);
    let both = create_all(&mut world, vec![topic("a.b", 1, 1), topic("a_b", 1, 1)]);
    assert_eq!(both[0], ok());
    let collision = (InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b".to_owned());
    assert_eq!(both[1], collision);
    assert_eq!(create_one(&mut world, topic("a_b", 1, 1)), collision);
    let again = (TopicAlreadyExists, "Topic 'a.b' already exists.".to_owned());
    assert_eq!(create_one(&mut world, topic("a.b", 1, 1)), again);
}

#[test]
fn a_name_given_twice_is_answered_once() {
    let mut world = World::new().with_brokers(1);
    let outcome = create_all(&mut world, vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 2, 1)]);
    assert_eq!(outcome, [(InvalidRequest, "Duplicate topic name.".to_owned()), ok()]);
    assert!(world.image.topics.id("a").is_none());
}

#[test]
fn counts_that_cannot_be_are_refused() {
    let mut world = World::new().with_brokers(2);
    let cases = [
        (0, 1, InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (-2, 1, InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (
            1,
            0,
            InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            1,
            3,
            InvalidReplicationFactor,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only \
             2 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
    ];
    for (partitions, replicas, code, message) in cases {
        assert_eq!(create_one(&mut world, topic("t", partitions, replicas)), (code, message.to_owned()));
    }
    world.fence(1);
    world.fence(2);
    let message = "Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log \
                   directories cordoned.";
    assert_eq!(create_one(&mut world, topic("t", 1, 1)), (InvalidReplicationFactor, message.to_owned()));
    let many = CreateTopicsRequest {
        topics: vec![topic("a", 6_000, 1), topic("b", 6_000, 1)],
        ..Default::default()
    };
    let mut next = || 0;
    let refused = create_topics(&world.context(), &many, &|_| true, &mut Random(&mut next)).map(|d| d.answer);
    let message = "Excessively large number of partitions per request.".to_owned();
    assert_eq!(refusal(refused), (PolicyViolation, message));
}

#[test]
fn a_fenced_broker_may_follow_but_is_not_in_sync() {
    let mut world = World::new().with_brokers(3);
    world.fence(2);
    assert_eq!(create_one(&mut world, topic("three", 6, 3)), ok());
    for index in 0..6 {
        let p = world.partition("three", index);
        assert!(p.replicas.contains(&2) && !p.isr.contains(&2) && p.leader != 2 && p.replicas[0] != 2);
    }
}

#[test]
fn manual_assignments_are_checked() {
    let mut world = World::new().with_brokers(2);
    let assignment = |message: &str| (InvalidReplicaAssignment, message.to_owned());
    let cases: Vec<(CreatableTopic, (ErrorCode, String))> = vec![
        (
            manual("t", &[(0, &[1, 1])]),
            assignment("The manual partition assignment includes the broker 1 more than once."),
        ),
        (
            manual("t", &[(0, &[9])]),
            assignment(
                "The manual partition assignment includes broker 9, but no such broker is registered.",
            ),
        ),
        (
            manual("t", &[(0, &[])]),
            assignment("The manual partition assignment includes an empty replica list."),
        ),
        (
            manual("t", &[(1, &[1])]),
            assignment("partitions should be a consecutive 0-based integer sequence"),
        ),
        (
            manual("t", &[(0, &[1]), (0, &[2])]),
            assignment("Found multiple manual partition assignments for partition 0"),
        ),
        (
            manual("t", &[(0, &[1]), (1, &[1, 2])]),
            assignment(
                "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with \
                 previous partitions, which have 1 replica(s).",
            ),
        ),
        (
            CreatableTopic { replication_factor: 1, ..manual("t", &[(0, &[1])]) },
            (
                InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1."
                    .to_owned(),
            ),
        ),
    ];
    for (topic, expected) in cases {
        assert_eq!(create_one(&mut world, topic), expected);
    }
    assert_eq!(create_one(&mut world, manual("t", &[(1, &[2, 1]), (0, &[1, 2])])), ok());
    assert_eq!((world.partition("t", 0).leader, world.partition("t", 1).leader), (1, 2));
    world.fence(2);
    let message = "All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown.";
    assert_eq!(create_one(&mut world, manual("u", &[(0, &[2])])), assignment(message));
    assert_eq!(create_one(&mut world, manual("v", &[(0, &[2, 1])])), ok());
    assert_eq!((world.partition("v", 0).leader, &world.partition("v", 0).isr), (1, &vec![1]));
}

#[test]
fn validating_only_writes_nothing_and_answers_as_if() {
    let mut world = World::new().with_brokers(1);
    let before = world.image.end_offset;
    let request =
        CreateTopicsRequest { topics: vec![topic("t", 3, 1)], validate_only: true, ..Default::default() };
    let answer = world.create_topics(&request);
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (0, 3));
    assert_eq!(world.image.end_offset, before);
}

#[test]
fn configs_are_written_between_the_topic_and_its_partitions() {
    let mut world = World::new().with_brokers(1);
    let config = |name: &str, value: Option<&str>| CreatableTopicConfig {
        name: Str::from(name),
        value: value.map(Str::from),
    };
    let with = |configs| CreatableTopic { configs, ..topic("t", 1, 1) };
    let null = create_one(&mut world, with(vec![config("retention.ms", Option::None)]));
    assert_eq!(null, (InvalidConfig, "Null value not supported for topic configs: retention.ms".to_owned()));
    let request = CreateTopicsRequest {
        topics: vec![with(vec![config("retention.ms", Some("5"))])],
        ..Default::default()
    };
    let mut next = || 7;
    let decision = create_topics(&world.context(), &request, &|_| true, &mut Random(&mut next)).unwrap();
    let kinds: Vec<i16> = decision.records.iter().map(|r| r.key()).collect();
    assert_eq!(kinds, [2, 4, 3]);
}

fn delete(
    world: &mut World,
    topics: Vec<DeleteTopicState>,
    access: &TopicAccess<'_>,
) -> Vec<(Option<String>, Uuid, ErrorCode)> {
    let decision =
        delete_topics(&world.context(), &DeleteTopicsRequest { topics, ..Default::default() }, access)
            .unwrap();
    world.apply(&decision.records);
    let outcome = |r: protocol::messages::delete_topics_response::DeletableTopicResult| {
        (r.name.map(|n| n.to_string()), r.topic_id, ErrorCode::from_code(r.error_code))
    };
    decision.answer.responses.into_iter().map(outcome).collect()
}

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(Str::from(name)), topic_id: Uuid::ZERO }
}

fn by_id(topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: Option::None, topic_id }
}

const ALL: TopicAccess<'static> = TopicAccess { may_describe: &|_| true, may_delete: &|_| true };

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut world = World::new().with_brokers(1);
    let (a, b) = (world.create("a", &[&[1]]), world.create("b", &[&[1]]));
    let unknown = Uuid(77_777);
    let outcome = delete(&mut world, vec![by_name("a"), by_id(b), by_name("none"), by_id(unknown)], &ALL);
    let expected = [
        (Some("a".to_owned()), a, ErrorCode::None),
        (Some("none".to_owned()), Uuid::ZERO, UnknownTopicOrPartition),
        (Option::None, unknown, UnknownTopicId),
        (Some("b".to_owned()), b, ErrorCode::None),
    ];
    assert_eq!(outcome.len(), expected.len());
    assert!(expected.iter().all(|e| outcome.contains(e)), "{outcome:?}");
    assert!(world.image.topics.is_empty());
}

#[test]
fn one_topic_named_in_two_ways_is_not_deleted() {
    let mut world = World::new().with_brokers(1);
    let a = world.create("a", &[&[1]]);
    let both = DeleteTopicState { name: Some(Str::from("a")), topic_id: a };
    let neither = DeleteTopicState { name: Option::None, topic_id: Uuid::ZERO };
    let codes: Vec<ErrorCode> =
        delete(&mut world, vec![both, neither], &ALL).into_iter().map(|r| r.2).collect();
    assert_eq!(codes, [InvalidRequest, InvalidRequest]);
    let twice = delete(&mut world, vec![by_name("a"), by_name("a")], &ALL);
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0], (Some("a".to_owned()), Uuid::ZERO, InvalidRequest));
    let twice = delete(&mut world, vec![by_id(a), by_id(a)], &ALL);
    assert_eq!(twice, [(Option::None, a, InvalidRequest)]);
    let outcome = delete(&mut world, vec![by_name("a"), by_id(a)], &ALL);
    assert_eq!(outcome, [(Some("a".to_owned()), a, InvalidRequest)]);
    assert!(world.image.topics.id("a").is_some());
}

#[test]
fn who_may_not_see_a_topic_does_not_learn_its_name() {
    let mut world = World::new().with_brokers(1);
    let a = world.create("a", &[&[1]]);
    let blind = TopicAccess { may_describe: &|_| false, may_delete: &|_| false };
    assert_eq!(delete(&mut world, vec![by_id(a)], &blind), [(Option::None, a, TopicAuthorizationFailed)]);
    let named = delete(&mut world, vec![by_name("a"), by_name("none")], &blind);
    assert!(named.iter().all(|r| r.1.is_zero() && r.2 == TopicAuthorizationFailed), "{named:?}");
    let seeing = TopicAccess { may_describe: &|_| true, may_delete: &|_| false };
    assert_eq!(delete(&mut world, vec![by_name("a")], &seeing)[0].2, TopicAuthorizationFailed);
    assert!(world.image.topics.id("a").is_some());
}

fn grow(world: &mut World, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> (ErrorCode, String) {
    let assignment = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.to_vec() };
    let topic = CreatePartitionsTopic {
        name: Str::from(name),
        count,
        assignments: assignments.map(|lists| lists.iter().map(assignment).collect()),
    };
    let mut dice = Dice(4);
    let mut next = || dice.next();
    let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
    let decision = create_partitions(&world.context(), &request, &mut Random(&mut next));
    world.apply(&decision.records);
    let result = &decision.answer.results[0];
    (ErrorCode::from_code(result.error_code), result.error_message.as_deref().unwrap_or_default().to_owned())
}

#[test]
fn partitions_are_only_ever_added() {
    let mut world = World::new().with_brokers(3);
    world.create("t", &[&[1, 2], &[2, 3]]);
    assert_eq!(grow(&mut world, "none", 3, Option::None).0, UnknownTopicOrPartition);
    let same = (InvalidPartitions, "Topic already has 2 partition(s).".to_owned());
    assert_eq!(grow(&mut world, "t", 2, Option::None), same);
    let less = (
        InvalidPartitions,
        "The topic t currently has 2 partition(s); 1 would not be an increase.".to_owned(),
    );
    assert_eq!(grow(&mut world, "t", 1, Option::None), less);
    let few =
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.".to_owned();
    assert_eq!(grow(&mut world, "t", 4, Some(&[&[1, 2]])), (InvalidReplicaAssignment, few));
    assert_eq!(grow(&mut world, "t", 3, Some(&[&[1]])).0, InvalidReplicaAssignment);
    assert_eq!(grow(&mut world, "t", 3, Some(&[&[3, 1]])), ok());
    assert_eq!(world.partition("t", 2).replicas, [3, 1]);
    assert_eq!(grow(&mut world, "t", 6, Option::None), ok());
    assert!((3..6).all(|index| world.partition("t", index).replicas.len() == 2));
}

#[test]
fn a_request_without_time_is_refused_without_a_word() {
    let refused = in_time(0).expect_err("its time is up");
    assert_eq!((refused.code, refused.text()), (ErrorCode::RequestTimedOut, Option::None));
    assert!(in_time(-1).is_err() && in_time(1).is_ok());
    assert!(has_single(["a", "b", "a"].iter()) && !has_single(["a", "a"].iter()));
}
