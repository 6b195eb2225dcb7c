//! Leaders report ISRs, leaders are elected, replicas move.
#![allow(clippy::unwrap_used)]

use super::*;
use protocol::ErrorCode::*;
use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::messages::alter_partition_request::{BrokerState as Member, PartitionData, TopicData};
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionRequest, AssignReplicasToDirsRequest,
    ElectLeadersRequest, ListPartitionReassignmentsRequest, assign_replicas_to_dirs_request as dirs,
};

/// Broker `id` tells that its replica of partition 0 is in `directory`.
pub(super) fn assign(world: &mut World, id: i32, topic: &str, directory: Uuid) {
    let topic_id = world.image.topics.id(topic).unwrap();
    let partitions = vec![dirs::PartitionData { partition_index: 0 }];
    let topics = vec![dirs::TopicData { topic_id, partitions }];
    let request = AssignReplicasToDirsRequest {
        broker_id: id,
        broker_epoch: world.broker(id).epoch,
        directories: vec![dirs::DirectoryData { id: directory, topics }],
    };
    let decision = assign_replicas_to_dirs(&world.context(), &request).unwrap();
    assert_eq!(decision.answer.directories[0].topics[0].partitions[0].error_code, 0);
    world.apply(&decision.records);
}

/// What the leader of partition 0 would report.
pub(super) fn report(world: &World, topic: &str, isr: &[i32]) -> (i32, PartitionData) {
    let p = world.partition(topic, 0);
    let member = |id: &i32| Member {
        broker_id: *id,
        broker_epoch: world.image.cluster.broker(*id).map_or(-1, |b| b.epoch),
    };
    let data = PartitionData {
        partition_index: 0,
        leader_epoch: p.leader_epoch,
        new_isr_with_epochs: isr.iter().map(member).collect(),
        leader_recovery_state: 0,
        partition_epoch: p.partition_epoch,
        ..Default::default()
    };
    (p.leader, data)
}

pub(super) fn alter(world: &mut World, topic: &str, (leader, data): (i32, PartitionData)) -> ErrorCode {
    let request = AlterPartitionRequest {
        broker_id: leader,
        broker_epoch: world.broker(leader).epoch,
        topics: vec![TopicData {
            topic_id: world.image.topics.id(topic).unwrap_or(Uuid(9)),
            partitions: vec![data],
        }],
    };
    let decision = alter_partition(&world.context(), &request, 3).unwrap();
    world.apply(&decision.records);
    let answer = &decision.answer.topics[0].partitions[0];
    if answer.error_code == 0 {
        let p = world.partition(topic, 0);
        assert_eq!(
            (answer.leader_id, answer.leader_epoch, answer.partition_epoch),
            (p.leader, p.leader_epoch, p.partition_epoch)
        );
        assert_eq!(answer.isr, p.isr);
    }
    ErrorCode::from_code(answer.error_code)
}

#[test]
fn a_leader_shrinks_and_expands_the_isr() {
    let mut world = World::new().with_brokers(3);
    world.create("t", &[&[1, 2, 3]]);
    let shrunk = report(&world, "t", &[1, 3]);
    assert_eq!(alter(&mut world, "t", shrunk), ErrorCode::None);
    assert_eq!((world.partition("t", 0).isr.clone(), world.partition("t", 0).leader_epoch), (vec![1, 3], 0));
    let expanded = report(&world, "t", &[1, 2, 3]);
    assert_eq!(alter(&mut world, "t", expanded), ErrorCode::None);
    assert_eq!(world.partition("t", 0).isr, [1, 2, 3]);
    let same = report(&world, "t", &[1, 2, 3]);
    let before = world.image.end_offset;
    assert_eq!(alter(&mut world, "t", same), ErrorCode::None);
    assert_eq!(world.image.end_offset, before);
}

