//! Random faults on controllers while topics are created, and while voters come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use host::sim::{CrashKind, World};

use super::cluster::Cluster;

pub(super) struct Chaos {
    world: World,
    cluster: Cluster,
    paused: Vec<bool>,
    /// Voters come and go.
    changes_voters: bool,
    voters_changed: Arc<AtomicUsize>,
}

impl Chaos {
    /// Runs a seed; returns the hash of its trace, and how many topics were acknowledged.
    pub(super) fn run(seed: u64) -> (u64, usize) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        let (hash, acknowledged, _) = Chaos::new(world, cluster, false).play(seed);
        (hash, acknowledged)
    }

    /// The same with five controllers, three of which vote at first. Also returns how many changes of voters there were.
    pub(super) fn run_with_changes(seed: u64) -> (u64, usize, usize) {
        let world = World::new(seed);
        let cluster = Cluster::dynamic(&world, 5, 3, false);
        Chaos::new(world, cluster, true).play(seed)
    }

    fn new(world: World, cluster: Cluster, changes_voters: bool) -> Chaos {
        let paused = vec![false; cluster.len()];
        Chaos { world, cluster, paused, changes_voters, voters_changed: Arc::default() }
    }

    fn play(mut self, seed: u64) -> (u64, usize, usize) {
        let chaos = &mut self;
        chaos.cluster.start_all(&chaos.world);
        for _ in 0..40 {
            chaos.act();
            if chaos.changes_voters {
                chaos.change_voters();
            }
            for _ in 0..chaos.below(chaos.cluster.len() as u64) {
                let asked = chaos.any();
                if !chaos.paused[asked] {
                    drop(chaos.cluster.ask(asked));
                }
            }
            chaos.world.run_for(Duration::from_millis(chaos.below(600)));
            assert_eq!(chaos.cluster.ledger().faults, Vec::<String>::new(), "seed {seed}");
        }
        chaos.heal();
        chaos.cluster.create_topics(&chaos.world, 2);
        chaos.cluster.check_all_acknowledged(&chaos.world);
        for name in &chaos.cluster.ledger().acknowledged {
            chaos.world.trace(&[name.len() as u64, name.bytes().map(u64::from).sum()]);
        }
        let acknowledged = chaos.cluster.ledger().acknowledged.len();
        (chaos.world.trace_hash(), acknowledged, chaos.voters_changed.load(Ordering::Relaxed))
    }

    fn any(&self) -> usize {
        self.below(self.cluster.len() as u64) as usize
    }

    /// Asks who takes itself for the active controller, and sometimes somebody else: any node is to vote if it does not, and
    /// not if it does, alive or dead.
    fn change_voters(&self) {
        let runs = |n: &usize| !self.paused[*n] && self.cluster.is_running(*n);
        let is_active =
            |n: &usize| runs(n) && self.cluster.controller(*n).is_some_and(|c| c.active().borrow().here);
        let active = (0..self.cluster.len()).find(is_active).filter(|_| self.below(8) > 0);
        let asked = active.unwrap_or_else(|| self.any());
        let n = self.any();
        if !runs(&asked) || self.below(2) == 0 {
            return;
        }
        let voters = self.cluster.voters(asked);
        let task = match voters.iter().find(|voter| voter.node == n as i32) {
            Some(voter) => self.cluster.ask_to_remove(asked, *voter),
            None => self.cluster.ask_to_add(asked, n),
        };
        let Some(task) = task else { return };
        let changed = self.voters_changed.clone();
        self.cluster.node(asked).host().spawn("voters changed", async move {
            if matches!(task.await, Ok(Ok(()))) {
                changed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn below(&self, limit: u64) -> u64 {
        self.world.random() % limit
    }

    fn act(&mut self) {
        let size = self.cluster.len();
        let n = self.any();
        let other = (n + 1 + self.below(size as u64 - 1) as usize) % size;
        let (a, b) = (self.cluster.node(n), self.cluster.node(other));
        match self.below(12) {
            0 | 1 => self.crash(n, CrashKind::Process),
            2 => self.crash(n, CrashKind::Power),
            3..=5 => self.restart(n),
            6 if self.cluster.is_running(n) => {
                a.pause();
                self.paused[n] = true;
            }
            7 => self.resume(n),
            8 => self.world.partition(&a, &b),
            9 => self.world.partition_one_way(&a, &b),
            10 => self.heal_network(),
            _ => {}
        }
    }

    fn crash(&mut self, n: usize, kind: CrashKind) {
        if self.cluster.is_running(n) {
            self.resume(n);
            self.cluster.crash(n, kind);
        }
    }

    fn restart(&mut self, n: usize) {
        if !self.cluster.is_running(n) {
            self.cluster.start(&self.world, n);
        }
    }

    fn resume(&mut self, n: usize) {
        if std::mem::take(&mut self.paused[n]) {
            self.cluster.node(n).resume();
        }
    }

    fn heal_network(&self) {
        for a in 0..self.cluster.len() {
            for b in a + 1..self.cluster.len() {
                self.world.heal(&self.cluster.node(a), &self.cluster.node(b));
            }
        }
    }

    fn heal(&mut self) {
        self.heal_network();
        for n in 0..self.cluster.len() {
            self.resume(n);
            self.restart(n);
        }
    }
}
