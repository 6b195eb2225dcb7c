//! Members of both protocols in one group: it goes from one kind to the other, and back, while they run.

use metadata::Topics;
use proptest::prelude::*;
use protocol::LogRecord as _;
use protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedPartition;
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerProtocolAssignment, GroupKey, consumer_protocol_assignment,
};
use protocol::record_frame::{decode_key, decode_versioned};

use super::consumer::{Client, Held, id_of, topics};
use super::*;
use crate::ClassicGroup;
use crate::consumer::ConsumerState;

/// A consumer of the classic protocol as it sees itself.
#[derive(Clone, Debug)]
struct Classic {
    client: &'static str,
    instance: Option<Str>,
    is_eager: bool,
    topics: Vec<Str>,
    member: Str,
    generation: i32,
    owned: Held,
    waits: Waits,
    /// How often it began anew: names are never given twice.
    lives: u128,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Waits {
    ToJoin,
    Joining(Ticket),
    Syncing(Ticket),
    Nothing,
}

impl Classic {
    fn new(client: &'static str) -> Classic {
        Classic {
            client,
            instance: None,
            is_eager: false,
            topics: vec!["t".into()],
            member: Str::default(),
            generation: -1,
            owned: Held::new(),
            waits: Waits::ToJoin,
            lives: 0,
        }
    }

    fn joining(&self, world: &Topics) -> Join {
        let mut owned: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.owned.iter().filter(|_| !self.is_eager) {
            owned.entry(world.by_id(*topic).expect("it is there").name.clone()).or_default().push(*partition);
        }
        let owned = owned.into_iter().map(|(topic, partitions)| OwnedPartition {
            topic,
            partitions,
            ..Default::default()
        });
        let subscription = ConsumerProtocolSubscription {
            topics: self.topics.clone(),
            owned_partitions: owned.collect(),
            generation_id: self.generation,
            ..Default::default()
        };
        let metadata = encode_versioned(&subscription, 3).expect("it fits");
        let mut join = again(joining(self.client, &[("range", metadata)]), &self.member);
        join.request.group_instance_id = self.instance.clone();
        join.unique = Uuid(join.unique.0 * 1_000 + self.lives);
        join
    }

    /// Somebody told it that it is none of them: it begins anew.
    fn start_anew(&mut self) {
        (self.member, self.generation, self.owned) = (Str::default(), -1, Held::new());
        self.lives += 1;
        self.waits = Waits::ToJoin;
    }

    fn take(&mut self, assignment: &Bytes) {
        let assignment: ConsumerProtocolAssignment =
            decode_versioned(assignment.clone()).expect("an assignment that can be read");
        let topics = assignment.assigned_partitions.iter();
        let told: Held = topics.flat_map(|of| of.partitions.iter().map(|p| (id_of(&of.topic), *p))).collect();
        let gives_back = !self.is_eager && !self.owned.is_subset(&told);
        self.owned = told;
        self.waits = if gives_back { Waits::ToJoin } else { Waits::Nothing };
    }
}

impl Bench {
    /// Lets a client do the next thing that a real one would do.
    fn step(&mut self, client: &mut Classic, world: &Arc<Topics>) {
        self.show(world);
        match client.waits {
            Waits::ToJoin => {
                // Whoever is eager gives everything back before it joins.
                if client.is_eager {
                    client.owned.clear();
                }
                let ticket = self.join(client.joining(world));
                client.waits = Waits::Joining(ticket);
                self.hear(client);
            }
            Waits::Joining(_) | Waits::Syncing(_) => self.hear(client),
            Waits::Nothing => match self.heartbeat(&client.member, client.generation) {
                ErrorCode::None => {}
                ErrorCode::RebalanceInProgress => client.waits = Waits::ToJoin,
                _ => client.start_anew(),
            },
        }
    }