#[test]
fn reports_that_are_late_or_wrong_are_refused() {
    let mut world = World::new().with_brokers(3);
    world.create("t", &[&[1, 2]]);
    let shrunk = report(&world, "t", &[1]);
    assert_eq!(alter(&mut world, "t", shrunk), ErrorCode::None);
    let (leader, good) = report(&world, "t", &[1, 2]);
    let mut refused = |change: &dyn Fn(&mut PartitionData), leader| {
        let mut data = good.clone();
        change(&mut data);
        alter(&mut world, "t", (leader, data))
    };
    assert_eq!(refused(&|d| d.leader_epoch += 1, leader), NotController);
    assert_eq!(refused(&|d| d.partition_epoch += 1, leader), NotController);
    assert_eq!(refused(&|d| d.leader_epoch -= 1, leader), FencedLeaderEpoch);
    assert_eq!(refused(&|d| d.partition_epoch -= 1, leader), InvalidUpdateVersion);
    assert_eq!(refused(&|_| (), 2), InvalidRequest);
    assert_eq!(refused(&|d| d.new_isr_with_epochs.remove(0).broker_epoch = 0, leader), InvalidRequest);
    assert_eq!(refused(&|d| d.new_isr_with_epochs[1].broker_id = 3, leader), InvalidRequest);
    assert_eq!(refused(&|d| d.new_isr_with_epochs[1].broker_id = 1, leader), InvalidRequest);
    assert_eq!(refused(&|d| d.leader_recovery_state = 1, leader), InvalidRequest);
    assert_eq!(refused(&|d| d.leader_recovery_state = 7, leader), InvalidRequest);
    assert_eq!(refused(&|d| d.new_isr_with_epochs[1].broker_epoch -= 1, leader), IneligibleReplica);
    assert_eq!(refused(&|d| d.partition_index = 5, leader), UnknownTopicOrPartition);
    assert_eq!(alter(&mut world, "none", (leader, good.clone())), UnknownTopicId);
    world.fence(2);
    assert_eq!(alter(&mut world, "t", (leader, good)), IneligibleReplica);
}

#[test]
fn a_recovering_leader_tells_that_it_recovered() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1]]);
    world.register(1, false);
    world.heartbeat(&world.heartbeat_of(1), IDLE);
    let recovered = report(&world, "t", &[1]);
    assert_eq!(alter(&mut world, "t", recovered), ErrorCode::None);
    assert_eq!(world.partition("t", 0).leader_recovery_state, metadata::LeaderRecoveryState::Recovered);
}

fn elect(world: &mut World, election_type: i8, topic: Option<&str>) -> Vec<(ErrorCode, String)> {
    let one = |name: &str| vec![TopicPartitions { topic: Str::from(name), partitions: vec![0] }];
    let request =
        ElectLeadersRequest { election_type, topic_partitions: topic.map(one), ..Default::default() };
    let decision = elect_leaders(&world.context(), &request).unwrap();
    world.apply(&decision.records);
    let results =
        decision.answer.replica_election_results.into_iter().flat_map(|topic| topic.partition_result);
    results
        .map(|r| {
            (ErrorCode::from_code(r.error_code), r.error_message.map(|m| m.to_string()).unwrap_or_default())
        })
        .collect()
}

#[test]
fn preferred_leaders_are_elected_when_asked() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.fence(1);
    assert_eq!(elect(&mut world, 0, Some("t"))[0].0, PreferredLeaderNotAvailable);
    world.start(1);
    let expanded = report(&world, "t", &[2, 1]);
    assert_eq!(alter(&mut world, "t", expanded), ErrorCode::None);
    assert_eq!(world.partition("t", 0).leader, 2);
    assert_eq!(elect(&mut world, 0, Some("t"))[0].0, ErrorCode::None);
    assert_eq!(world.partition("t", 0).leader, 1);
    assert_eq!(elect(&mut world, 0, Some("t"))[0].0, ElectionNotNeeded);
    assert!(elect(&mut world, 0, Option::None).is_empty(), "what needs nothing is not answered");
    assert_eq!(
        elect(&mut world, 0, Some("u"))[0],
        (UnknownTopicOrPartition, "No such topic as u".to_owned())
    );
    let wrong =
        ElectLeadersRequest { election_type: 5, topic_partitions: Option::None, ..Default::default() };
    assert_eq!(
        refusal(elect_leaders(&world.context(), &wrong).map(|d| d.answer)).1,
        "Unknown election type 5"
    );
}

#[test]
fn leaders_are_balanced_within_the_isr() {
    let mut world = World::new().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.fence(1);
    world.start(1);
    assert!(balance_leaders(&world.context()).records.is_empty(), "broker 1 is not in sync");
    let expanded = report(&world, "t", &[2, 1]);
    alter(&mut world, "t", expanded);
    let decision = balance_leaders(&world.context());
    assert!(!decision.answer);
    world.apply(&decision.records);
    assert_eq!(world.partition("t", 0).leader, 1);
}

