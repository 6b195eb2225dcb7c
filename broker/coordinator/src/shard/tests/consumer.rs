//! Consumer groups (KIP-848): epochs, targets, who holds what, and what a member may not do.

use std::collections::BTreeSet;

use metadata::{Delta, Record, Topics};
use proptest::prelude::*;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, PartitionRecord, TopicRecord,
};

use super::*;
use crate::consumer::{ConsumerState, Refusal};
use crate::operation::Beat;

pub(super) type Held = BTreeSet<(Uuid, i32)>;

/// Topics by name with their numbers of partitions; the ids follow from the names.
pub(super) fn topics(of: &[(&str, i32)]) -> Arc<Topics> {
    let mut delta = Delta::new(&Image::default());
    for (name, partitions) in of {
        let id = id_of(name);
        delta.apply(&Record::from(TopicRecord { name: (*name).into(), topic_id: id, ..Default::default() }));
        for partition in 0..*partitions {
            delta.apply(&Record::from(PartitionRecord {
                partition_id: partition,
                topic_id: id,
                replicas: vec![1],
                isr: vec![1],
                leader: 1,
                ..Default::default()
            }));
        }
    }
    Arc::clone(&delta.finish().topics)
}

pub(super) fn id_of(topic: &str) -> Uuid {
    Uuid(topic.bytes().fold(7, |id, byte| id * 256 + u128::from(byte)))
}

/// A client as it sees itself.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: Str,
    pub(super) instance: Option<Str>,
    pub(super) epoch: i32,
    pub(super) owned: Held,
    pub(super) topics: Vec<Str>,
    pub(super) regex: Option<Str>,
}

impl Client {
    pub(super) fn new(id: &str) -> Client {
        Client {
            id: id.into(),
            instance: None,
            epoch: 0,
            owned: Held::new(),
            topics: vec!["t".into()],
            regex: None,
        }
    }

    /// A heartbeat that says everything.
    pub(super) fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.owned.iter().filter(|_| self.epoch != 0) {
            owned.entry(*topic).or_default().push(*partition);
        }
        let topic = |(topic_id, partitions)| TopicPartitions { topic_id, partitions, ..Default::default() };
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: REBALANCE_MS as i32,
            subscribed_topic_names: Some(self.topics.clone()),
            subscribed_topic_regex: self.regex.clone(),
            topic_partitions: Some(owned.into_iter().map(topic).collect()),
            ..Default::default()
        }
    }

    /// Takes over an answer: gives back what it shall not have, takes what it shall.
    fn hear(&mut self, answer: &Result<ConsumerGroupHeartbeatResponse, Refusal>) {
        match answer {
            Ok(told) => {
                self.epoch = told.member_epoch;
                if let Some(assignment) = &told.assignment {
                    let topics = assignment.topic_partitions.iter();
                    self.owned = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, *p))).collect();
                }
            }
            Err(_) => (self.epoch, self.owned) = (0, Held::new()),
        }
    }
}

impl Bench {
    pub(super) fn beat(
        &mut self,
        request: ConsumerGroupHeartbeatRequest,
        topics: &Arc<Topics>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let beat = Beat {
            request,
            version: 1,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            unique: Uuid(5),
        };
        self.show(topics);
        let beat = Operation::ConsumerHeartbeat(beat);
        crate::check(&beat, &self.shard.config)?;
        let ticket = self.ask(beat);
        match self.answer(ticket) {
            Some(Answer::ConsumerHeartbeat(answer)) => answer,
            other => panic!("a heartbeat got {other:?}"),
        }
    }

    pub(super) fn say(&mut self, client: &mut Client, topics: &Arc<Topics>) -> Result<(), ErrorCode> {
        let answer = self.beat(client.request(), topics);
        client.hear(&answer);
        answer.map(drop).map_err(|refusal| refusal.code)
    }

    /// Everybody's heartbeats, until nothing changes any more.
    fn converge(&mut self, clients: &mut [&mut Client], topics: &Arc<Topics>) {
        for _ in 0..4 {
            self.pass(5_000);
            for client in &mut *clients {
                assert_eq!(self.say(client, topics), Ok(()));
            }
        }
        assert_eq!(self.consumer_state(), ConsumerState::Stable);
    }

    pub(super) fn consumer_state(&self) -> ConsumerState {
        self.shard.consumer_group(GROUP).expect("the group is there").state()
    }
}

fn counts(clients: &[&Client]) -> Vec<usize> {
    let all: Vec<_> = clients.iter().flat_map(|client| &client.owned).collect();
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "nobody shares a partition");
    clients.iter().map(|client| client.owned.len()).collect()
}