    fn hear(&mut self, client: &mut Classic) {
        let (Waits::Joining(ticket) | Waits::Syncing(ticket)) = client.waits else { return };
        match self.answer(ticket) {
            None => {}
            Some(Answer::Join(told)) => match ErrorCode::from_code(told.error_code) {
                ErrorCode::None => {
                    (client.member, client.generation) = (told.member_id.clone(), told.generation_id);
                    let given = if told.leader == told.member_id { assign(&told) } else { Vec::new() };
                    let request = SyncGroupRequest {
                        group_id: GROUP.into(),
                        generation_id: told.generation_id,
                        member_id: told.member_id,
                        group_instance_id: client.instance.clone(),
                        protocol_type: told.protocol_type,
                        protocol_name: told.protocol_name,
                        assignments: given,
                        ..Default::default()
                    };
                    client.waits = Waits::Syncing(self.ask(Operation::Sync(request)));
                    self.hear(client);
                }
                ErrorCode::MemberIdRequired => {
                    client.member = told.member_id;
                    client.waits = Waits::ToJoin;
                }
                ErrorCode::RebalanceInProgress => client.waits = Waits::ToJoin,
                _ => client.start_anew(),
            },
            Some(Answer::Sync(told)) => match ErrorCode::from_code(told.error_code) {
                ErrorCode::None => client.take(&told.assignment),
                ErrorCode::RebalanceInProgress => client.waits = Waits::ToJoin,
                _ => client.start_anew(),
            },
            other => panic!("{other:?}"),
        }
    }

    fn leave_as(&mut self, client: &mut Classic) {
        self.leave(&[(&client.member.clone(), None)]);
        client.start_anew();
    }

    fn is_classic(&self) -> bool {
        self.shard.group(GROUP).is_some()
    }

    /// The kinds of the records from `start` on, a tombstone with a minus.
    fn kinds(&self, start: usize) -> Vec<i32> {
        let kind = |entry: &Entry| {
            let kind =
                i32::from(decode_key::<GroupKey>(entry.key.clone()).expect("it can be read").record_type());
            if entry.value.is_some() { kind } else { -kind }
        };
        self.log[start..].iter().map(kind).collect()
    }
}

/// The leader of a classic round: a share for everybody, but nothing that somebody else still owns.
fn assign(told: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
    let members: Vec<(Str, ConsumerProtocolSubscription)> = told
        .members
        .iter()
        .map(|m| (m.member_id.clone(), decode_versioned(m.metadata.clone()).expect("a subscription")))
        .collect();
    let owner_of = |topic: &str, partition: i32| {
        members.iter().find(|(_, s)| {
            s.owned_partitions.iter().any(|o| o.topic == *topic && o.partitions.contains(&partition))
        })
    };
    let mut given: BTreeMap<Str, BTreeMap<Str, Vec<i32>>> = BTreeMap::new();
    for (topic, count) in [("t", 4), ("u", 3)] {
        let readers: Vec<&Str> =
            members.iter().filter(|(_, s)| s.topics.iter().any(|t| t == topic)).map(|(id, _)| id).collect();
        for partition in (0..count).filter(|_| !readers.is_empty()) {
            let reader = readers[partition as usize % readers.len()];
            if owner_of(topic, partition).is_none_or(|(owner, _)| owner == reader) {
                given.entry(reader.clone()).or_default().entry(topic.into()).or_default().push(partition);
            }
        }
    }
    let one = |(member_id, _): &(Str, ConsumerProtocolSubscription)| {
        let topics = given.remove(member_id).unwrap_or_default().into_iter();
        let topics = topics.map(|(topic, partitions)| consumer_protocol_assignment::TopicPartition {
            topic,
            partitions,
            ..Default::default()
        });
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: topics.collect(), ..Default::default() };
        let assignment = encode_versioned(&assignment, 3).expect("it fits");
        SyncGroupRequestAssignment { member_id: member_id.clone(), assignment, ..Default::default() }
    };
    members.iter().map(one).collect()
}

