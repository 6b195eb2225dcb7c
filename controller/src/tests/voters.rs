//! Voters that come and go in the simulated world (KIP-853).

use std::time::Duration;

use host::sim::{CrashKind, World};
use protocol::messages::add_raft_voter_request::Listener;
use protocol::messages::update_raft_voter_request as update;
use protocol::messages::{
    AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest,
    describe_quorum_request,
};
use protocol::{ErrorCode, Request, Str, Uuid};
use wire::client::{Connection, ConnectionOptions};

use super::cluster::Cluster;
use super::{LIMIT, seeds};
use crate::raft::types::RaftId;

/// Sends a request to a controller's listener.
fn call<R: Request>(world: &World, cluster: &Cluster, n: usize, request: R) -> R::Response {
    let (host, controller) = (cluster.node(n).host(), cluster.controller(n).unwrap());
    let inner = host.clone();
    let task = host.spawn("call", async move {
        let stream = controller.connect();
        let connection = Connection::start(&inner, stream, "controller", ConnectionOptions::default());
        connection.call(*R::VERSIONS.end(), &request).await.unwrap()
    });
    world.block_on(LIMIT, task).unwrap().unwrap()
}

fn add_request(cluster: &Cluster, n: usize) -> AddRaftVoterRequest {
    let id = cluster.id(n);
    let (host, name) = (Str::from(format!("c{n}")), Str::from_static("CONTROLLER"));
    AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: 10_000,
        voter_id: id.node,
        voter_directory_id: id.directory,
        listeners: vec![Listener { name, host, port: 9093, ..Default::default() }],
        ..Default::default()
    }
}

fn remove_request(id: RaftId) -> RemoveRaftVoterRequest {
    RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: id.node,
        voter_directory_id: id.directory,
        ..Default::default()
    }
}

/// How long nobody is active from now on.
fn without_active(world: &World, cluster: &Cluster, before: i32) -> Duration {
    let from = world.now();
    loop {
        let newer = |n: &usize| {
            let active = cluster.controller(*n).map(|c| *c.active().borrow());
            active.is_some_and(|active| active.here && active.epoch > before)
        };
        if (0..cluster.len()).any(|n| newer(&n)) {
            return world.now() - from;
        }
        assert!(world.now() < from + LIMIT, "nobody becomes active");
        world.run_for(Duration::from_millis(1));
    }
}

fn epoch_of(cluster: &Cluster, n: usize) -> i32 {
    cluster.controller(n).unwrap().active().borrow().epoch
}

