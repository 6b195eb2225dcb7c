//! A shard on a bench: time stands still unless a test lets it pass, and everything written can be replayed.

mod classic;
mod consumer;
mod crowds;
mod migration;
mod offsets;
mod reload;
mod static_members;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use metadata::{Image, Topics};
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitValue, SyncGroupRequest, SyncGroupResponse,
};
use protocol::record_frame::encode_versioned;
use protocol::{ErrorCode, Str, Uuid};

use super::GroupShard;
use crate::classic::State;
use crate::config::{ConsumerRanges, GroupConfig, MigrationPolicy};
use crate::consumer::ConsumerSettings;
use crate::consumer::assignor::Assignor;
use crate::machine::{Effects, Entry, Machine, Moment, Ticket};
use crate::operation::{Answer, Commit, Fetch, Fetched, Join, Operation};

const GROUP: &str = "g";
/// What all joins say unless a test says otherwise.
const SESSION_MS: i64 = 10_000;
const REBALANCE_MS: i64 = 60_000;
/// `group.initial.rebalance.delay.ms`.
const DELAY_MS: i64 = 3_000;

/// Of consumer groups: Kafka's defaults.
const SETTINGS: ConsumerSettings = ConsumerSettings {
    session_timeout_ms: 45_000,
    heartbeat_interval_ms: 5_000,
    assignment_interval_ms: 1_000,
};

fn config() -> GroupConfig {
    GroupConfig {
        node_id: 1,
        session_timeout_ms_min: 6_000,
        session_timeout_ms_max: 1_800_000,
        size_max: usize::MAX,
        initial_rebalance_delay_ms: DELAY_MS,
        metadata_bytes_max: 4096,
        retention_ms: 7 * 24 * 3600 * 1000,
        retention_check_interval_ms: 600_000,
        batch_bytes_max: 1_000_000,
        consumer: SETTINGS,
        consumer_ranges: ConsumerRanges {
            session_timeout_ms: 45_000..=60_000,
            heartbeat_interval_ms: 5_000..=15_000,
            assignment_interval_ms: 0..=15_000,
        },
        consumer_size_max: usize::MAX,
        consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
        migration_policy: MigrationPolicy::Bidirectional,
    }
}