/// Two members of the classic protocol that share four partitions.
fn two_classic(bench: &mut Bench, world: &Arc<Topics>) -> (Classic, Classic) {
    let (mut a, mut b) = (Classic::new("a"), Classic::new("b"));
    for _ in 0..12 {
        bench.step(&mut a, world);
        bench.step(&mut b, world);
        bench.pass(1_000);
    }
    assert_eq!((a.owned.len(), b.owned.len(), bench.state()), (2, 2, State::Stable));
    (a, b)
}

fn settle(bench: &mut Bench, world: &Arc<Topics>, classic: &mut [&mut Classic], newer: &mut [&mut Client]) {
    for _ in 0..30 {
        classic.iter_mut().for_each(|client| bench.step(client, world));
        newer.iter_mut().for_each(|client| {
            let _ = bench.say(client, world);
        });
        bench.pass(1_000);
    }
}

fn leaving(client: &Client) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { member_epoch: -1, ..client.request() }
}

#[test]
fn a_classic_group_is_led_on_as_a_consumer_group_when_a_newer_member_joins() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = two_classic(&mut bench, &world);
    let (generation, start) = (a.generation, bench.log.len());
    let mut c = Client::new("c");
    assert_eq!(bench.say(&mut c, &world), Ok(()));
    assert_eq!((c.epoch, c.owned.len()), (generation + 1, 0), "A and B hold everything");
    // The end of the classic group, two members as they are, the epoch, their targets and the target's epoch, what they
    // hold; then the new member, the next epoch, the targets that change, and where the new member stands.
    let expected = vec![-2, 5, 5, 3, 7, 7, 6, 8, 8, 5, 3, 7, 7, 6, 8];
    assert_eq!(bench.kinds(start), expected);
    let replayed = bench.replayed();
    assert_eq!(
        format!("{:?}", replayed.consumer_group(GROUP)),
        format!("{:?}", bench.shard.consumer_group(GROUP))
    );
    assert_eq!(bench.heartbeat(&a.member, generation), ErrorCode::RebalanceInProgress);
    settle(&mut bench, &world, &mut [&mut a, &mut b], &mut [&mut c]);
    assert_eq!(bench.consumer_state(), ConsumerState::Stable);
    let all: Held = [&a.owned, &b.owned, &c.owned].into_iter().flatten().copied().collect();
    assert_eq!((all.len(), a.owned.len() + b.owned.len() + c.owned.len()), (4, 4));
    assert!(!c.owned.is_empty() && a.generation > generation);
}

#[test]
fn the_group_goes_back_to_the_classic_protocol_with_its_last_newer_member() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = two_classic(&mut bench, &world);
    let (mut c, mut d) = (Client::new("c"), Client::new("d"));
    assert_eq!((bench.say(&mut c, &world), bench.say(&mut d, &world)), (Ok(()), Ok(())));
    settle(&mut bench, &world, &mut [&mut a, &mut b], &mut [&mut c, &mut d]);
    assert_eq!(bench.beat(leaving(&c), &world).map(|told| told.member_epoch), Ok(-1));
    assert!(!bench.is_classic(), "D still speaks the newer protocol");
    settle(&mut bench, &world, &mut [&mut a, &mut b], &mut [&mut d]);
    let (epoch, start) = (a.generation, bench.log.len());
    assert_eq!(bench.beat(leaving(&d), &world).map(|told| told.member_epoch), Ok(-1));
    // All that the consumer group had written ends, that of the leaving member too, and the classic group is one record.
    assert_eq!(bench.kinds(start), vec![-8, -8, -8, -7, -7, -7, -6, -5, -5, -5, -4, -3, 2]);
    assert_eq!(
        (bench.state(), bench.shard.group(GROUP).map(|g| g.generation)),
        (State::PreparingRebalance, Some(epoch))
    );
    assert_eq!(bench.replayed().group(GROUP).map(ClassicGroup::state), Some(State::Stable));
    assert_eq!(bench.heartbeat(&a.member, epoch), ErrorCode::RebalanceInProgress);
    settle(&mut bench, &world, &mut [&mut a, &mut b], &mut []);
    assert_eq!((a.owned.len(), b.owned.len(), bench.state()), (2, 2, State::Stable));
    assert!(a.generation > epoch);
}

