//! Crowds: a hundred thousand members in one group, a hundred thousand groups, and assignments as large as a frame. A small group
//! beside them is served as if they were not there.

use protocol::messages::sync_group_request::SyncGroupRequestAssignment;

use super::consumer::{Client, topics};
use super::*;

const CROWD: usize = 100_000;

/// A member of a group of its own, in generation 1.
fn bystander(bench: &mut Bench) -> impl Fn(&mut Bench) -> ErrorCode + use<> {
    let mut join = consumer("bystander");
    join.request.group_id = "small".into();
    let (member, ticket) = bench.join_as_new(join);
    bench.pass(2 * DELAY_MS);
    assert_eq!(bench.joined(ticket).generation_id, 1);
    let sync = SyncGroupRequest {
        group_id: "small".into(),
        generation_id: 1,
        member_id: member.clone(),
        ..Default::default()
    };
    let ticket = bench.ask(Operation::Sync(sync));
    assert_eq!(bench.synced(ticket).error_code, 0);
    move |bench| {
        let request = HeartbeatRequest {
            group_id: "small".into(),
            generation_id: 1,
            member_id: member.clone(),
            ..Default::default()
        };
        let ticket = bench.ask(Operation::Heartbeat(request));
        match bench.answer(ticket) {
            Some(Answer::Heartbeat(code)) => code,
            other => panic!("a heartbeat got {other:?}"),
        }
    }
}

/// Joins of version 3, which names nobody before it lets him in.
fn crowd(bench: &mut Bench, count: usize) -> Vec<Ticket> {
    let one = |n: usize| {
        let mut join = consumer("crowd");
        join.version = 3;
        join.unique = Uuid(n as u128 + 1);
        // Nobody falls silent while the test goes on.
        join.request.session_timeout_ms = 1_800_000;
        join
    };
    (0..count).map(|n| bench.join(one(n))).collect()
}

#[test]
fn a_hundred_thousand_members_join_one_group_and_another_one_does_not_notice() {
    let mut bench = Bench::new();
    let heartbeat = bystander(&mut bench);
    let joins = crowd(&mut bench, CROWD);
    assert_eq!(heartbeat(&mut bench), ErrorCode::None);
    bench.pass(2 * DELAY_MS);
    let told: Vec<JoinGroupResponse> = joins.into_iter().map(|ticket| bench.joined(ticket)).collect();
    assert!(told.iter().all(|told| told.error_code == 0 && told.generation_id == 1));
    let leader = told.iter().find(|told| told.leader == told.member_id).expect("somebody leads");
    assert_eq!((leader.members.len(), heartbeat(&mut bench)), (CROWD, ErrorCode::None));
    // The group's record is larger than a batch may be: as with Kafka the round begins anew.
    let before = bench.log.len();
    let sync = bench.sync(&leader.member_id.clone(), 1, &[]);
    assert_eq!(bench.synced(sync).error_code, ErrorCode::UnknownServerError.code());
    assert_eq!((bench.log.len(), bench.state()), (before, State::PreparingRebalance));
    assert_eq!(heartbeat(&mut bench), ErrorCode::None);
}

#[test]
fn a_group_is_closed_when_it_is_full() {
    let mut bench = Bench::with(GroupConfig { size_max: 2, consumer_size_max: 2, ..config() });
    let tickets = crowd(&mut bench, 4);
    let refused = ErrorCode::GroupMaxSizeReached.code();
    for ticket in &tickets[2..] {
        let told = bench.joined(*ticket);
        assert_eq!((told.error_code, told.member_id), (refused, Str::default()));
    }
    bench.pass(2 * DELAY_MS);
    assert!(tickets[..2].iter().all(|ticket| bench.joined(*ticket).error_code == 0));
    assert_eq!(bench.delete_group(), ErrorCode::NonEmptyGroup);
    let (mut bench, world) =
        (Bench::with(GroupConfig { consumer_size_max: 2, ..config() }), topics(&[("t", 4)]));
    for (name, expected) in
        [("a", Ok(())), ("b", Ok(())), ("c", Err(ErrorCode::GroupMaxSizeReached)), ("a", Ok(()))]
    {
        assert_eq!(bench.say(&mut Client::new(name), &world), expected, "{name}");
    }
}

#[test]
fn a_hundred_thousand_members_of_the_newer_protocol_cost_another_group_nothing() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let heartbeat = bystander(&mut bench);
    for n in 0..CROWD {
        assert_eq!(bench.say(&mut Client::new(&format!("m{n}")), &world), Ok(()));
    }
    assert_eq!(heartbeat(&mut bench), ErrorCode::None);
}

#[test]
fn a_hundred_thousand_groups_are_kept_and_found_again() {
    let mut bench = Bench::new();
    let heartbeat = bystander(&mut bench);
    for n in 0..CROWD {
        let group = Str::from(format!("g{n}"));
        let commit = Commit { group, ..commit("", -1, "t", n as i64, bench.moment()) };
        assert_eq!(bench.commit(commit), Ok(vec![ErrorCode::None]));
    }
    assert_eq!((bench.shard.group_count(), heartbeat(&mut bench)), (CROWD + 1, ErrorCode::None));
    bench.fail_over();
    assert_eq!((bench.shard.group_count(), heartbeat(&mut bench)), (CROWD + 1, ErrorCode::None));
}

#[test]
fn an_assignment_of_ten_megabytes_is_refused_and_the_round_begins_anew() {
    let mut bench = Bench::new();
    let heartbeat = bystander(&mut bench);
    let (a, ticket) = bench.join_as_new(consumer("a"));
    assert_eq!(heartbeat(&mut bench), ErrorCode::None);
    bench.pass(2 * DELAY_MS);
    let generation = bench.joined(ticket).generation_id;
    let before = bench.log.len();
    let given = SyncGroupRequestAssignment {
        member_id: a.clone(),
        assignment: Bytes::from(vec![0; 10_000_000]),
        ..Default::default()
    };
    let ticket = bench.ask(Operation::Sync(SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: generation,
        member_id: a.clone(),
        assignments: vec![given],
        ..Default::default()
    }));
    assert_eq!(bench.synced(ticket).error_code, ErrorCode::UnknownServerError.code());
    assert_eq!((bench.log.len(), bench.state()), (before, State::PreparingRebalance));
    let kept = bench.shard.group(GROUP).and_then(|group| group.members.get(&a)).expect("A is still there");
    assert!(kept.assignment.is_empty(), "nothing of it is kept");
    assert_eq!(heartbeat(&mut bench), ErrorCode::None);
}