#[test]
fn a_second_member_gets_its_share_once_the_first_has_given_it_back() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = (Client::new("a"), Client::new("b"));
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    assert_eq!((a.epoch, a.owned.len(), bench.consumer_state()), (2, 4, ConsumerState::Stable));
    bench.pass(1_000);
    assert_eq!(bench.say(&mut b, &topics), Ok(()));
    assert_eq!((b.epoch, b.owned.len()), (3, 0), "A still holds everything");
    let asked = bench.beat(a.request(), &topics).expect("it is a member");
    assert_eq!(asked.member_epoch, 2, "first it gives back");
    assert_eq!(bench.say(&mut b, &topics), Ok(()));
    assert_eq!(b.owned.len(), 0, "A was asked and has not done it");
    a.hear(&Ok(asked));
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    assert_eq!((a.epoch, a.owned.len()), (3, 2));
    assert_eq!(bench.say(&mut b, &topics), Ok(()));
    assert_eq!(counts(&[&a, &b]), [2, 2]);
    assert_eq!(bench.consumer_state(), ConsumerState::Stable);
}

#[test]
fn targets_are_not_worked_out_more_often_than_the_interval_says() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = (Client::new("a"), Client::new("b"));
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    assert_eq!(bench.say(&mut b, &topics), Ok(()));
    assert_eq!((b.epoch, bench.consumer_state()), (2, ConsumerState::Assigning), "too early");
    bench.converge(&mut [&mut a, &mut b], &topics);
    assert_eq!(counts(&[&a, &b]), [2, 2]);
}

#[test]
fn who_does_not_give_back_in_time_is_fenced() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = (Client::new("a"), Client::new("b"));
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    bench.pass(1_000);
    assert_eq!(bench.say(&mut b, &topics), Ok(()));
    // A lives, and owns everything all the same.
    let stubborn = a.request();
    for _ in 0..REBALANCE_MS / 5_000 {
        drop(bench.beat(stubborn.clone(), &topics));
        bench.pass(5_000);
        assert_eq!(bench.say(&mut b, &topics), Ok(()));
    }
    let answer = bench.beat(stubborn, &topics);
    assert_eq!(answer.map_err(|refusal| refusal.code), Err(ErrorCode::UnknownMemberId));
    bench.converge(&mut [&mut b], &topics);
    assert_eq!(b.owned.len(), 4);
}

#[test]
fn a_silent_member_is_fenced_after_its_session_time_out_and_a_leaving_one_at_once() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b, mut c) = (Client::new("a"), Client::new("b"), Client::new("c"));
    for client in [&mut a, &mut b, &mut c] {
        assert_eq!(bench.say(client, &topics), Ok(()));
    }
    bench.converge(&mut [&mut a, &mut b, &mut c], &topics);
    let left = bench.beat(ConsumerGroupHeartbeatRequest { member_epoch: -1, ..c.request() }, &topics);
    assert_eq!(left.map(|told| told.member_epoch), Ok(-1));
    for _ in 0..10 {
        bench.pass(5_000);
        assert_eq!(bench.say(&mut a, &topics), Ok(()));
    }
    assert_eq!(a.owned.len(), 4, "B fell silent, C has left");
    assert_eq!(bench.say(&mut b, &topics), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_member_may_be_one_lost_answer_behind_and_no_more() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let mut a = Client::new("a");
    let first = a.request();
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    // The answer got lost: it joins again, and is told the same.
    let again = bench.beat(first, &topics).expect("it may join anew");
    assert_eq!((again.member_epoch, again.assignment.is_some()), (2, true));
    let mut behind = a.clone();
    a.topics.push("u".into());
    bench.pass(1_000);
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    assert_eq!(a.epoch, 3);
    let told = behind.clone();
    assert_eq!(bench.say(&mut behind, &topics), Ok(()), "one epoch behind, with its own partitions");
    behind = told;
    let mut greedy = behind.clone();
    greedy.owned.insert((id_of("u"), 0));
    let ahead = Client { epoch: 9, ..a.clone() };
    a.topics.push("v".into());
    bench.pass(1_000);
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    for mut wrong in [greedy, ahead, behind] {
        assert_eq!(bench.say(&mut wrong, &topics), Err(ErrorCode::FencedMemberEpoch), "{wrong:?}");
    }
}