#[test]
fn a_silent_member_and_one_sent_away_take_the_newer_protocol_with_them_as_well() {
    for is_sent_away in [true, false] {
        let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
        let (mut a, mut b) = two_classic(&mut bench, &world);
        let mut c = Client::new("c");
        assert_eq!(bench.say(&mut c, &world), Ok(()));
        settle(&mut bench, &world, &mut [&mut a, &mut b], &mut [&mut c]);
        if is_sent_away {
            assert_eq!(bench.leave(&[("c", None), ("c", None), ("x", None)])[..2], [ErrorCode::None; 2]);
        } else {
            settle(&mut bench, &world, &mut [&mut a, &mut b], &mut []);
            settle(&mut bench, &world, &mut [&mut a, &mut b], &mut []);
        }
        assert!(bench.is_classic(), "sent away: {is_sent_away}");
    }
}

#[test]
fn the_policy_says_which_way_a_group_may_go() {
    for (policy, up, down) in [
        (MigrationPolicy::Disabled, false, false),
        (MigrationPolicy::Upgrade, true, false),
        (MigrationPolicy::Downgrade, false, true),
        (MigrationPolicy::Bidirectional, true, true),
    ] {
        let world = topics(&[("t", 4)]);
        let mut bench = Bench::with(GroupConfig { migration_policy: policy, ..config() });
        two_classic(&mut bench, &world);
        let mut c = Client::new("c");
        let joined = bench.say(&mut c, &world);
        assert_eq!(joined, if up { Ok(()) } else { Err(ErrorCode::GroupIdNotFound) }, "{policy:?}");
        let mut bench = Bench::with(GroupConfig { migration_policy: policy, ..config() });
        let (mut c, mut a) = (Client::new("c"), Classic::new("a"));
        assert_eq!(bench.say(&mut c, &world), Ok(()));
        let ticket = bench.join(a.joining(&world));
        let refused = bench.joined(ticket).error_code == ErrorCode::InconsistentGroupProtocol.code();
        assert_eq!(refused, policy == MigrationPolicy::Disabled, "{policy:?}");
        if !refused {
            settle(&mut bench, &world, &mut [&mut a], &mut [&mut c]);
            assert!(bench.beat(leaving(&c), &world).is_ok());
            assert_eq!(bench.is_classic(), down, "{policy:?}");
        }
    }
}

#[test]
fn groups_that_cannot_be_led_on_stay_what_they_are() {
    let world = topics(&[("t", 4)]);
    let mut other = joining("a", &[("x", Bytes::from_static(b"?"))]);
    other.request.protocol_type = "connect".into();
    let malformed = joining("a", &[("range", Bytes::from_static(b"?"))]);
    let with_data = |data: &'static [u8]| {
        let user_data = Some(Bytes::from_static(data));
        let assignment = ConsumerProtocolAssignment { user_data, ..Default::default() };
        encode_versioned(&assignment, 1).expect("it fits")
    };
    for (what, join, assignment, code) in [
        ("no consumers", other, Bytes::new(), Some(ErrorCode::GroupIdNotFound)),
        ("malformed", malformed, Bytes::new(), Some(ErrorCode::GroupIdNotFound)),
        ("custom assignor", consumer("a"), with_data(b"!"), Some(ErrorCode::GroupIdNotFound)),
        ("empty data", consumer("a"), with_data(b""), None),
    ] {
        let mut bench = Bench::new();
        let (a, ticket) = bench.join_as_new(join);
        bench.pass(2 * DELAY_MS);
        assert_eq!(bench.joined(ticket).error_code, 0);
        let given = SyncGroupRequestAssignment { member_id: a.clone(), assignment, ..Default::default() };
        let ticket = bench.ask(Operation::Sync(SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: 1,
            member_id: a.clone(),
            assignments: vec![given],
            ..Default::default()
        }));
        assert_eq!(bench.synced(ticket).error_code, 0);
        let before = bench.log.len();
        let answer = bench.say(&mut Client::new("c"), &world);
        assert_eq!(answer.err(), code, "{what}");
        if code.is_some() {
            assert_eq!((bench.log.len(), bench.heartbeat(&a, 1)), (before, ErrorCode::None), "{what}");
        }
    }
}

