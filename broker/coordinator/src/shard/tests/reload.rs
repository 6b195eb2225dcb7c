//! Whatever clients do, and whenever the coordinator moves: the log tells the same groups, and every group settles.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Commit(usize, i64),
    CommitWithoutMember(i64),
    /// The client's process ends without a word and comes back.
    Restart(usize),
    DeleteOffsets,
    DeleteGroup,
    TopicDeleted,
    Pass(i64),
    FailOver,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => client.clone().prop_map(Step::Join),
        6 => client.clone().prop_map(Step::Sync),
        2 => client.clone().prop_map(Step::Heartbeat),
        1 => client.clone().prop_map(Step::Leave),
        2 => (client.clone(), 0..100i64).prop_map(|(c, offset)| Step::Commit(c, offset)),
        1 => (0..100i64).prop_map(Step::CommitWithoutMember),
        1 => client.prop_map(Step::Restart),
        1 => Just(Step::DeleteOffsets),
        1 => Just(Step::DeleteGroup),
        1 => Just(Step::TopicDeleted),
        4 => prop_oneof![Just(1_000), Just(DELAY_MS * 2), Just(SESSION_MS), Just(REBALANCE_MS)].prop_map(Step::Pass),
        1 => Just(Step::FailOver),
    ]
}

/// A client as it sees itself. Clients 2 and 3 are static members.
#[derive(Clone, Debug, Default)]
struct Client {
    member: Str,
    generation: i32,
    others: Vec<Str>,
    is_leader: bool,
    waits_for: Option<Ticket>,
    processes: u128,
}

struct Run {
    bench: Bench,
    clients: Vec<Client>,
    /// How often the coordinator has moved or the group was gone: its generations are given again after that.
    life: usize,
    leaders: BTreeMap<(usize, i32), Str>,
    /// What each member was told to own.
    owners: BTreeMap<(usize, i32), BTreeMap<Bytes, Str>>,
    asked: BTreeSet<Ticket>,
}

