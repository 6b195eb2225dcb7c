//! Committed offsets: who may commit, what is told, when they end.

use protocol::messages::OffsetCommitKey;

use super::*;
use crate::records;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn simple(bench: &Bench, topic: &str, offset: i64) -> Commit {
    commit("", -1, topic, offset, bench.moment())
}

fn of_member(bench: &Bench, member: &Str, generation: i32, offset: i64) -> Commit {
    commit(member, generation, "t", offset, bench.moment())
}

#[test]
fn who_manages_its_partitions_itself_commits_without_a_member() {
    let mut bench = Bench::new();
    assert_eq!(bench.committed("t"), None);
    let first = simple(&bench, "t", 7);
    assert_eq!(bench.commit(first), Ok(vec![ErrorCode::None]));
    assert_eq!(bench.committed("t"), Some(7));
    let back = simple(&bench, "t", 3);
    assert_eq!(bench.commit(back), Ok(vec![ErrorCode::None]));
    assert_eq!(bench.committed("t"), Some(3), "offsets may go back: that is what reset-offsets does");
    let in_generation = of_member(&bench, &"m".into(), 1, 9);
    assert_eq!(bench.commit(in_generation), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn members_commit_in_their_generation_and_nobody_else_while_they_are_there() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    let good = of_member(&bench, &a, 1, 5);
    assert_eq!(bench.commit(good), Ok(vec![ErrorCode::None]));
    for (commit, code) in [
        (of_member(&bench, &a, 0, 6), ErrorCode::IllegalGeneration),
        (of_member(&bench, &"stranger".into(), 1, 6), ErrorCode::UnknownMemberId),
        (simple(&bench, "t", 6), ErrorCode::UnknownMemberId),
        (Commit { instance_id: Some("i".into()), ..of_member(&bench, &a, 1, 6) }, ErrorCode::UnknownMemberId),
    ] {
        assert_eq!(bench.commit(commit), Err(code));
    }
    assert_eq!(bench.committed("t"), Some(5));
    // While the others join, the old generation still commits; once the new one has begun, it waits for its assignment.
    let (_, join_c) = bench.join_as_new(consumer("c"));
    let last = of_member(&bench, &a, 1, 6);
    assert_eq!(bench.commit(last), Ok(vec![ErrorCode::None]));
    let (join_a, join_b) = (bench.join(again(consumer("a"), &a)), bench.join(again(consumer("b"), &b)));
    assert_eq!(bench.joined(join_c).generation_id, 2);
    assert_eq!((bench.joined(join_a).error_code, bench.joined(join_b).error_code), (0, 0));
    let early = of_member(&bench, &a, 2, 7);
    assert_eq!(bench.commit(early), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    bench.pass(SESSION_MS - 1);
    let alive = of_member(&bench, &a, 1, 5);
    assert_eq!(bench.commit(alive), Ok(vec![ErrorCode::None]));
    bench.pass(SESSION_MS - 1);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn long_metadata_is_refused_for_its_partition_alone_and_a_huge_commit_as_a_whole() {
    let mut bench = Bench::with(GroupConfig { metadata_bytes_max: 10, batch_bytes_max: 300, ..config() });
    let mut two = simple(&bench, "t", 1);
    let mut long = two.offsets[0].clone();
    long.0.1 = 1;
    long.1.metadata = "x".repeat(11).into();
    two.offsets.push(long);
    assert_eq!(bench.commit(two), Ok(vec![ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]));
    let mut huge = simple(&bench, "t", 2);
    huge.offsets = (0..50).map(|n| (("t".into(), n), huge.offsets[0].1.clone())).collect();
    assert_eq!(bench.commit(huge), Err(ErrorCode::InvalidCommitOffsetSize));
    assert_eq!(bench.committed("t"), Some(1));
}

#[test]
fn offsets_of_subscribed_topics_and_groups_with_members_are_not_deleted() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    for topic in ["t", "u"] {
        let commit = commit(&a, 1, topic, 5, bench.moment());
        assert_eq!(bench.commit(commit), Ok(vec![ErrorCode::None]));
    }
    let partitions = vec![("t".into(), 0), ("u".into(), 0), ("never".into(), 0)];
    let ticket = bench.ask(Operation::DeleteOffsets { group: GROUP.into(), partitions });
    let codes = vec![ErrorCode::GroupSubscribedToTopic, ErrorCode::None, ErrorCode::None];
    assert_eq!(bench.answer(ticket), Some(Answer::DeleteOffsets(Ok(codes))));
    assert_eq!((bench.committed("t"), bench.committed("u")), (Some(5), None));
    assert_eq!(bench.delete_group(), ErrorCode::NonEmptyGroup);
    bench.leave(&[(&a, None), (&b, None)]);
    bench.pass(REBALANCE_MS);
    assert_eq!(bench.delete_group(), ErrorCode::None);
    assert_eq!(bench.committed("t"), None);
    let replayed = bench.replayed();
    assert_eq!(
        (replayed.group_count(), replayed.offsets().has_any(GROUP)),
        (0, false),
        "all of it is written"
    );
}

#[test]
fn offsets_of_an_empty_group_expire_from_when_it_became_empty() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    let commit = of_member(&bench, &a, 1, 5);
    assert_eq!(bench.commit(commit), Ok(vec![ErrorCode::None]));
    for _ in 0..10 * DAY_MS / (SESSION_MS / 2) {
        bench.pass(SESSION_MS / 2);
        bench.heartbeat(&a, 1);
        bench.heartbeat(&b, 1);
    }
    assert_eq!(bench.committed("t"), Some(5), "however old: the group has members");
    bench.leave(&[(&a, None), (&b, None)]);
    bench.pass(7 * DAY_MS);
    assert_eq!(bench.committed("t"), Some(5), "it became empty a round's time later");
    bench.pass(REBALANCE_MS + 600_000);
    assert_eq!(bench.committed("t"), None);
    assert_eq!(
        (bench.shard.group_count(), bench.replayed().group_count()),
        (0, 0),
        "and the group with them"
    );
}

#[test]
fn offsets_without_members_expire_from_their_commit_or_when_their_client_said() {
    let mut bench = Bench::new();
    let old = simple(&bench, "old", 1);
    let mut own = simple(&bench, "own", 1);
    own.offsets[0].1.expire_timestamp = bench.moment().wall_ms + DAY_MS;
    assert!(bench.commit(old).is_ok() && bench.commit(own).is_ok());
    bench.pass(2 * DAY_MS);
    assert_eq!((bench.committed("old"), bench.committed("own")), (Some(1), None));
    let young = simple(&bench, "young", 2);
    assert!(bench.commit(young).is_ok());
    bench.pass(6 * DAY_MS);
    assert_eq!((bench.committed("old"), bench.committed("young")), (None, Some(2)));
}

#[test]
fn a_topic_that_a_stable_group_left_behind_expires_and_its_own_does_not() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    for topic in ["t", "left"] {
        let commit = commit(&a, 1, topic, 5, bench.moment());
        assert!(bench.commit(commit).is_ok());
    }
    for _ in 0..8 * DAY_MS / (SESSION_MS / 2) {
        bench.pass(SESSION_MS / 2);
        bench.heartbeat(&a, 1);
        bench.heartbeat(&b, 1);
    }
    assert_eq!((bench.committed("t"), bench.committed("left")), (Some(5), None));
}