#[test]
fn a_group_too_large_for_the_other_kind_stays_what_it_is() {
    let world = topics(&[("t", 4)]);
    for (consumer_size_max, code) in [(1, ErrorCode::GroupIdNotFound), (2, ErrorCode::GroupMaxSizeReached)] {
        let mut bench = Bench::with(GroupConfig { consumer_size_max, ..config() });
        two_classic(&mut bench, &world);
        assert_eq!(bench.say(&mut Client::new("c"), &world), Err(code));
        assert!(bench.is_classic());
    }
    let mut bench = Bench::with(GroupConfig { batch_bytes_max: 700, ..config() });
    two_classic(&mut bench, &world);
    assert_eq!(bench.say(&mut Client::new("c"), &world), Err(ErrorCode::UnknownServerError));
    assert_eq!(bench.state(), State::Stable);
    let mut bench = Bench::with(GroupConfig { size_max: 1, ..config() });
    let (mut a, mut b, mut c) = (Classic::new("a"), Classic::new("b"), Client::new("c"));
    assert_eq!(bench.say(&mut c, &world), Ok(()));
    settle(&mut bench, &world, &mut [&mut a, &mut b], &mut [&mut c]);
    assert!(bench.beat(leaving(&c), &world).is_ok());
    assert!(!bench.is_classic(), "two are too many for a classic group");
}

#[test]
fn who_waits_in_a_classic_round_is_told_to_join_the_consumer_group() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (a, _) = two_classic(&mut bench, &world);
    let waiting = bench.join(a.joining(&world));
    let (_, waiting_too) = bench.join_as_new(consumer("late"));
    assert_eq!((bench.answer(waiting), bench.state()), (None, State::PreparingRebalance));
    assert_eq!(bench.say(&mut Client::new("c"), &world), Ok(()));
    for ticket in [waiting, waiting_too] {
        assert_eq!(bench.joined(ticket).error_code, ErrorCode::RebalanceInProgress.code());
    }
}

#[test]
fn a_classic_member_that_does_not_join_again_or_fetch_its_assignment_is_fenced() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = two_classic(&mut bench, &world);
    let mut c = Client::new("c");
    assert_eq!(bench.say(&mut c, &world), Ok(()));
    // B lives, and does not do what it is told to.
    for _ in 0..REBALANCE_MS / 1_000 {
        assert_eq!(bench.heartbeat(&b.member, b.generation), ErrorCode::RebalanceInProgress);
        bench.step(&mut a, &world);
        assert_eq!(bench.say(&mut c, &world), Ok(()));
        bench.pass(1_000);
    }
    assert_eq!(bench.heartbeat(&b.member, b.generation), ErrorCode::UnknownMemberId);
    b.start_anew();
    let named = bench.join(b.joining(&world));
    b.member = bench.joined(named).member_id;
    let joined = bench.join(b.joining(&world));
    let generation = bench.joined(joined).generation_id;
    // B has joined, lives, and does not ask for its assignment.
    for _ in 0..REBALANCE_MS / 1_000 {
        let _ = bench.heartbeat(&b.member, generation);
        assert_eq!(bench.say(&mut c, &world), Ok(()));
        bench.step(&mut a, &world);
        bench.pass(1_000);
    }
    assert_eq!(bench.heartbeat(&b.member, generation), ErrorCode::UnknownMemberId);
}

