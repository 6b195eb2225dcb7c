//! A cluster of controllers in one world, and the ledger of what was seen and promised.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use host::Host;
use host::sim::{CrashKind, Node, World};
use metadata::{Image, Record};
use protocol::messages::TopicRecord;
use protocol::{Str, Uuid};
use wire::SecurityProtocol;

use super::LIMIT;
use crate::decide::Decision;
use crate::kv::KvKind;
use crate::publisher::Committed;
use crate::writer::Active;
use crate::{Controller, ControllerConfig, Listen};

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

struct Slot {
    node: Node,
    controller: Option<Arc<Controller>>,
}

pub(super) struct Cluster {
    slots: Mutex<Vec<Slot>>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Cluster {
    pub(super) fn new(world: &World, size: usize) -> Cluster {
        let slot = |n| Slot { node: world.node(&format!("c{n}")), controller: None };
        Cluster { slots: Mutex::new((0..size).map(slot).collect()), ledger: Arc::default() }
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
        let address = |n: usize| format!("c{n}:9093");
        let size = self.len();
        ControllerConfig {
            node_id: n as i32,
            voters: (0..size).map(|n| (n as i32, address(n))).collect(),
            listeners: vec![Listen {
                name: Str::from_static("CONTROLLER"),
                protocol: SecurityProtocol::Plaintext,
                address: address(n),
            }],
            metadata_dir: PathBuf::from("/data/meta"),
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
            assert!(world.now() < deadline, "no active controller within {limit:?}");
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