#[test]
fn a_static_member_that_is_away_for_a_moment_keeps_what_it_has() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let (mut a, mut b) = (Client::new("a"), Client::new("b"));
    (a.instance, b.instance) = (Some("ia".into()), Some("ib".into()));
    assert_eq!((bench.say(&mut a, &topics), bench.say(&mut b, &topics)), (Ok(()), Ok(())));
    bench.converge(&mut [&mut a, &mut b], &topics);
    let mut impostor = Client { id: "x".into(), epoch: 0, owned: Held::new(), ..b.clone() };
    assert_eq!(bench.say(&mut impostor, &topics), Err(ErrorCode::UnreleasedInstanceId));
    let away = ConsumerGroupHeartbeatRequest { member_epoch: -2, ..b.request() };
    assert_eq!(bench.beat(away, &topics).map(|told| told.member_epoch), Ok(-2));
    bench.pass(5_000);
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    assert_eq!(a.owned.len(), 2, "nobody gets what B has");
    let mut back = Client { id: "b2".into(), epoch: 0, owned: Held::new(), ..b.clone() };
    assert_eq!(bench.say(&mut back, &topics), Ok(()));
    assert_eq!(back.owned, b.owned);
    assert_eq!(bench.say(&mut b, &topics), Err(ErrorCode::FencedInstanceId));
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let good = Client::new("a").request();
    let wrong: Vec<(&str, ConsumerGroupHeartbeatRequest, ErrorCode)> = vec![
        (
            "no group",
            ConsumerGroupHeartbeatRequest { group_id: "".into(), ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "no name",
            ConsumerGroupHeartbeatRequest { member_id: "".into(), ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "empty rack",
            ConsumerGroupHeartbeatRequest { rack_id: Some("".into()), ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "no time-out",
            ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "no list of what it owns",
            ConsumerGroupHeartbeatRequest { topic_partitions: None, ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "no subscription",
            ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "epoch -3",
            ConsumerGroupHeartbeatRequest { member_epoch: -3, ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "away without instance",
            ConsumerGroupHeartbeatRequest { member_epoch: -2, ..good.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "assignor",
            ConsumerGroupHeartbeatRequest { server_assignor: Some("x".into()), ..good.clone() },
            ErrorCode::UnsupportedAssignor,
        ),
        (
            "regex",
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".into()), ..good.clone() },
            ErrorCode::InvalidRegularExpression,
        ),
        (
            "no such group",
            ConsumerGroupHeartbeatRequest { member_epoch: 1, ..good },
            ErrorCode::GroupIdNotFound,
        ),
    ];
    for (what, request, code) in wrong {
        let answer = bench.beat(request, &topics);
        assert_eq!(answer.map_err(|refusal| refusal.code), Err(code), "{what}");
    }
    assert_eq!((bench.shard.group_count(), bench.log.len()), (0, 0), "nothing is left of them");
}

#[test]
fn topics_that_grow_or_match_a_regex_are_assigned() {
    let mut bench = Bench::new();
    let mut a = Client { topics: Vec::new(), regex: Some("t.*|x".into()), ..Client::new("a") };
    assert_eq!(bench.say(&mut a, &topics(&[("t1", 2), ("other", 5), ("xy", 1)])), Ok(()));
    assert_eq!(a.owned.len(), 2, "the whole name must match");
    let more = topics(&[("t1", 3), ("t2", 1), ("other", 5)]);
    bench.pass(5_000);
    assert_eq!(bench.say(&mut a, &more), Ok(()));
    assert_eq!(a.owned.len(), 3, "a topic that is known grew; new ones are looked for every ten seconds");
    bench.pass(10_000);
    let more = topics(&[("t1", 3), ("t2", 1), ("other", 5), ("unrelated", 1)]);
    assert_eq!(bench.say(&mut a, &more), Ok(()));
    assert_eq!(a.owned.len(), 4);
    let fewer = topics(&[("t2", 1)]);
    bench.pass(15_000);
    for _ in 0..2 {
        assert_eq!(bench.say(&mut a, &fewer), Ok(()));
        bench.pass(1_000);
    }
    assert_eq!(a.owned.len(), 1);
    assert_eq!(bench.consumer_state(), ConsumerState::Stable);
}

#[test]
fn members_commit_in_their_epoch() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let mut a = Client::new("a");
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    let commit = |bench: &mut Bench, member: &str, epoch| {
        let commit = commit(member, epoch, "t", 5, bench.moment());
        bench.commit(commit).map(|codes| codes[0])
    };
    assert_eq!(commit(&mut bench, "a", 2), Ok(ErrorCode::None));
    assert_eq!(commit(&mut bench, "a", 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut bench, "b", 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut bench, "", -1), Err(ErrorCode::UnknownMemberId));
    let fetch = |member: &str, epoch| Fetch {
        group: GROUP.into(),
        member: Some((member.into(), epoch)),
        partitions: None,
        require_stable: false,
    };
    assert_eq!(bench.fetch(fetch("a", 2)).len(), 1);
    let ticket = bench.ask(Operation::Fetch(fetch("a", 7)));
    assert_eq!(bench.answer(ticket), Some(Answer::Fetch(Err(ErrorCode::StaleMemberEpoch))));
}

#[test]
fn an_empty_group_of_one_kind_gives_way_to_the_other() {
    let (mut bench, topics) = (Bench::new(), topics(&[("t", 4)]));
    let mut a = Client::new("a");
    assert_eq!(bench.say(&mut a, &topics), Ok(()));
    let committed = commit("a", 2, "t", 5, bench.moment());
    assert!(bench.commit(committed).is_ok());
    assert_eq!(bench.delete_group(), ErrorCode::NonEmptyGroup);
    drop(bench.beat(ConsumerGroupHeartbeatRequest { member_epoch: -1, ..a.request() }, &topics));
    let (_, join) = bench.join_as_new(consumer("old"));
    bench.pass(2 * DELAY_MS);
    assert_eq!(bench.joined(join).generation_id, 1);
    assert_eq!(bench.committed("t"), Some(5), "offsets are nobody's kind");
    assert!(bench.replayed().group(GROUP).is_some());
    let mut b = Client::new("b");
    bench.pass(SESSION_MS * 2);
    bench.pass(REBALANCE_MS);
    assert_eq!(bench.state(), State::Empty);
    assert_eq!(bench.say(&mut b, &topics), Ok(()));
    drop(bench.beat(ConsumerGroupHeartbeatRequest { member_epoch: -1, ..b.request() }, &topics));
    assert_eq!(bench.delete_group(), ErrorCode::None);
    assert_eq!(bench.replayed().group_count(), 0, "all of it was written");
}

#[derive(Clone, Debug)]
enum Step {
    Beat(usize),
    /// A heartbeat whose answer gets lost.
    Lost(usize),
    Leave(usize),
    Subscribe(usize, bool),
    Grow,
    Pass(i64),
    FailOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..4usize).prop_map(Step::Beat),
        2 => (0..4usize).prop_map(Step::Lost),
        1 => (0..4usize).prop_map(Step::Leave),
        1 => (0..4usize, any::<bool>()).prop_map(|(client, both)| Step::Subscribe(client, both)),
        1 => Just(Step::Grow),
        4 => prop_oneof![Just(500), Just(5_000), Just(46_000)].prop_map(Step::Pass),
        1 => Just(Step::FailOver),
    ]
}

/// The group as its log tells it, in full.
fn written(shard: &GroupShard) -> String {
    shard.consumer_group(GROUP).map(|group| format!("{group:?}")).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_has_two_owners_and_every_group_converges(steps in prop::collection::vec(step(), 1..100)) {
        let mut bench = Bench::new();
        let mut sizes = [4, 3];
        let mut world = topics(&[("t", 4), ("u", 3)]);
        let mut clients: Vec<Client> = ["a", "b", "c", "d"].into_iter().map(Client::new).collect();
        let mut last_heard_ms = [0i64; 4];
        for step in &steps {
            match *step {
                Step::Beat(c) => {
                    let _ = bench.say(&mut clients[c], &world);
                    last_heard_ms[c] = bench.now_ms;
                }
                Step::Lost(c) => {
                    drop(bench.beat(clients[c].request(), &world));
                    last_heard_ms[c] = bench.now_ms;
                }
                Step::Leave(c) => {
                    drop(bench.beat(ConsumerGroupHeartbeatRequest { member_epoch: -1, ..clients[c].request() }, &world));
                    (clients[c].epoch, clients[c].owned) = (0, Held::new());
                }
                Step::Subscribe(c, both) => {
                    clients[c].topics = if both { vec!["t".into(), "u".into()] } else { vec!["u".into()] };
                }
                Step::Grow => {
                    sizes[0] += 1;
                    world = topics(&[("t", sizes[0]), ("u", sizes[1])]);
                }
                Step::Pass(ms) => bench.pass(ms),
                Step::FailOver => {
                    bench.fail_over();
                    last_heard_ms = [bench.now_ms; 4];
                }
            }
            // Who was silent for too long stops by itself, as real clients do.
            for (client, heard) in clients.iter_mut().zip(&last_heard_ms) {
                if bench.now_ms - heard >= 45_000 {
                    (client.epoch, client.owned) = (0, Held::new());
                }
            }
            counts(&clients.iter().collect::<Vec<_>>());
            prop_assert_eq!(written(&bench.replayed()), written(&bench.shard));
        }
        // From now on everybody speaks in time.
        for _ in 0..12 {
            bench.pass(5_000);
            for client in &mut clients {
                let _ = bench.say(client, &world);
            }
        }
        prop_assert_eq!(bench.consumer_state(), ConsumerState::Stable);
        let all: usize = counts(&clients.iter().collect::<Vec<_>>()).iter().sum();
        let is_read = |topic: &str| clients.iter().any(|client| client.topics.iter().any(|t| t == topic));
        let expected = [("t", sizes[0]), ("u", sizes[1])].into_iter().filter(|(t, _)| is_read(t)).map(|(_, n)| n as usize);
        prop_assert_eq!(all, expected.sum::<usize>(), "every partition is owned");
    }
}