#[test]
fn an_instance_that_changes_its_protocol_keeps_its_place() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = (Classic::new("a"), Classic::new("b"));
    (a.instance, b.instance) = (Some("ia".into()), Some("ib".into()));
    settle(&mut bench, &world, &mut [&mut a, &mut b], &mut []);
    assert_eq!((a.owned.len(), b.owned.len()), (2, 2));
    let mut newer = Client { instance: Some("ib".into()), ..Client::new("b2") };
    assert_eq!(bench.say(&mut newer, &world), Ok(()));
    settle(&mut bench, &world, &mut [&mut a], &mut [&mut newer]);
    assert_eq!((a.owned.len(), newer.owned.len(), bench.consumer_state()), (2, 2, ConsumerState::Stable));
    let epoch = a.generation;
    let start = bench.log.len();
    let mut back = Classic { instance: Some("ib".into()), ..Classic::new("b3") };
    let ticket = bench.join(back.joining(&world));
    back.waits = Waits::Joining(ticket);
    bench.hear(&mut back);
    assert!(bench.is_classic(), "the last member of the newer protocol was replaced");
    let replaced = [-8, -7, -5, 5, 7, 8, 5];
    assert_eq!(bench.kinds(start)[..replaced.len()], replaced);
    assert_eq!((bench.state(), back.generation), (State::Stable, epoch), "nothing changes for the others");
    assert_eq!(bench.heartbeat(&a.member, epoch), ErrorCode::None);
    assert_eq!(back.owned, newer.owned);
}

