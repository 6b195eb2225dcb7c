//! Rounds of a classic group: who is in, who leads, who waits, who is gone.

use super::*;

#[test]
fn a_new_member_is_given_a_name_and_counts_once_it_comes_back_with_it() {
    let mut bench = Bench::new();
    let first = bench.join(consumer("a"));
    let told = bench.joined(first);
    assert_eq!(told.error_code, ErrorCode::MemberIdRequired.code());
    assert!(told.member_id.starts_with("a-") && told.member_id.len() == 38, "{}", told.member_id);
    // Who never comes back is forgotten, and holds nobody up.
    bench.pass(SESSION_MS);
    let late = bench.join(again(consumer("a"), &told.member_id));
    assert_eq!(bench.joined(late).error_code, ErrorCode::UnknownMemberId.code());

    let old_client = bench.join(Join { version: 3, ..consumer("old") });
    bench.pass(DELAY_MS * 2);
    let told = bench.joined(old_client);
    assert_eq!((told.error_code, told.generation_id), (0, 1), "before version 4 it is in at once");
    assert_eq!(told.leader, told.member_id);
}

#[test]
fn the_first_round_waits_a_little_longer_for_each_who_comes() {
    let mut bench = Bench::new();
    let (_, a) = bench.join_as_new(consumer("a"));
    bench.pass(DELAY_MS - 1);
    let (_, b) = bench.join_as_new(consumer("b"));
    bench.pass(DELAY_MS - 1);
    assert_eq!((bench.answer(a), bench.answer(b)), (None, None), "b came, so it waits once more");
    bench.pass(2);
    let told = bench.joined(a);
    assert_eq!((told.generation_id, told.members.len()), (1, 2), "the leader is told all members");
    assert_eq!(told.protocol_name.as_deref(), Some("range"));
    let told = bench.joined(b);
    assert!(told.members.is_empty() && told.leader != told.member_id, "the others are told the leader alone");
}

#[test]
fn a_join_makes_the_others_rejoin_and_who_does_not_is_dropped() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    let (c, join_c) = bench.join_as_new(consumer("c"));
    assert_eq!(bench.state(), State::PreparingRebalance);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
    let join_a = bench.join(again(consumer("a"), &a));
    // B says that it lives, and does not join all the same.
    for _ in 0..REBALANCE_MS / SESSION_MS * 2 {
        let code = bench.heartbeat(&b, 1);
        assert!(matches!(code, ErrorCode::RebalanceInProgress | ErrorCode::UnknownMemberId), "{code:?}");
        bench.pass(SESSION_MS / 2);
    }
    let (told_a, told_c) = (bench.joined(join_a), bench.joined(join_c));
    assert_eq!((told_a.generation_id, told_c.generation_id), (2, 2));
    let members: Vec<&Str> = told_a.members.iter().map(|m| &m.member_id).collect();
    assert_eq!(members, [&a, &c]);
    assert_eq!(bench.heartbeat(&b, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn the_round_ends_as_soon_as_all_have_joined() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    let (_, join_c) = bench.join_as_new(consumer("c"));
    let join_a = bench.join(again(consumer("a"), &a));
    assert_eq!(bench.answer(join_a), None);
    let join_b = bench.join(again(consumer("b"), &b));
    for ticket in [join_a, join_b, join_c] {
        assert_eq!(bench.joined(ticket).generation_id, 2, "no time had to pass");
    }
}

#[test]
fn a_silent_member_is_dropped_after_its_session_time_out() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    bench.pass(SESSION_MS - 1);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::None);
    bench.pass(1);
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::UnknownMemberId, "B was silent for too long");
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
    let join = bench.join(again(consumer("a"), &a));
    assert_eq!(bench.joined(join).members.len(), 1);
}

#[test]
fn who_waits_for_the_coordinator_is_not_silent() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    let (_, join_c) = bench.join_as_new(consumer("c"));
    let join_a = bench.join(again(consumer("a"), &a));
    bench.pass(SESSION_MS * 2);
    // B fell silent meanwhile, A waited: the round is complete without B.
    assert_eq!(bench.joined(join_a).members.len(), 2);
    assert_eq!(bench.joined(join_c).generation_id, 2);
    assert_eq!(bench.heartbeat(&b, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn a_leaving_member_makes_the_others_rejoin_and_the_last_one_empties_the_group() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    assert_eq!(bench.leave(&[(&a, None), ("nobody", None)]), [ErrorCode::None, ErrorCode::UnknownMemberId]);
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::RebalanceInProgress);
    let join = bench.join(again(consumer("b"), &b));
    let told = bench.joined(join);
    assert_eq!((&told.leader, told.generation_id), (&b, 2), "the leader was gone: another leads");
    assert_eq!(bench.leave(&[(&b, None)]), [ErrorCode::None]);
    bench.pass(REBALANCE_MS);
    assert_eq!(bench.state(), State::Empty);
}