#[test]
fn offsets_of_deleted_topics_are_forgotten() {
    let mut bench = Bench::new();
    for topic in ["t", "u"] {
        let commit = simple(&bench, topic, 5);
        assert!(bench.commit(commit).is_ok());
    }
    bench.ask(Operation::TopicsDeleted(vec!["t".into()]));
    assert_eq!((bench.committed("t"), bench.committed("u")), (None, Some(5)));
    assert_eq!(bench.replayed().offsets(), bench.shard.offsets());
}

#[test]
fn offsets_of_a_transaction_hold_once_it_is_committed() {
    let mut bench = Bench::new();
    let before = simple(&bench, "t", 1);
    assert!(bench.commit(before).is_ok());
    let key = OffsetCommitKey { group: GROUP.into(), topic: "t".into(), partition: 0 };
    let pending = |offset| {
        let value = OffsetCommitValue { offset, expire_timestamp: -1, ..Default::default() };
        records::offset(key.clone(), Some(value))
    };
    let stable = Fetch {
        group: GROUP.into(),
        member: None,
        partitions: Some(vec![("t".into(), 0)]),
        require_stable: true,
    };
    bench.shard.replay(&pending(5), Some(77));
    bench.shard.replay(&pending(6), Some(88));
    assert_eq!(bench.committed("t"), Some(1));
    assert_eq!(bench.fetch(stable.clone())[0].committed, Err(ErrorCode::UnstableOffsetCommit));
    bench.shard.replay_end_of_transaction(88, false);
    assert_eq!(bench.fetch(stable.clone())[0].committed, Err(ErrorCode::UnstableOffsetCommit));
    bench.shard.replay_end_of_transaction(77, true);
    assert!(bench.fetch(stable)[0].committed.is_ok());
    assert_eq!(bench.committed("t"), Some(5), "what was aborted never was");
}