#[test]
fn sim_a_controller_is_added_and_removed_while_work_goes_on() {
    for seed in seeds(10) {
        let world = World::new(seed);
        let cluster = Cluster::dynamic(&world, 4, 3, false);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        // The fourth observes: it has everything, and no vote.
        cluster.check_all_acknowledged(&world);
        let (three, new) = (cluster.voters(0), cluster.id(3));
        assert_eq!(three.len(), 3);
        assert!(!three.contains(&new), "seed {seed}");
        assert_eq!(cluster.settle(&world, |n| cluster.ask_to_add(n, 3)), Ok(()), "seed {seed}");
        let four: Vec<RaftId> = three.iter().copied().chain([new]).collect();
        (0..4).for_each(|n| cluster.wait_voters(&world, n, &four));
        let again = cluster.settle(&world, |n| cluster.ask_to_add(n, 3));
        assert_eq!(again, Err(ErrorCode::DuplicateVoter), "seed {seed}");
        cluster.create_topics(&world, 2);
        // It counts: three of four are enough, whoever of the first three is gone.
        let gone = (seed % 3) as usize;
        cluster.crash(gone, CrashKind::Power);
        cluster.create_topics(&world, 2);
        cluster.start(&world, gone);
        assert_eq!(cluster.settle(&world, |n| cluster.ask_to_remove(n, new)), Ok(()), "seed {seed}");
        // It goes on as an observer, and knows that it is one.
        (0..4).for_each(|n| cluster.wait_voters(&world, n, &three));
        let again = cluster.settle(&world, |n| cluster.ask_to_remove(n, new));
        assert_eq!(again, Err(ErrorCode::VoterNotFound), "seed {seed}");
        cluster.create_topics(&world, 2);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_a_voter_that_lost_its_disk_is_replaced_by_itself() {
    for seed in seeds(10) {
        let world = World::new(seed);
        let cluster = Cluster::dynamic(&world, 3, 3, false);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        let gone = (seed % 3) as usize;
        let former = cluster.id(gone);
        cluster.crash(gone, CrashKind::Process);
        cluster.wipe(&world, gone);
        cluster.start(&world, gone);
        cluster.check_all_acknowledged(&world);
        // The node votes already, with the directory that is gone.
        let early = cluster.settle(&world, |n| cluster.ask_to_add(n, gone));
        assert_eq!(early, Err(ErrorCode::DuplicateVoter), "seed {seed}");
        assert_eq!(cluster.settle(&world, |n| cluster.ask_to_remove(n, former)), Ok(()), "seed {seed}");
        assert_eq!(cluster.settle(&world, |n| cluster.ask_to_add(n, gone)), Ok(()), "seed {seed}");
        let other = (gone + 1) % 3;
        let active = cluster.wait_active(&world, LIMIT);
        let voters = cluster.voters(active);
        assert!(voters.len() == 3 && voters.contains(&cluster.id(gone)), "seed {seed}: {voters:?}");
        assert!(!voters.contains(&former), "seed {seed}: {voters:?}");
        // It is needed now.
        cluster.crash(other, CrashKind::Power);
        cluster.create_topics(&world, 2);
        cluster.start(&world, other);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_the_active_controller_removes_itself_and_another_one_leads_at_once() {
    let mut longest = Duration::ZERO;
    for seed in seeds(20) {
        let world = World::new(seed);
        let cluster = Cluster::dynamic(&world, 3, 3, false);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        let first = cluster.wait_active(&world, LIMIT);
        let (old, epoch) = (cluster.id(first), epoch_of(&cluster, first));
        let answer = cluster.ask_to_remove(first, old).unwrap();
        assert_eq!(world.block_on(LIMIT, answer).unwrap().unwrap(), Ok(()), "seed {seed}");
        longest = longest.max(without_active(&world, &cluster, epoch));
        let second = cluster.wait_active(&world, LIMIT);
        assert_ne!(first, second, "seed {seed}");
        assert!(!cluster.voters(second).contains(&old), "seed {seed}");
        cluster.create_topics(&world, 2);
        cluster.check_all_acknowledged(&world);
        assert_ne!(cluster.wait_active(&world, LIMIT), first, "seed {seed}: it has no vote");
    }
    assert!(longest < Duration::from_millis(300), "without an active controller for {longest:?}");
}

#[test]
fn sim_a_controlled_stop_of_the_active_controller_costs_no_election_timeout() {
    let (mut longest, mut total) = (Duration::ZERO, Duration::ZERO);
    let seeds = seeds(30);
    for seed in &seeds {
        let world = World::new(*seed);
        let cluster = Cluster::new(&world, 3);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        let active = cluster.wait_active(&world, LIMIT);
        let epoch = epoch_of(&cluster, active);
        let controller = cluster.controller(active).unwrap();
        let stopping = cluster.node(active).host().spawn("stop", async move { controller.stop().await });
        let took = without_active(&world, &cluster, epoch);
        (longest, total) = (longest.max(took), total + took);
        world.block_on(LIMIT, stopping).unwrap().unwrap();
        cluster.crash(active, CrashKind::Process);
        cluster.create_topics(&world, 2);
        cluster.start(&world, active);
        cluster.check_all_acknowledged(&world);
    }
    let mean = total / seeds.len() as u32;
    // Silence would be noticed after 750 ms at the earliest.
    let limits = (Duration::from_millis(300), Duration::from_millis(100));
    assert!(
        longest < limits.0 && mean < limits.1,
        "without an active controller for {longest:?}, on average {mean:?}"
    );
}

#[test]
fn sim_five_voters_lose_two_and_go_on_and_three_stop() {
    for seed in seeds(10) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 5);
        cluster.start_all(&world);
        cluster.create_topics(&world, 3);
        let first = cluster.wait_active(&world, LIMIT);
        cluster.crash(first, CrashKind::Power);
        cluster.create_topics(&world, 2);
        let second = cluster.wait_active(&world, LIMIT);
        cluster.crash(second, CrashKind::Power);
        cluster.create_topics(&world, 2);
        let third = cluster.wait_active(&world, LIMIT);
        let another = (0..5).find(|n| ![first, second, third].contains(n)).unwrap();
        cluster.crash(another, CrashKind::Power);
        assert!(!cluster.try_create_topic(&world, third), "seed {seed}: two of five decide nothing");
        for n in [another, second, first] {
            cluster.start(&world, n);
        }
        cluster.create_topics(&world, 1);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_a_static_quorum_changes_its_voters_once_its_level_is_raised() {
    for seed in seeds(5) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        cluster.start_all(&world);
        cluster.create_topics(&world, 2);
        let gone = (seed % 3) as usize;
        let former = cluster.id(gone);
        cluster.crash(gone, CrashKind::Process);
        cluster.wipe(&world, gone);
        cluster.start(&world, gone);
        let remove = || cluster.settle(&world, |n| cluster.ask_to_remove(n, former));
        assert_eq!(remove(), Err(ErrorCode::UnsupportedVersion), "seed {seed}");
        let raise = |n: usize| {
            let node = cluster.controller(n)?.node.clone();
            Some(cluster.node(n).host().spawn("raise", async move { node.raise_kraft_version(1).await }))
        };
        assert_eq!(cluster.settle(&world, raise), Ok(()), "seed {seed}");
        assert_eq!(remove(), Ok(()), "seed {seed}");
        assert_eq!(cluster.settle(&world, |n| cluster.ask_to_add(n, gone)), Ok(()), "seed {seed}");
        cluster.create_topics(&world, 2);
        // Also after everything was read again.
        (0..3).for_each(|n| cluster.crash(n, CrashKind::Power));
        cluster.start_all(&world);
        cluster.create_topics(&world, 1);
        cluster.check_all_acknowledged(&world);
        assert!(cluster.voters(gone).contains(&cluster.id(gone)), "seed {seed}");
    }
}

#[test]
fn sim_observers_that_are_told_to_join_by_themselves_do() {
    for seed in seeds(10) {
        let world = World::new(seed);
        let cluster = Cluster::dynamic(&world, 3, 1, true);
        cluster.start_all(&world);
        cluster.create_topics(&world, 2);
        let all: Vec<RaftId> = (0..3).map(|n| cluster.id(n)).collect();
        (0..3).for_each(|n| cluster.wait_voters(&world, n, &all));
        // Nobody has to take the former directory out by hand.
        let gone = cluster.wait_active(&world, LIMIT);
        cluster.crash(gone, CrashKind::Process);
        cluster.create_topics(&world, 1);
        cluster.wipe(&world, gone);
        cluster.start(&world, gone);
        cluster.wait_voters(&world, gone, &{
            let mut all = all.clone();
            all[gone] = cluster.id(gone);
            all
        });
        cluster.create_topics(&world, 1);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn sim_a_voter_that_moved_tells_where_it_listens_now() {
    for seed in seeds(5) {
        let world = World::new(seed);
        let cluster = Cluster::dynamic(&world, 3, 3, false);
        cluster.start_all(&world);
        cluster.create_topics(&world, 2);
        // Also the one that led.
        let moved = (cluster.wait_active(&world, LIMIT) + seed as usize) % 3;
        cluster.crash(moved, CrashKind::Process);
        cluster.move_to_port(moved, 9999);
        cluster.start(&world, moved);
        // Nobody reaches it where it was; it asks, is found by what it says, and is needed after that.
        let deadline = world.now() + LIMIT;
        let address = || {
            let metrics = cluster.controller(moved).unwrap().node.metrics();
            let node = metrics.membership_config.membership().get_node(&cluster.id(moved)).cloned();
            node.map(|node| node.address)
        };
        while address() != Some(format!("c{moved}:9999")) {
            assert!(world.now() < deadline, "seed {seed}: {:?}", address());
            world.run_for(Duration::from_millis(100));
        }
        let other = (0..3).find(|n| *n != moved && *n != cluster.wait_active(&world, LIMIT)).unwrap();
        cluster.crash(other, CrashKind::Power);
        cluster.create_topics(&world, 2);
        cluster.start(&world, other);
        cluster.check_all_acknowledged(&world);
    }
}

#[test]
fn requests_about_voters_are_refused_with_kafkas_codes() {
    let world = World::new(7);
    let cluster = Cluster::dynamic(&world, 5, 3, false);
    cluster.start_all(&world);
    cluster.create_topics(&world, 1);
    cluster.check_all_acknowledged(&world);
    let active = cluster.wait_active(&world, LIMIT);
    let other = (active + 1) % 3;
    let code = ErrorCode::from_code;
    let add = |n, request| code(call::<AddRaftVoterRequest>(&world, &cluster, n, request).error_code);
    let remove = |n, request| code(call::<RemoveRaftVoterRequest>(&world, &cluster, n, request).error_code);
    let new = || add_request(&cluster, 3);
    let foreign = Some(Str::from_static("another"));
    assert_eq!(
        add(active, AddRaftVoterRequest { cluster_id: foreign.clone(), ..new() }),
        ErrorCode::InconsistentClusterId
    );
    assert_eq!(add(other, new()), ErrorCode::NotLeaderOrFollower);
    assert_eq!(add(active, AddRaftVoterRequest { voter_id: -1, ..new() }), ErrorCode::InvalidRequest);
    assert_eq!(
        add(active, AddRaftVoterRequest { voter_directory_id: Uuid::ZERO, ..new() }),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        add(active, AddRaftVoterRequest { listeners: Vec::new(), ..new() }),
        ErrorCode::InvalidRequest
    );
    assert_eq!(add(active, add_request(&cluster, other)), ErrorCode::DuplicateVoter);
    // Nobody of that name is there, or it is somebody else.
    assert_eq!(
        add(active, AddRaftVoterRequest { voter_directory_id: Uuid(5), ..new() }),
        ErrorCode::RequestTimedOut
    );
    let own = cluster.id(active);
    let nobody = RaftId { node: 9, ..own };
    assert_eq!(
        remove(active, RemoveRaftVoterRequest { cluster_id: foreign, ..remove_request(own) }),
        ErrorCode::InconsistentClusterId
    );
    assert_eq!(remove(other, remove_request(own)), ErrorCode::NotLeaderOrFollower);
    assert_eq!(remove(active, remove_request(nobody)), ErrorCode::VoterNotFound);
    assert_eq!(
        remove(active, remove_request(RaftId { directory: Uuid::ZERO, ..own })),
        ErrorCode::InvalidRequest
    );
    // Two at once: one has to wait, and is told so.
    let both = [3, 4].map(|n| cluster.ask_to_add(active, n).unwrap());
    let both = both.map(|task| world.block_on(LIMIT, task).unwrap().unwrap());
    let refused: Vec<_> = both.iter().filter_map(|answer| answer.as_ref().err()).map(|e| e.code()).collect();
    assert_eq!(refused, [ErrorCode::RequestTimedOut], "{both:?}");
}

#[test]
fn a_voter_is_updated_and_the_quorum_is_described_with_its_observers() {
    let world = World::new(3);
    let cluster = Cluster::dynamic(&world, 4, 3, false);
    cluster.start_all(&world);
    cluster.create_topics(&world, 1);
    cluster.check_all_acknowledged(&world);
    let active = cluster.wait_active(&world, LIMIT);
    let (epoch, voter) = (epoch_of(&cluster, active), cluster.id((active + 1) % 3));
    let request = |epoch: i32, node: i32, levels: (i16, i16)| UpdateRaftVoterRequest {
        cluster_id: None,
        current_leader_epoch: epoch,
        voter_id: node,
        voter_directory_id: voter.directory,
        listeners: vec![update::Listener {
            name: Str::from_static("CONTROLLER"),
            host: Str::from(format!("c{}", voter.node)),
            port: 9093,
            ..Default::default()
        }],
        k_raft_version_feature: update::KRaftVersionFeature {
            min_supported_version: levels.0,
            max_supported_version: levels.1,
            ..Default::default()
        },
        ..Default::default()
    };
    let ask = |request| call::<UpdateRaftVoterRequest>(&world, &cluster, active, request);
    let code = |request| ErrorCode::from_code(ask(request).error_code);
    assert_eq!(code(request(epoch - 1, voter.node, (0, 1))), ErrorCode::FencedLeaderEpoch);
    assert_eq!(code(request(epoch + 1, voter.node, (0, 1))), ErrorCode::UnknownLeaderEpoch);
    assert_eq!(code(request(epoch, voter.node, (0, 0))), ErrorCode::InvalidRequest);
    assert_eq!(code(request(epoch, voter.node, (2, 1))), ErrorCode::InvalidRequest);
    assert_eq!(code(request(epoch, 9, (0, 1))), ErrorCode::VoterNotFound);
    let updated = ask(request(epoch, voter.node, (0, 1)));
    assert_eq!(ErrorCode::from_code(updated.error_code), ErrorCode::None);
    let leader = &updated.current_leader;
    assert_eq!((leader.leader_id, leader.leader_epoch, leader.port), (active as i32, epoch, 9093));

    let topic = describe_quorum_request::TopicData {
        topic_name: Str::from_static("__cluster_metadata"),
        partitions: vec![describe_quorum_request::PartitionData { partition_index: 0, ..Default::default() }],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let answer = call::<DescribeQuorumRequest>(&world, &cluster, active, request);
    let partition = &answer.topics[0].partitions[0];
    let directories: Vec<Uuid> = partition.current_voters.iter().map(|v| v.replica_directory_id).collect();
    assert_eq!(directories, (0..3).map(|n| cluster.id(n).directory).collect::<Vec<_>>());
    let observers: Vec<(i32, Uuid, i64)> = partition
        .observers
        .iter()
        .map(|o| (o.replica_id, o.replica_directory_id, o.log_end_offset))
        .collect();
    assert_eq!(observers, [(3, cluster.id(3).directory, partition.high_watermark)]);
    assert!(partition.observers[0].last_caught_up_timestamp > 0);
    // The observer says where it listens too: so it can be added by its id.
    assert_eq!(answer.nodes.iter().map(|n| n.node_id).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn sim_a_lone_controller_that_moved_says_so_in_its_log() {
    let world = World::new(5);
    let cluster = Cluster::dynamic(&world, 1, 1, false);
    cluster.start_all(&world);
    cluster.create_topics(&world, 1);
    cluster.crash(0, CrashKind::Process);
    cluster.move_to_port(0, 9999);
    cluster.start(&world, 0);
    cluster.create_topics(&world, 1);
    world.run_for(Duration::from_secs(2));
    let metrics = cluster.controller(0).unwrap().node.metrics();
    let node = metrics.membership_config.membership().get_node(&cluster.id(0)).cloned();
    assert_eq!(node.map(|node| node.address).as_deref(), Some("c0:9999"));
    cluster.check_all_acknowledged(&world);
}

#[test]
fn sim_controllers_register_once_in_each_life() {
    for seed in seeds(5) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        cluster.start_all(&world);
        cluster.create_topics(&world, 1);
        let seen = || {
            let active = cluster.wait_active(&world, LIMIT);
            world.run_for(Duration::from_secs(1));
            let image = cluster.controller(active).unwrap().committed().borrow().image.clone();
            let lives: Vec<(i32, Uuid)> =
                image.cluster.controllers().map(|c| (c.id, c.incarnation_id)).collect();
            (lives, image.end_offset)
        };
        let (before, end_offset) = seen();
        assert_eq!(before.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2], "seed {seed}");
        world.run_for(Duration::from_secs(5));
        assert_eq!(seen(), (before.clone(), end_offset), "seed {seed}: nothing more is written");
        let again = (seed % 3) as usize;
        cluster.crash(again, CrashKind::Process);
        cluster.start(&world, again);
        let (after, _) = seen();
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).map(|(a, _)| a.0 as usize);
        assert_eq!(changed.collect::<Vec<_>>(), [again], "seed {seed}: {before:?} {after:?}");
    }
}
