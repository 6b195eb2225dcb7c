//! Random faults on three controllers while topics are created.

use std::time::Duration;

use host::sim::{CrashKind, World};

use super::cluster::Cluster;

pub(super) struct Chaos {
    world: World,
    cluster: Cluster,
    paused: [bool; 3],
}

impl Chaos {
    /// Runs a seed; returns the hash of its trace, and how many topics were acknowledged.
    pub(super) fn run(seed: u64) -> (u64, usize) {
        let world = World::new(seed);
        let cluster = Cluster::new(&world, 3);
        let mut chaos = Chaos { world, cluster, paused: [false; 3] };
        chaos.cluster.start_all(&chaos.world);
        for _ in 0..40 {
            chaos.act();
            for _ in 0..chaos.below(3) {
                let asked = chaos.below(3) as usize;
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
        (chaos.world.trace_hash(), acknowledged)
    }

    fn below(&self, limit: u64) -> u64 {
        self.world.random() % limit
    }

    fn act(&mut self) {
        let n = self.below(3) as usize;
        let other = (n + 1 + self.below(2) as usize) % 3;
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
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            self.world.heal(&self.cluster.node(a), &self.cluster.node(b));
        }
    }

    fn heal(&mut self) {
        self.heal_network();
        for n in 0..3 {
            self.resume(n);
            self.restart(n);
        }
    }
}