#[test]
fn requests_of_the_classic_protocol_are_checked_as_in_a_classic_group() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut c) = (Classic::new("a"), Client::new("c"));
    assert_eq!(bench.say(&mut c, &world), Ok(()));
    settle(&mut bench, &world, &mut [&mut a], &mut [&mut c]);
    assert_eq!(bench.heartbeat(&"x".into(), 1), ErrorCode::UnknownMemberId);
    assert_eq!(
        bench.heartbeat(&"c".into(), c.epoch),
        ErrorCode::UnknownMemberId,
        "it speaks the newer protocol"
    );
    assert_eq!(bench.heartbeat(&a.member, a.generation + 1), ErrorCode::IllegalGeneration);
    let sync = |bench: &mut Bench, kind: Option<&str>, name: Option<&str>| {
        let ticket = bench.ask(Operation::Sync(SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: a.generation,
            member_id: a.member.clone(),
            protocol_type: kind.map(Str::from),
            protocol_name: name.map(Str::from),
            ..Default::default()
        }));
        ErrorCode::from_code(bench.synced(ticket).error_code)
    };
    assert_eq!(sync(&mut bench, Some("connect"), None), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(sync(&mut bench, None, Some("sticky")), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(sync(&mut bench, Some("consumer"), Some("range")), ErrorCode::None);
    for (kind, protocols) in [("consumer", vec![]), ("connect", vec!["range"]), ("consumer", vec!["other"])] {
        let metadata = a.joining(&world).request.protocols[0].metadata.clone();
        let protocols: Vec<_> = protocols.into_iter().map(|name| (name, metadata.clone())).collect();
        let mut join = joining("x", &protocols);
        join.request.protocol_type = kind.into();
        let ticket = bench.join(join);
        assert_eq!(bench.joined(ticket).error_code, ErrorCode::InconsistentGroupProtocol.code(), "{kind}");
    }
    let offset =
        |member: &str, generation| commit(member, generation, "t", 5, Moment { wall_ms: 0, timer_ms: 0 });
    assert_eq!(bench.commit(offset(&a.member, a.generation)), Ok(vec![ErrorCode::None]));
    assert_eq!(bench.commit(offset(&a.member, a.generation + 1)), Err(ErrorCode::IllegalGeneration));
    let old = Commit { version: 8, ..offset("c", c.epoch) };
    assert_eq!(bench.commit(old), Err(ErrorCode::UnsupportedVersion));
}

#[test]
fn a_commit_in_an_older_epoch_counts_for_what_was_held_since_then() {
    let (mut bench, world) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = (Client::new("a"), Client::new("b"));
    assert_eq!(bench.say(&mut a, &world), Ok(()));
    let first = a.epoch;
    settle(&mut bench, &world, &mut [], &mut [&mut a, &mut b]);
    assert!(a.epoch > first);
    let kept = a.owned.first().expect("it has a share").1;
    let moved = b.owned.first().expect("it has a share").1;
    let at = |member: &str, epoch, partition| {
        let mut commit = commit(member, epoch, "t", 5, Moment { wall_ms: 0, timer_ms: 0 });
        commit.offsets[0].0.1 = partition;
        commit.offsets[0].1.topic_id = id_of("t");
        commit
    };
    assert_eq!(bench.commit(at("a", first, kept)), Ok(vec![ErrorCode::None]), "it had it all along");
    assert_eq!(bench.commit(at("a", first - 1, kept)), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(bench.commit(at("a", first, moved)), Err(ErrorCode::StaleMemberEpoch), "it is B's now");
    assert_eq!(bench.commit(at("b", first, moved)), Err(ErrorCode::StaleMemberEpoch), "B got it later");
    assert_eq!(bench.commit(at("a", a.epoch + 1, kept)), Err(ErrorCode::StaleMemberEpoch));
    let mut both = at("a", first, kept);
    both.offsets.extend(at("a", first, moved).offsets);
    assert_eq!(bench.commit(both), Err(ErrorCode::StaleMemberEpoch), "all or nothing");
}

#[derive(Clone, Debug)]
enum Step {
    Act(usize),
    Leave(usize),
    /// It leaves, and comes back with the other protocol.
    Change(usize),
    Subscribe(usize, bool),
    Pass(i64),
    FailOver,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..4usize;
    prop_oneof![
        20 => client.clone().prop_map(Step::Act),
        1 => client.clone().prop_map(Step::Leave),
        2 => client.clone().prop_map(Step::Change),
        1 => (client, any::<bool>()).prop_map(|(client, both)| Step::Subscribe(client, both)),
        4 => prop_oneof![Just(500), Just(3_000), Just(SESSION_MS)].prop_map(Step::Pass),
        1 => Just(Step::FailOver),
    ]
}

/// A client in both of its shapes; one of them is in use.
#[derive(Debug)]
struct Both {
    classic: Classic,
    newer: Client,
    is_newer: bool,
    last_heard_ms: i64,
}

impl Both {
    fn held(&self) -> &Held {
        if self.is_newer { &self.newer.owned } else { &self.classic.owned }
    }

    fn act(&mut self, bench: &mut Bench, world: &Arc<Topics>) {
        self.last_heard_ms = bench.now_ms;
        if self.is_newer {
            let _ = bench.say(&mut self.newer, world);
        } else {
            bench.step(&mut self.classic, world)
        }
    }

    fn leave(&mut self, bench: &mut Bench, world: &Arc<Topics>) {
        if self.is_newer {
            drop(bench.beat(leaving(&self.newer), world));
            (self.newer.epoch, self.newer.owned) = (0, Held::new());
        } else {
            bench.leave_as(&mut self.classic);
        }
    }

    /// Whether the coordinator would take a commit of this client for a partition.
    fn may_commit(&self, shard: &GroupShard, (topic, partition): (Uuid, i32)) -> bool {
        let (member, generation) = match self.is_newer {
            true => (self.newer.id.clone(), self.newer.epoch),
            false => (self.classic.member.clone(), self.classic.generation),
        };
        if let Some(group) = shard.group(GROUP) {
            return group.check_member(&member, None).is_ok() && group.generation == generation;
        }
        let mut commit = commit(&member, generation, "t", 0, Moment { wall_ms: 0, timer_ms: 0 });
        (commit.offsets[0].0.1, commit.offsets[0].1.topic_id) = (partition, topic);
        shard.consumer_group(GROUP).is_some_and(|group| group.check_commit(&commit).is_ok())
    }
}

fn check(bench: &Bench, clients: &[Both]) {
    let mut owners: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
    for (index, client) in clients.iter().enumerate() {
        for partition in client.held().iter().filter(|p| client.may_commit(&bench.shard, **p)) {
            let other = owners.insert(*partition, index);
            assert_eq!(other, None, "{partition:?} has two owners: {clients:#?}");
        }
    }
    let (live, loaded) = (&bench.shard, bench.replayed());
    assert_eq!(format!("{:?}", loaded.consumer_group(GROUP)), format!("{:?}", live.consumer_group(GROUP)));
    if let Some(group) = live.group(GROUP) {
        let loaded = loaded.group(GROUP).expect("it is a classic group in the log as well");
        let is_settled = matches!(group.state(), State::Stable | State::Empty) && group.generation > 0;
        if is_settled {
            assert_eq!(loaded.to_record(), group.to_record());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn members_of_both_protocols_share_a_group_whatever_they_change_to(
        eager in any::<[bool; 4]>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let (mut bench, world) = (Bench::new(), topics(&[("t", 4), ("u", 3)]));
        let mut clients: Vec<Both> = ["a", "b", "c", "d"]
            .into_iter()
            .zip(eager)
            .map(|(name, is_eager)| Both {
                classic: Classic { is_eager, ..Classic::new(name) },
                newer: Client::new(name),
                is_newer: false,
                last_heard_ms: 0,
            })
            .collect();
        for step in &steps {
            match *step {
                Step::Act(c) => clients[c].act(&mut bench, &world),
                Step::Leave(c) => clients[c].leave(&mut bench, &world),
                Step::Change(c) => {
                    clients[c].leave(&mut bench, &world);
                    clients[c].is_newer ^= true;
                }
                Step::Subscribe(c, both) => {
                    let topics: Vec<Str> = if both { vec!["t".into(), "u".into()] } else { vec!["u".into()] };
                    (clients[c].classic.topics, clients[c].newer.topics) = (topics.clone(), topics);
                    // A real one of the classic protocol joins again then.
                    clients[c].classic.waits = Waits::ToJoin;
                }
                Step::Pass(ms) => bench.pass(ms),
                Step::FailOver => {
                    bench.fail_over();
                    let now_ms = bench.now_ms;
                    clients.iter_mut().for_each(|client| client.last_heard_ms = now_ms);
                    // Whoever waited is not answered from here, and asks again.
                    clients.iter_mut().for_each(|c| c.classic.waits = match c.classic.waits {
                        Waits::Nothing => Waits::Nothing,
                        _ => Waits::ToJoin,
                    });
                }
            }
            check(&bench, &clients);
        }
        for _ in 0..150 {
            clients.iter_mut().for_each(|client| client.act(&mut bench, &world));
            check(&bench, &clients);
            bench.pass(1_000);
        }
        let settled = match bench.shard.consumer_group(GROUP) {
            Some(group) => group.state() == ConsumerState::Stable,
            None => bench.state() == State::Stable,
        };
        prop_assert!(settled, "{:?}", bench.shard);
        let all: Held = clients.iter().flat_map(Both::held).copied().collect();
        let is_read = |topic: &str| clients.iter().any(|client| client.newer.topics.iter().any(|t| t == topic));
        let expected = [("t", 4), ("u", 3)].into_iter().filter(|(t, _)| is_read(t)).map(|(_, n)| n);
        prop_assert_eq!(all.len(), expected.sum::<usize>(), "every partition is owned: {:#?}", clients);
    }
}