#[test]
fn groups_are_listed_and_described_by_state() {
    let mut bench = Bench::new();
    let (a, _) = bench.two_members();
    let list = |bench: &mut Bench, states: &[&str], types: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|w| Str::from(*w)).collect();
        let ticket = bench.ask(Operation::List { states: words(states), types: words(types) });
        match bench.answer(ticket) {
            Some(Answer::List(groups)) => groups.len(),
            other => panic!("a list got {other:?}"),
        }
    };
    assert_eq!(list(&mut bench, &[], &[]), 1);
    assert_eq!(list(&mut bench, &["STABLE", "Empty"], &["Classic"]), 1);
    assert_eq!((list(&mut bench, &["Empty"], &[]), list(&mut bench, &[], &["consumer"])), (0, 0));
    let describe = |bench: &mut Bench| {
        let ticket = bench.ask(Operation::Describe(GROUP.into()));
        match bench.answer(ticket) {
            Some(Answer::Describe(group)) => group,
            other => panic!("a description got {other:?}"),
        }
    };
    let told = describe(&mut bench);
    assert_eq!((&*told.group_state, &*told.protocol_data, told.members.len()), ("Stable", "range", 2));
    assert_eq!(told.members.iter().find(|m| m.member_id == a).expect("A is there").member_assignment, "of a");
    bench.join_as_new(consumer("c"));
    let told = describe(&mut bench);
    assert_eq!((&*told.group_state, &*told.protocol_data), ("PreparingRebalance", ""));
    assert!(told.members.iter().all(|m| m.member_metadata.is_empty()), "there is no protocol to tell it by");
    let assignment = told.members.iter().find(|m| m.member_id == a).map(|m| m.member_assignment.clone());
    assert_eq!(assignment.as_deref(), Some(b"of a".as_slice()), "what it has until the round ends");
}

#[test]
fn groups_are_measured_page_by_page_each_once() {
    let mut bench = Bench::new();
    for group in ["a", "b", "c", "d", "e"] {
        for topic in ["t", "u"] {
            let commit = Commit { group: group.into(), ..simple(&bench, topic, 7) };
            assert_eq!(bench.commit(commit), Ok(vec![ErrorCode::None]));
        }
    }
    let (mut told, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        // A group with two offsets takes three places.
        let page = bench.shard.measure(after.as_ref(), 6);
        pages += 1;
        after = page.groups.last().map(|group| group.id.clone());
        told.extend(page.groups);
        if !page.has_more {
            break;
        }
    }
    let ids: Vec<&str> = told.iter().map(|group| group.id.as_str()).collect();
    assert_eq!((ids, pages), (vec!["a", "b", "c", "d", "e"], 3));
    assert!(
        told.iter().all(|group| group.state == "Empty" && group.members == 0 && group.offsets.len() == 2)
    );
}