#[test]
fn who_does_not_fetch_its_assignment_is_dropped() {
    let mut bench = Bench::new();
    let (a, join_a) = bench.join_as_new(consumer("a"));
    let (b, join_b) = bench.join_as_new(consumer("b"));
    bench.pass(2 * DELAY_MS);
    assert_eq!((bench.joined(join_a).error_code, bench.joined(join_b).error_code), (0, 0));
    let sync = bench.sync(&a, 1, &[(&a, "x")]);
    assert_eq!(bench.synced(sync).assignment, "x");
    for _ in 0..REBALANCE_MS / SESSION_MS * 2 {
        bench.heartbeat(&a, 1);
        bench.heartbeat(&b, 1);
        bench.pass(SESSION_MS / 2);
    }
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::UnknownMemberId);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn the_protocol_that_all_have_and_most_like_best_is_chosen() {
    let mut bench = Bench::new();
    let m = Bytes::from_static;
    let (_, a) = bench.join_as_new(joining("a", &[("x", m(b"ax")), ("y", m(b"ay")), ("z", m(b"az"))]));
    let (_, b) = bench.join_as_new(joining("b", &[("z", m(b"bz")), ("y", m(b"by"))]));
    let (_, c) = bench.join_as_new(joining("c", &[("w", m(b"cw")), ("y", m(b"cy")), ("z", m(b"cz"))]));
    let stranger = bench.join(joining("d", &[("w", m(b"dw"))]));
    assert_eq!(bench.joined(stranger).error_code, ErrorCode::InconsistentGroupProtocol.code());
    let mut other_type = joining("e", &[("y", m(b"ey"))]);
    other_type.request.protocol_type = "connect".into();
    let other_type = bench.join(other_type);
    assert_eq!(bench.joined(other_type).error_code, ErrorCode::InconsistentGroupProtocol.code());
    bench.pass(3 * DELAY_MS);
    let told = bench.joined(a);
    assert_eq!(told.protocol_name.as_deref(), Some("y"), "x is not everybody's; y has two votes, z has one");
    let metadata: Vec<&Bytes> = told.members.iter().map(|m| &m.metadata).collect();
    assert_eq!(metadata, ["ay", "by", "cy"]);
    assert_eq!((bench.joined(b).generation_id, bench.joined(c).generation_id), (1, 1));
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_generation_and_a_leader_begins_a_round() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    let join = bench.join(again(consumer("b"), &b));
    assert_eq!(bench.joined(join).generation_id, 1);
    assert_eq!(bench.state(), State::Stable);
    bench.join(again(consumer_of("b", &["t", "u"]), &b));
    assert_eq!(bench.state(), State::PreparingRebalance, "its subscription has changed");
    bench.join(again(consumer("a"), &a));
    let (sync_a, sync_b) = (bench.sync(&a, 2, &[(&a, "x")]), bench.sync(&b, 2, &[]));
    assert_eq!((bench.synced(sync_a).error_code, bench.synced(sync_b).error_code), (0, 0));
    let join = bench.join(again(consumer("a"), &a));
    assert_eq!(
        (bench.answer(join), bench.state()),
        (None, State::PreparingRebalance),
        "a leader wants to assign anew"
    );
}

#[test]
fn a_second_join_of_the_same_member_takes_the_place_of_the_first() {
    let mut bench = Bench::new();
    let (a, first) = bench.join_as_new(consumer("a"));
    let second = bench.join(again(consumer("a"), &a));
    assert_eq!(bench.joined(first).error_code, ErrorCode::RebalanceInProgress.code());
    bench.pass(2 * DELAY_MS);
    assert_eq!(bench.joined(second).generation_id, 1);
}

#[test]
fn answers_for_another_generation_or_protocol_are_refused() {
    let mut bench = Bench::new();
    let (a, _) = bench.two_members();
    for (generation, code) in [(0, ErrorCode::IllegalGeneration), (2, ErrorCode::IllegalGeneration)] {
        let sync = bench.sync(&a, generation, &[]);
        assert_eq!(bench.synced(sync).error_code, code.code());
        assert_eq!(bench.heartbeat(&a, generation), code);
    }
    let other_protocol = SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: a,
        protocol_name: Some("roundrobin".into()),
        ..Default::default()
    };
    let sync = bench.ask(Operation::Sync(other_protocol));
    assert_eq!(bench.synced(sync).error_code, ErrorCode::InconsistentGroupProtocol.code());
    let stranger = bench.sync(&"nobody".into(), 1, &[]);
    assert_eq!(bench.synced(stranger).error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn a_full_group_lets_nobody_in_and_keeps_who_is_there() {
    let mut bench = Bench::with(GroupConfig { size_max: 2, ..config() });
    let (a, _) = bench.two_members();
    let ticket = bench.join(consumer("c"));
    assert_eq!(bench.joined(ticket).error_code, ErrorCode::GroupMaxSizeReached.code());
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::None);
}

#[test]
fn an_assignment_that_no_batch_can_hold_is_refused_and_the_round_begins_anew() {
    let mut bench = Bench::with(GroupConfig { batch_bytes_max: 400, ..config() });
    let (a, join) = bench.join_as_new(consumer("a"));
    bench.pass(2 * DELAY_MS);
    assert_eq!(bench.joined(join).error_code, 0);
    let written = bench.log.len();
    let sync = bench.ask(Operation::Sync(SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: a.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: a,
            assignment: Bytes::from(vec![0; 500]),
            ..Default::default()
        }],
        ..Default::default()
    }));
    assert_eq!(bench.synced(sync).error_code, ErrorCode::UnknownServerError.code());
    assert_eq!((bench.log.len(), bench.state()), (written, State::PreparingRebalance));
}

#[test]
fn members_of_groups_that_are_not_there_are_unknown() {
    let mut bench = Bench::new();
    assert_eq!(bench.heartbeat(&"a".into(), 1), ErrorCode::UnknownMemberId);
    let sync = bench.sync(&"a".into(), 1, &[]);
    assert_eq!(bench.synced(sync).error_code, ErrorCode::UnknownMemberId.code());
    let join = bench.join(again(consumer("a"), &"a".into()));
    assert_eq!(bench.joined(join).error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(bench.leave(&[("a", None), ("", Some("i"))]), [ErrorCode::UnknownMemberId; 2]);
    assert_eq!(bench.delete_group(), ErrorCode::GroupIdNotFound);
}