impl Run {
    fn new() -> Run {
        Run {
            bench: Bench::new(),
            clients: vec![Client::default(); CLIENTS],
            life: 0,
            leaders: BTreeMap::new(),
            owners: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    fn joining(&self, client: usize) -> Join {
        let name = ["a", "b", "c", "d"][client];
        let mut join = again(consumer(name), &self.clients[client].member);
        join.unique = Uuid(1000 * (client as u128 + 1) + self.clients[client].processes);
        if client >= 2 {
            join.request.group_instance_id = Some(name.into());
        }
        join
    }

    fn step(&mut self, step: &Step) {
        let now = self.bench.moment();
        match *step {
            Step::Join(c) => {
                let ticket = self.bench.join(self.joining(c));
                self.wait(c, ticket);
            }
            Step::Sync(c) => {
                let client = self.clients[c].clone();
                let told: Vec<(&Str, &'static str)> = match client.is_leader {
                    true => client.others.iter().zip(["p0", "p1", "p2", "p3"]).collect(),
                    false => Vec::new(),
                };
                let ticket = self.bench.sync(&client.member, client.generation, &told);
                self.wait(c, ticket);
            }
            Step::Heartbeat(c) => {
                let (member, generation) = (self.clients[c].member.clone(), self.clients[c].generation);
                self.bench.heartbeat(&member, generation);
            }
            Step::Leave(c) => {
                let member = self.clients[c].member.clone();
                self.bench.leave(&[(&member, None)]);
                self.clients[c].member = Str::default();
            }
            Step::Commit(c, offset) => {
                let (member, generation) = (self.clients[c].member.clone(), self.clients[c].generation);
                drop(self.bench.commit(commit(&member, generation, "t", offset, now)));
            }
            Step::CommitWithoutMember(offset) => drop(self.bench.commit(commit("", -1, "t", offset, now))),
            Step::Restart(c) => {
                let processes = self.clients[c].processes + 1;
                self.clients[c] = Client { processes, ..Client::default() };
            }
            Step::DeleteOffsets => {
                let partitions = vec![("t".into(), 0)];
                self.bench.ask(Operation::DeleteOffsets { group: GROUP.into(), partitions });
            }
            Step::DeleteGroup => drop(self.bench.delete_group()),
            Step::TopicDeleted => drop(self.bench.ask(Operation::TopicsDeleted(vec!["t".into()]))),
            Step::Pass(ms) => self.bench.pass(ms),
            Step::FailOver => {
                self.bench.fail_over();
                self.life += 1;
                self.asked.clear();
                self.clients.iter_mut().for_each(|client| client.waits_for = None);
            }
        }
        self.listen();
        self.compare();
        self.life += usize::from(self.bench.shard.group(GROUP).is_none());
    }

    fn wait(&mut self, client: usize, ticket: Ticket) {
        self.asked.insert(ticket);
        self.clients[client].waits_for = Some(ticket);
    }

    /// Hands out the answers that came, and checks what they claim.
    fn listen(&mut self) {
        for (ticket, answer) in std::mem::take(&mut self.bench.answers) {
            self.asked.remove(&ticket);
            let client = self.clients.iter_mut().find(|client| client.waits_for == Some(ticket));
            match answer {
                Answer::Join(told) if told.error_code == 0 => {
                    let generation = (self.life, told.generation_id);
                    let leader = self.leaders.entry(generation).or_insert_with(|| told.leader.clone());
                    let is_leader = told.leader == told.member_id && !told.members.is_empty();
                    assert!(
                        !is_leader || *leader == told.leader || told.skip_assignment,
                        "two lead {generation:?}"
                    );
                    if let Some(client) = client {
                        client.member = told.member_id;
                        client.generation = told.generation_id;
                        client.is_leader = is_leader && !told.skip_assignment;
                        client.others = told.members.into_iter().map(|m| m.member_id).collect();
                    }
                }
                Answer::Join(told) if told.error_code == ErrorCode::MemberIdRequired.code() => {
                    if let Some(client) = client {
                        client.member = told.member_id;
                    }
                }
                Answer::Sync(told) if told.error_code == 0 && !told.assignment.is_empty() => {
                    let Some(client) = client else { continue };
                    let generation = (self.life, client.generation);
                    let owners = self.owners.entry(generation).or_default();
                    let owner = owners.entry(told.assignment).or_insert_with(|| client.member.clone());
                    // A static member may own it under a newer name.
                    let is_same =
                        *owner == client.member || owner.split('-').next() == client.member.split('-').next();
                    assert!(is_same, "{owner} and {} own the same in {generation:?}", client.member);
                }
                _ => {}
            }
        }
    }

    /// The log says the same as the shard, as far as it must survive.
    fn compare(&self) {
        let replayed = self.bench.replayed();
        assert_eq!(replayed.offsets(), self.bench.shard.offsets());
        let Some(live) = self.bench.shard.group(GROUP) else {
            return assert!(replayed.group(GROUP).is_none(), "a group came back");
        };
        let is_settled = matches!(live.state(), State::Stable | State::Empty);
        let had_members = live.protocol_type.is_some();
        if is_settled && had_members && live.generation > 0 {
            let written = replayed.group(GROUP).expect("a settled group is written");
            assert_eq!(written.to_record(), live.to_record());
            assert_eq!(written.state(), live.state());
        }
    }

    /// Nobody says anything any more.
    fn settle(&mut self) {
        self.bench.pass(10 * REBALANCE_MS);
        self.listen();
        assert!(self.asked.is_empty(), "{:?} were never answered", self.asked);
        let state = self.bench.shard.group(GROUP).map(crate::ClassicGroup::state);
        assert!(matches!(state, None | Some(State::Empty)), "it is left in {state:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_tells_the_same_groups_and_every_group_settles(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        run.settle();
        run.compare();
    }
}

#[test]
fn members_that_were_loaded_are_heard_of_anew() {
    let mut bench = Bench::new();
    let (a, b) = bench.two_members();
    bench.pass(SESSION_MS - 1);
    bench.fail_over();
    bench.pass(SESSION_MS - 1);
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::None, "the move did not count as silence");
    let sync = bench.sync(&a, 1, &[]);
    assert_eq!(bench.synced(sync).assignment, "of a");
    bench.pass(1);
    assert_eq!(bench.heartbeat(&b, 1), ErrorCode::UnknownMemberId, "and after it silence counts again");
}

#[test]
fn a_group_that_is_too_large_for_a_new_limit_begins_a_round_when_it_is_loaded() {
    let mut bench = Bench::new();
    let (a, _) = bench.two_members();
    bench.shard.config.size_max = 1;
    bench.fail_over();
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn records_that_cannot_be_read_cost_themselves_alone() {
    let mut bench = Bench::new();
    bench.two_members();
    let mut shard = GroupShard::new(config());
    let rubbish = Entry { key: Bytes::from_static(&[0, 2, 0, 9, b'g']), value: None };
    shard.replay(&rubbish, None);
    bench.log.iter().for_each(|entry| shard.replay(entry, None));
    assert_eq!(shard.take_unreadable().len(), 1);
    assert_eq!(shard.group(GROUP).expect("the rest was read").state(), State::Stable);
}