#[test]
fn unclean_elections_happen_only_where_allowed() {
    let mut world = World::without_elr().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    world.fence(2);
    world.fence(1);
    world.start(2);
    assert!(elect_missing_leaders(&world.context()).records.is_empty());
    assert_eq!(world.partition("t", 0).leader, -1);
    assert_eq!(world.set_config(2, "t", "unclean.leader.election.enable", "true"), 0);
    let decision = elect_missing_leaders(&world.context());
    world.apply(&decision.records);
    let p = world.partition("t", 0);
    assert_eq!((p.leader, &p.isr), (2, &vec![2]));
    assert_eq!(p.leader_recovery_state, metadata::LeaderRecoveryState::Recovering);
}

#[test]
fn an_unclean_election_can_be_asked_for() {
    let mut world = World::without_elr().with_brokers(2);
    world.create("t", &[&[1, 2]]);
    assert_eq!(elect(&mut world, 1, Some("t"))[0].0, ElectionNotNeeded);
    world.fence(2);
    world.fence(1);
    assert_eq!(elect(&mut world, 1, Some("t"))[0].0, EligibleLeadersNotAvailable);
    world.start(2);
    assert_eq!(elect(&mut world, 1, Some("t"))[0].0, ErrorCode::None);
    assert_eq!(world.partition("t", 0).leader, 2);
}

fn reassign(world: &mut World, topic: &str, replicas: Option<&[i32]>, any_factor: bool) -> ErrorCode {
    let partition = ReassignablePartition { partition_index: 0, replicas: replicas.map(<[i32]>::to_vec) };
    let request = AlterPartitionReassignmentsRequest {
        allow_replication_factor_change: any_factor,
        topics: vec![ReassignableTopic { name: Str::from(topic), partitions: vec![partition] }],
        ..Default::default()
    };
    let decision = alter_partition_reassignments(&world.context(), &request);
    world.apply(&decision.records);
    ErrorCode::from_code(decision.answer.responses[0].partitions[0].error_code)
}

#[test]
fn replicas_move_when_the_new_ones_are_in_sync() {
    let mut world = World::new().with_brokers(4);
    world.create("t", &[&[1, 2, 3]]);
    assert_eq!(reassign(&mut world, "t", Some(&[3, 4]), false), InvalidReplicationFactor);
    assert_eq!(reassign(&mut world, "t", Some(&[3, 4]), true), ErrorCode::None);
    let p = world.partition("t", 0);
    assert_eq!((&p.replicas[..], &p.adding[..], &p.removing[..]), (&[3, 4, 1, 2][..], &[4][..], &[1, 2][..]));
    let all = ListPartitionReassignmentsRequest::default();
    let listed = list_partition_reassignments(&world.context(), &all);
    assert_eq!(listed.topics[0].partitions[0].adding_replicas, [4]);
    let synced = report(&world, "t", &[1, 2, 3, 4]);
    assert_eq!(alter(&mut world, "t", synced), NewLeaderElected, "the leader that reported is removed");
    let p = world.partition("t", 0);
    assert_eq!((&p.replicas[..], &p.isr[..], p.leader, p.leader_epoch), (&[3, 4][..], &[3, 4][..], 3, 1));
    assert!(!p.is_reassigning());
    assert_eq!(p.directories, [Uuid(5_003), Uuid(5_004)]);
    assert!(list_partition_reassignments(&world.context(), &all).topics.is_empty());
    assert_eq!(reassign(&mut world, "t", Option::None, true), NoReassignmentInProgress);
}

#[test]
fn a_reassignment_can_be_taken_back() {
    let mut world = World::new().with_brokers(3);
    world.create("t", &[&[1, 2]]);
    assert_eq!(reassign(&mut world, "t", Some(&[3]), true), ErrorCode::None);
    assert_eq!(reassign(&mut world, "t", Option::None, true), ErrorCode::None);
    let p = world.partition("t", 0);
    assert_eq!((&p.replicas[..], &p.isr[..], p.is_reassigning()), (&[1, 2][..], &[1, 2][..], false));
    assert_eq!(reassign(&mut world, "t", Some(&[2, 1]), true), ErrorCode::None);
    assert_eq!(world.partition("t", 0).replicas, [2, 1], "an order only is changed at once");
}

#[test]
fn a_return_that_was_cut_short_is_completed() {
    let mut world = World::new().with_brokers(1);
    world.create("t", &[&[1], &[1]]);
    world.fence(1);
    let back = heartbeat(&world.context(), &world.heartbeat_of(1), IDLE).unwrap().records;
    // The controller died after the first two of three records.
    world.apply(&back[..2]);
    assert_eq!((world.partition("t", 0).leader, world.partition("t", 1).leader), (1, -1));
    let rest = elect_missing_leaders(&world.context());
    assert_eq!(rest.records, back[2..]);
}