/// See the module.
struct Bench {
    shard: GroupShard,
    image: Arc<Image>,
    log: Vec<Entry>,
    answers: BTreeMap<Ticket, Answer>,
    now_ms: i64,
    tickets: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(config())
    }

    fn with(config: GroupConfig) -> Bench {
        let mut bench = Bench {
            shard: GroupShard::new(config),
            image: Arc::default(),
            log: Vec::new(),
            answers: BTreeMap::new(),
            now_ms: 0,
            tickets: 0,
        };
        bench.on_shard(|shard, now, effects| shard.loaded(now, effects));
        bench
    }

    fn moment(&self) -> Moment {
        // Two clocks that differ: whoever mixes them up is found out.
        Moment { wall_ms: 1_700_000_000_000 + self.now_ms, timer_ms: self.now_ms }
    }

    fn on_shard(&mut self, act: impl FnOnce(&mut GroupShard, Moment, &mut Effects<Answer>)) {
        let mut effects = Effects::default();
        let now = self.moment();
        self.shard.see(Arc::clone(&self.image));
        act(&mut self.shard, now, &mut effects);
        self.log.append(&mut effects.entries);
        for (ticket, answer) in effects.answers {
            assert!(ticket.0 <= self.tickets, "nobody holds this ticket");
            assert!(self.answers.insert(ticket, answer).is_none(), "answered twice");
        }
    }

    /// From now on these are the topics of the cluster.
    fn show(&mut self, topics: &Arc<Topics>) {
        let mut image = Image::default();
        image.topics = Arc::clone(topics);
        self.image = Arc::new(image);
    }

    fn ask(&mut self, operation: Operation) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.on_shard(|shard, now, effects| shard.perform(now, ticket, operation, effects));
        ticket
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, ms: i64) {
        let end_ms = self.now_ms + ms;
        while let Some(due_ms) = self.shard.next_deadline_ms().filter(|due| *due <= end_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.on_shard(|shard, now, effects| shard.expire(now, effects));
        }
        self.now_ms = end_ms;
    }

    /// A shard that was made of the log alone.
    fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.shard.config.clone());
        self.log.iter().for_each(|entry| shard.replay(entry, None));
        assert!(shard.take_unreadable().is_empty(), "what a shard writes can be read");
        shard
    }

    /// The coordinator moves: whoever waits for an answer does not get it from here.
    fn fail_over(&mut self) {
        self.shard = self.replayed();
        self.on_shard(|shard, now, effects| shard.loaded(now, effects));
    }

    fn state(&self) -> State {
        self.shard.group(GROUP).expect("the group is there").state()
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.answer(ticket) {
            Some(Answer::Join(response)) => response,
            other => panic!("a join got {other:?}"),
        }
    }

    fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.answer(ticket) {
            Some(Answer::Sync(response)) => response,
            other => panic!("a sync got {other:?}"),
        }
    }

    fn join(&mut self, join: Join) -> Ticket {
        self.ask(Operation::Join(join))
    }

    /// Joins without a name and comes back with the one that was given.
    fn join_as_new(&mut self, join: Join) -> (Str, Ticket) {
        let ticket = self.join(join.clone());
        let told = self.joined(ticket);
        assert_eq!(told.error_code, ErrorCode::MemberIdRequired.code());
        let ticket = self.join(Join { request: named(join.request, &told.member_id), ..join });
        (told.member_id, ticket)
    }

    fn sync(&mut self, member: &Str, generation: i32, assignments: &[(&Str, &'static str)]) -> Ticket {
        let one = |(member, bytes): &(&Str, &'static str)| SyncGroupRequestAssignment {
            member_id: (*member).clone(),
            assignment: Bytes::from_static(bytes.as_bytes()),
            ..Default::default()
        };
        self.ask(Operation::Sync(SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: member.clone(),
            assignments: assignments.iter().map(one).collect(),
            ..Default::default()
        }))
    }

    fn heartbeat(&mut self, member: &Str, generation: i32) -> ErrorCode {
        let ticket = self.ask(Operation::Heartbeat(HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: member.clone(),
            ..Default::default()
        }));
        match self.answer(ticket) {
            Some(Answer::Heartbeat(code)) => code,
            other => panic!("a heartbeat got {other:?}"),
        }
    }

    /// One code for each that was asked to leave.
    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let one = |(member, instance): &(&str, Option<&str>)| MemberIdentity {
            member_id: Str::from(*member),
            group_instance_id: instance.map(Str::from),
            ..Default::default()
        };
        let members = members.iter().map(one).collect();
        let request = LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() };
        let ticket = self.ask(Operation::Leave(request));
        match self.answer(ticket) {
            Some(Answer::Leave(response)) => {
                response.members.iter().map(|m| ErrorCode::from_code(m.error_code)).collect()
            }
            other => panic!("a leave got {other:?}"),
        }
    }

    fn commit(&mut self, commit: Commit) -> Result<Vec<ErrorCode>, ErrorCode> {
        let ticket = self.ask(Operation::Commit(commit));
        match self.answer(ticket) {
            Some(Answer::Commit(result)) => result,
            other => panic!("a commit got {other:?}"),
        }
    }

    /// What is committed for partition 0 of a topic.
    fn committed(&mut self, topic: &str) -> Option<i64> {
        let partitions = Some(vec![(Str::from(topic), 0)]);
        let fetch = Fetch { group: GROUP.into(), member: None, partitions, require_stable: false };
        match self.fetch(fetch).pop().expect("one was asked for").committed {
            Ok(committed) => committed.map(|committed| committed.offset),
            Err(code) => panic!("{code:?}"),
        }
    }

    fn fetch(&mut self, fetch: Fetch) -> Vec<Fetched> {
        let ticket = self.ask(Operation::Fetch(fetch));
        match self.answer(ticket) {
            Some(Answer::Fetch(Ok(fetched))) => fetched,
            other => panic!("a fetch got {other:?}"),
        }
    }

    fn delete_group(&mut self) -> ErrorCode {
        let ticket = self.ask(Operation::DeleteGroup(GROUP.into()));
        match self.answer(ticket) {
            Some(Answer::DeleteGroup(code)) => code,
            other => panic!("a deletion got {other:?}"),
        }
    }

    /// Two members in generation 1, stable, the first of them leads.
    fn two_members(&mut self) -> (Str, Str) {
        let (a, join_a) = self.join_as_new(consumer("a"));
        let (b, join_b) = self.join_as_new(consumer("b"));
        self.pass(2 * DELAY_MS);
        let (told_a, told_b) = (self.joined(join_a), self.joined(join_b));
        assert_eq!((told_a.generation_id, told_b.generation_id), (1, 1));
        assert_eq!((&told_a.leader, &told_b.leader), (&a, &a));
        let sync_b = self.sync(&b, 1, &[]);
        assert_eq!(self.answer(sync_b), None, "it waits for the leader");
        let sync_a = self.sync(&a, 1, &[(&a, "of a"), (&b, "of b")]);
        assert_eq!(self.synced(sync_a).assignment, "of a");
        assert_eq!(self.synced(sync_b).assignment, "of b");
        assert_eq!(self.state(), State::Stable);
        (a, b)
    }
}

/// A consumer of the topic `t` that joins without a name. `client` is its client id.
fn consumer(client: &str) -> Join {
    consumer_of(client, &["t"])
}

fn consumer_of(client: &str, topics: &[&str]) -> Join {
    let topics = topics.iter().map(|topic| Str::from(*topic)).collect();
    let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
    let metadata = encode_versioned(&subscription, 1).expect("it fits");
    joining(client, &[("range", metadata)])
}

fn joining(client: &str, protocols: &[(&str, Bytes)]) -> Join {
    let one = |(name, metadata): &(&str, Bytes)| JoinGroupRequestProtocol {
        name: Str::from(*name),
        metadata: metadata.clone(),
        ..Default::default()
    };
    let request = JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: SESSION_MS as i32,
        rebalance_timeout_ms: REBALANCE_MS as i32,
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(one).collect(),
        ..Default::default()
    };
    let unique = Uuid(client.bytes().fold(1, |n, byte| n * 256 + u128::from(byte)));
    Join { request, version: 9, client_id: client.into(), client_host: "/127.0.0.1".into(), unique }
}

fn named(request: JoinGroupRequest, member: &Str) -> JoinGroupRequest {
    JoinGroupRequest { member_id: member.clone(), ..request }
}

/// The same join, with a name.
fn again(join: Join, member: &Str) -> Join {
    Join { request: named(join.request, member), ..join }
}

/// A commit of `offset` for partition 0 of a topic, by a member of a generation or, with "" and -1, by nobody.
fn commit(member: &str, generation: i32, topic: &str, offset: i64, now: Moment) -> Commit {
    let value = OffsetCommitValue {
        offset,
        leader_epoch: -1,
        commit_timestamp: now.wall_ms,
        expire_timestamp: -1,
        ..Default::default()
    };
    Commit {
        version: 10,
        group: GROUP.into(),
        member_id: member.into(),
        instance_id: None,
        generation,
        offsets: vec![((Str::from(topic), 0), value)],
    }
}
