//! A cluster of controllers in one world, and the ledger of what was seen and promised.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use host::Host;
use host::sim::{CrashKind, Node, World};
use metadata::{Image, Record};
use protocol::messages::TopicRecord;
use protocol::{ErrorCode, Str, Uuid};
use wire::SecurityProtocol;

use super::LIMIT;
use crate::decide::Decision;
use crate::format;
use crate::kv::{self, KvKind};
use crate::publisher::Committed;
use crate::raft::types::{RaftId, Voter};
use crate::writer::{Active, Error};
use crate::{Controller, ControllerConfig, Joining, Listen};

/// What all nodes together showed.
#[derive(Default)]
pub(super) struct Ledger {
    images: BTreeMap<i64, Image>,
    active_by_epoch: BTreeMap<i32, usize>,
    /// Topics whose creation was acknowledged.
    pub(super) acknowledged: Vec<Str>,
    next_topic: u64,
    pub(super) faults: Vec<String>,
}

impl Ledger {
    fn see_committed(&mut self, node: usize, last_end: &mut i64, committed: &Committed) {
        let end = committed.image.end_offset;
        if end < *last_end {
            self.faults.push(format!("node {node} went back from offset {last_end} to {end}"));
        }
        *last_end = end;
        match self.images.get(&end) {
            Some(seen) if *seen != committed.image => {
                self.faults
                    .push(format!("node {node} has another image at offset {end} than was seen before"));
            }
            Some(_) => {}
            None => {
                self.images.insert(end, committed.image.clone());
            }
        }
    }

    fn see_active(&mut self, node: usize, active: Active) {
        if active.here {
            let other = *self.active_by_epoch.entry(active.epoch).or_insert(node);
            if other != node {
                self.faults
                    .push(format!("epoch {} has two active controllers: {other} and {node}", active.epoch));
            }
        }
    }

    fn new_topic(&mut self) -> (Str, Uuid) {
        self.next_topic += 1;
        (Str::from(format!("topic-{}", self.next_topic)), Uuid(1000 + u128::from(self.next_topic)))
    }
}

const ADD_LIMIT: Duration = Duration::from_secs(10);
const DIR: &str = "/data/meta";

struct Slot {
    node: Node,
    controller: Option<Arc<Controller>>,
}

pub(super) struct Cluster {
    slots: Mutex<Vec<Slot>>,
    ledger: Arc<Mutex<Ledger>>,
    /// How many of the nodes found the quorum whose voters live in its log; None for a quorum of `controller.quorum.voters`.
    founders: Option<usize>,
    auto_join: bool,
    /// Where nodes listen that have moved.
    ports: Mutex<BTreeMap<usize, u16>>,
}

impl Cluster {
    pub(super) fn new(world: &World, size: usize) -> Cluster {
        let slot = |n| Slot { node: world.node(&format!("c{n}")), controller: None };
        Cluster {
            slots: Mutex::new((0..size).map(slot).collect()),
            ledger: Arc::default(),
            founders: None,
            auto_join: false,
            ports: Mutex::default(),
        }
    }

    /// The first nodes are formatted as voters, the others observe.
    pub(super) fn dynamic(world: &World, size: usize, founders: usize, auto_join: bool) -> Cluster {
        let cluster = Cluster { founders: Some(founders), auto_join, ..Cluster::new(world, size) };
        let id = |n| RaftId { node: n as i32, directory: Uuid(9000 + n as u128) };
        let voters: BTreeMap<RaftId, Voter> =
            (0..founders).map(|n| (id(n), Voter { address: cluster.address(n) })).collect();
        for n in 0..founders {
            let (host, voters) = (cluster.node(n).host(), voters.clone());
            let inner = host.clone();
            let text = format::meta_properties(n as i32, Uuid(77), id(n).directory);
            let task = host.spawn("format", async move {
                let disk = inner.disk(Path::new(DIR));
                disk.run_slow(move |fs| {
                    kv::create_dir_durably(fs, Path::new(DIR)).unwrap();
                    fs.atomic_write(&Path::new(DIR).join("meta.properties"), text.as_bytes()).unwrap();
                    format::write_first_voters(fs, Path::new(DIR), &voters, 1).unwrap();
                })
                .await
            });
            world.block_on(LIMIT, task).unwrap().unwrap().unwrap();
        }
        cluster
    }

    pub(super) fn move_to_port(&self, n: usize, port: u16) {
        self.ports.lock().unwrap().insert(n, port);
    }

