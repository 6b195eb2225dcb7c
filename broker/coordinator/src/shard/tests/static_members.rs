//! Static members (KIP-345): an instance keeps its place over a restart, and there is one of it at a time.

use super::*;

fn instance(client: &str, version: i16) -> Join {
    let join = consumer(client);
    let request = JoinGroupRequest { group_instance_id: Some(client.into()), ..join.request };
    Join { request, version, ..join }
}

/// Another process of the same instance.
fn restarted(join: Join) -> Join {
    Join { unique: Uuid(join.unique.0 + 1), ..join }
}

fn stable(bench: &mut Bench) -> (Str, Str) {
    let (join_a, join_b) = (bench.join(instance("a", 9)), bench.join(instance("b", 9)));
    bench.pass(2 * DELAY_MS);
    let (a, b) = (bench.joined(join_a).member_id, bench.joined(join_b).member_id);
    assert!(a.starts_with("a-"), "an instance is in at once, with a name of its own: {a}");
    bench.sync(&b, 1, &[]);
    bench.sync(&a, 1, &[(&a, "of a"), (&b, "of b")]);
    bench.answers.clear();
    assert_eq!(bench.state(), State::Stable);
    (a, b)
}

#[test]
fn a_restarted_instance_takes_its_place_without_a_rebalance_and_fences_the_former() {
    let mut bench = Bench::new();
    let (_, b) = stable(&mut bench);
    let join = bench.join(restarted(instance("b", 9)));
    let told = bench.joined(join);
    assert_eq!((told.error_code, told.generation_id, told.skip_assignment), (0, 1, false));
    assert_ne!(told.member_id, b);
    assert_eq!(bench.state(), State::Stable);
    let sync = bench.sync(&told.member_id, 1, &[]);
    assert_eq!(bench.synced(sync).assignment, "of b");
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::UnknownMemberId);
    let fenced = HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: b.clone(),
        group_instance_id: Some("b".into()),
        ..Default::default()
    };
    let ticket = bench.ask(Operation::Heartbeat(fenced));
    assert_eq!(bench.answer(ticket), Some(Answer::Heartbeat(ErrorCode::FencedInstanceId)));
    assert!(
        bench.replayed().group(GROUP).is_some_and(|g| g.members.contains_key(&told.member_id)),
        "it is written"
    );
}

#[test]
fn a_restarted_leader_is_told_not_to_assign() {
    let mut bench = Bench::new();
    let (a, _) = stable(&mut bench);
    let join = bench.join(restarted(instance("a", 9)));
    let told = bench.joined(join);
    assert!(told.skip_assignment && told.leader == told.member_id && told.members.len() == 2);
    // Before version 9 it is led to believe that somebody else leads.
    let join = bench.join(restarted(restarted(instance("a", 8))));
    let told_old = bench.joined(join);
    assert!(!told_old.skip_assignment && told_old.members.is_empty());
    assert_eq!(told_old.leader, told.member_id);
    assert_ne!(told_old.leader, a);
}

#[test]
fn a_restarted_instance_with_other_protocols_begins_a_round() {
    let mut bench = Bench::new();
    stable(&mut bench);
    let mut join = restarted(instance("b", 9));
    join.request.protocols[0].name = "roundrobin".into();
    let ticket = bench.join(join);
    // Nothing that both have: refused, and nothing has happened.
    assert_eq!(bench.joined(ticket).error_code, ErrorCode::InconsistentGroupProtocol.code());
    assert_eq!(bench.state(), State::Stable);
}

#[test]
fn static_members_outlive_a_round_that_they_miss_but_not_their_session() {
    let mut bench = Bench::new();
    let (a, b) = stable(&mut bench);
    bench.join_as_new(consumer("c"));
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
    bench.pass(SESSION_MS / 2);
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::RebalanceInProgress, "nobody was sent away");
    bench.pass(SESSION_MS);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn an_administrator_removes_an_instance_by_its_id() {
    let mut bench = Bench::new();
    let (a, _) = stable(&mut bench);
    let codes = bench.leave(&[("", Some("b")), ("", Some("nobody")), ("wrong", Some("a"))]);
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId]);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
}