    pub(super) fn address(&self, n: usize) -> String {
        let port = self.ports.lock().unwrap().get(&n).copied().unwrap_or(9093);
        format!("c{n}:{port}")
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap()
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(super) fn len(&self) -> usize {
        self.slots().len()
    }

    pub(super) fn node(&self, n: usize) -> Node {
        self.slots()[n].node.clone()
    }

    pub(super) fn is_running(&self, n: usize) -> bool {
        self.slots()[n].controller.is_some()
    }

    pub(super) fn controller(&self, n: usize) -> Option<Arc<Controller>> {
        self.slots()[n].controller.clone()
    }

    fn config(&self, n: usize) -> ControllerConfig {
        let size = self.len();
        // Where they are at first; who has moved is found all the same.
        let servers = (0..size).map(|n| format!("c{n}:9093"));
        ControllerConfig {
            node_id: n as i32,
            voters: match self.founders {
                Some(_) => Vec::new(),
                None => (0..size).map(|n| (n as i32, self.address(n))).collect(),
            },
            joining: Joining {
                bootstrap_servers: if self.founders.is_some() { servers.collect() } else { Vec::new() },
                advertised_address: None,
                auto_join: self.auto_join,
            },
            listeners: vec![Listen {
                name: Str::from_static("CONTROLLER"),
                protocol: SecurityProtocol::Plaintext,
                address: self.address(n),
            }],
            metadata_dir: PathBuf::from(DIR),
            cluster_id: (size > 1).then_some(Uuid(77)),
            session_timeout: Duration::from_secs(9),
            properties: BTreeMap::new(),
            kv: KvKind::Journal,
            broken: Default::default(),
        }
    }

    pub(super) fn start_all(&self, world: &World) {
        for n in 0..self.len() {
            self.start(world, n);
        }
    }

    /// Boots the node if it is down, and starts its controller.
    pub(super) fn start(&self, world: &World, n: usize) {
        let node = self.node(n);
        let host = if node.is_up() { node.host() } else { node.restart() };
        let (config, starting) = (self.config(n), host.clone());
        let task = host.spawn("start", async move { Controller::start(&starting, config).await });
        let started = world.block_on(LIMIT, task).expect("a start ends").expect("the node is up");
        let controller = Arc::new(started.expect("the controller starts"));
        self.watch(&host, n, &controller);
        self.slots()[n].controller = Some(controller);
    }

    fn watch(&self, host: &Host, n: usize, controller: &Controller) {
        let (mut committed, mut active) = (controller.committed(), controller.active());
        let (ledger, also) = (self.ledger.clone(), self.ledger.clone());
        host.spawn("watch committed", async move {
            let mut last_end = 0;
            while committed.changed().await.is_ok() {
                let now = committed.borrow_and_update().clone();
                ledger.lock().unwrap().see_committed(n, &mut last_end, &now);
            }
        });
        host.spawn("watch active", async move {
            while active.changed().await.is_ok() {
                let now = *active.borrow_and_update();
                also.lock().unwrap().see_active(n, now);
            }
        });
    }

    pub(super) fn crash(&self, n: usize, kind: CrashKind) {
        let node = self.node(n);
        node.crash(kind);
        self.slots()[n].controller = None;
    }

    /// A new disk: everything on it is gone.
    pub(super) fn wipe(&self, world: &World, n: usize) {
        let host = self.node(n).restart();
        let inner = host.clone();
        let task = host.spawn("wipe", async move {
            inner.disk(Path::new("/")).run_slow(|fs| fs.remove_dir_all(Path::new("/data"))).await
        });
        world.block_on(LIMIT, task).unwrap().unwrap().unwrap().unwrap();
    }

    pub(super) fn id(&self, n: usize) -> RaftId {
        self.controller(n).expect("it runs").node.id
    }

    /// Asks `asked` to make `n` a voter. Does not wait.
    pub(super) fn ask_to_add(&self, asked: usize, n: usize) -> Option<host::Task<Result<(), Error>>> {
        let (node, new) = (self.controller(asked)?.node.clone(), self.controller(n)?.node.id);
        let address = self.address(n);
        let host = self.node(asked).host();
        Some(host.spawn("add voter", async move { node.add_voter(new, address, ADD_LIMIT, true).await }))
    }

    /// Asks `asked` to take the vote from `old`. Does not wait.
    pub(super) fn ask_to_remove(&self, asked: usize, old: RaftId) -> Option<host::Task<Result<(), Error>>> {
        let node = self.controller(asked)?.node.clone();
        Some(self.node(asked).host().spawn("remove voter", async move { node.remove_voter(old).await }))
    }

    /// Asks whoever is active, until one has an answer that is none of "later" and "somebody else".
    pub(super) fn settle(
        &self,
        world: &World,
        ask: impl Fn(usize) -> Option<host::Task<Result<(), Error>>>,
    ) -> Result<(), ErrorCode> {
        let deadline = world.now() + LIMIT;
        loop {
            let asked = self.wait_active(world, LIMIT);
            let answer = ask(asked).and_then(|task| world.block_on(LIMIT, task).expect("it ends").ok());
            match answer.map(|answer| answer.map_err(|error| error.code())) {
                Some(Ok(())) => return Ok(()),
                Some(Err(ErrorCode::NotController | ErrorCode::RequestTimedOut)) | None => {}
                Some(Err(code)) => return Err(code),
            }
            assert!(world.now() < deadline, "the voters cannot be changed");
            world.run_for(Duration::from_millis(100));
        }
    }

    /// The voters, as a node has them in its log.
    pub(super) fn voters(&self, n: usize) -> Vec<RaftId> {
        let controller = self.controller(n).expect("it runs");
        controller.node.metrics().membership_config.voter_ids().collect()
    }

    /// Waits until a node has these voters in its log.
    pub(super) fn wait_voters(&self, world: &World, n: usize, expected: &[RaftId]) {
        let deadline = world.now() + LIMIT;
        while self.voters(n) != expected {
            assert!(world.now() < deadline, "node {n} has voters {:?}, not {expected:?}", self.voters(n));
            world.run_for(Duration::from_millis(50));
        }
    }

    /// What every node thinks, for a failed test.
    fn states(&self) -> String {
        let state = |n: usize| {
            let Some(controller) = self.controller(n) else { return format!("\n  {n} is down") };
            let active = *controller.active().borrow();
            format!("\n  {n}: {active:?}, {}", controller.node.metrics())
        };
        (0..self.len()).map(state).collect()
    }

    /// The active controller of the highest epoch, once there is one.
    pub(super) fn wait_active(&self, world: &World, limit: Duration) -> usize {
        let deadline = world.now() + limit;
        loop {
            let active =
                |n: &usize| self.controller(*n).map(|c| *c.active().borrow()).filter(|active| active.here);
            let found = (0..self.len()).filter_map(|n| active(&n).map(|a| (a.epoch, n))).max();
            if let Some((_, n)) = found {
                return n;
            }
            assert!(world.now() < deadline, "no active controller within {limit:?}:{}", self.states());
            world.run_for(Duration::from_millis(10));
        }
    }

    /// Asks a controller to create a topic; what it acknowledges goes to the ledger. Does not wait.
    pub(super) fn ask(&self, n: usize) -> Option<host::Task<bool>> {
        let controller = self.controller(n)?;
        let ledger = self.ledger.clone();
        let (name, topic_id) = ledger.lock().unwrap().new_topic();
        Some(self.node(n).host().spawn("create topic", async move {
            let record = Record::from(TopicRecord { name: name.clone(), topic_id, ..Default::default() });
            let created =
                controller.node.perform(move |_, _| Ok(Decision { records: vec![record], answer: () })).await;
            if created.is_ok() {
                ledger.lock().unwrap().acknowledged.push(name);
            }
            created.is_ok()
        }))
    }

    pub(super) fn try_create_topic(&self, world: &World, n: usize) -> bool {
        let Some(task) = self.ask(n) else { return false };
        world.block_on(LIMIT, task).expect("an operation ends").unwrap_or(false)
    }

    /// Creates topics, whoever is active.
    pub(super) fn create_topics(&self, world: &World, count: usize) {
        let deadline = world.now() + LIMIT;
        for _ in 0..count {
            while !self.try_create_topic(world, self.wait_active(world, LIMIT)) {
                assert!(world.now() < deadline, "no topic can be created");
                world.run_for(Duration::from_millis(50));
            }
        }
    }

    /// Waits until all running controllers have the same metadata, and finds everything in it that was acknowledged.
    pub(super) fn check_all_acknowledged(&self, world: &World) {
        let deadline = world.now() + LIMIT;
        loop {
            let running: Vec<Arc<Controller>> = (0..self.len()).filter_map(|n| self.controller(n)).collect();
            let images: Vec<Image> = running.iter().map(|c| c.committed().borrow().image.clone()).collect();
            let ledger = self.ledger();
            assert_eq!(ledger.faults, Vec::<String>::new());
            let has_all =
                |image: &Image| ledger.acknowledged.iter().all(|name| image.topics.by_name(name).is_some());
            if images.iter().all(|image| image.end_offset == images[0].end_offset && has_all(image)) {
                assert!(images.iter().all(|image| *image == images[0]), "equal offsets, different images");
                return;
            }
            let lost =
                ledger.acknowledged.iter().find(|name| images[0].topics.by_name(name).is_none()).cloned();
            drop(ledger);
            let ends: Vec<i64> = images.iter().map(|image| image.end_offset).collect();
            assert!(
                world.now() < deadline,
                "metadata ends at {ends:?}, acknowledged topic {lost:?} is missing"
            );
            world.run_for(Duration::from_millis(50));
        }
    }
}
