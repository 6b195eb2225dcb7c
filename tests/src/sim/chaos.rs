//! The run of one seed: a topic of three replicas, writers and readers, faults by the world's dice, and then peace.
//!
//! ```text
//!   start - topic -+- 14 faults, invariants looked at in between --+- heal - all replicas in sync - everything is checked
//!                  '-- writers (acks=all), readers ----------------'
//! ```
//! Machines pause, are cut off, have a slow disk or stop in order in any number. A broker that stops without closing its logs is not believed to have what it
//! had (KIP-966), whether its process died or its machine, so while one has lost power, and the page cache with it, no other stops
//! like that until it is in every ISR again: one is what `min.insync.replicas=2` promises to survive. Processes alone die in
//! any number.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use host::Task;
use host::sim::{CrashKind, DiskFaults};
use protocol::Uuid;

use super::client::Client;
use super::invariants::{self, Witness};
use super::{Broken, Cluster, committer};

const SECOND: Duration = Duration::from_secs(1);
/// What takes longer in virtual time is stuck.
const LIMIT: Duration = Duration::from_secs(240);
/// After the last fault everything must be in sync again within this.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// ... and every broker must have heard of it within this.
const SETTLING_MAX: Duration = Duration::from_secs(10);
const TOPIC: &str = "first";
const PARTITIONS: i32 = 2;
const FAULTS: u32 = 14;

/// What a run ended with.
pub struct Outcome {
    pub trace: u64,
    /// A sentence for each promise that was broken.
    pub broken: Vec<String>,
    /// Records whose append was acknowledged.
    pub acknowledged: usize,
}

/// Machines that a fault stopped.
#[derive(Default)]
struct Stopped {
    down: Vec<i32>,
    paused: Vec<i32>,
    /// On their way out, in order.
    leaving: Vec<(i32, Task<()>)>,
    /// Brokers that were stopped without closing their logs, and are not known to be in sync again.
    unclean: Vec<i32>,
    /// The one of them that lost power.
    forgetful: Option<i32>,
}

struct Chaos {
    cluster: Cluster,
    client: Client,
    witness: Witness,
    stopped: Stopped,
}

/// Runs a seed.
pub fn run(seed: u64, broken: Broken) -> Outcome {
    let cluster = Cluster::start(seed, 3, 3, broken);
    let client = Client::new(cluster.world.host(), cluster.addresses());
    let first = client.clone();
    let created = cluster
        .world
        .block_on(LIMIT, async move { first.create_topic(TOPIC, PARTITIONS, (3, 2), 60 * SECOND).await });
    assert_eq!(created, Ok(true), "a healthy cluster creates a topic");
    let mut chaos = Chaos { cluster, client, witness: Witness::default(), stopped: Stopped::default() };
    chaos.go()
}

impl Chaos {
    fn go(&mut self) -> Outcome {
        let host = self.cluster.world.host();
        let writers: Vec<_> =
            (0..3).map(|n| host.spawn("writer", write(self.client.clone(), host.clone(), n))).collect();
        for partition in 0..PARTITIONS {
            drop(host.spawn("reader", self.client.clone().read_for_ever(TOPIC, partition)));
        }
        drop(host.spawn("elector", self.client.clone().elect_for_ever()));
        let topic_id = self.client.promises().topics.get(TOPIC).copied().expect("it was created");
        let commits = host.spawn("committer", committer::run(self.client.clone(), TOPIC, topic_id));
        self.let_pass(SECOND);
        for _ in 0..FAULTS {
            self.fault();
            let passing = self.millis(900);
            self.let_pass(passing);
        }
        self.heal();
        let peace = self.wait_until_in_sync();
        self.client.stop();
        for writer in writers.into_iter().chain([commits]) {
            let ended = self.cluster.world.block_on(LIMIT, writer);
            ended.expect("a writer ends").expect("a writer does not panic");
        }
        let mut broken = self.witness.broken.clone();
        broken.extend(invariants::one_controller_per_term::check(&self.cluster.active_log));
        broken.extend(peace);
        if broken.is_empty() {
            broken.extend(self.check_what_is_there(topic_id));
        }
        broken.extend(self.client.promises().broken.clone());
        let acknowledged = self.client.promises().records.len();
        Outcome { trace: self.cluster.world.trace_hash(), broken, acknowledged }
    }

    fn below(&self, limit: u64) -> u64 {
        self.cluster.world.random() % limit
    }

    fn millis(&self, max: u64) -> Duration {
        Duration::from_millis(self.below(max))
    }

    /// Lets time pass, and looks at the cluster now and then.
    fn let_pass(&mut self, duration: Duration) {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = duration;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.cluster.world.run_for(step);
            left -= step;
            self.let_go();
            self.witness.look(&self.cluster);
        }
        let cluster = &self.cluster;
        self.stopped.unclean.retain(|id| !invariants::in_sync::is_everywhere(cluster, *id));
        self.stopped.forgetful = self.stopped.forgetful.filter(|id| self.stopped.unclean.contains(id));
    }

    /// Brokers that have stopped in order are down; they closed their logs.
    fn let_go(&mut self) {
        for (id, mut task) in std::mem::take(&mut self.stopped.leaving) {
            let mut context = Context::from_waker(Waker::noop());
            if Pin::new(&mut task).poll(&mut context).is_pending() {
                self.stopped.leaving.push((id, task));
            } else if !self.stopped.down.contains(&id) {
                self.crash(id, CrashKind::Process);
            }
        }
    }

    fn stop(&mut self, id: i32) {
        let is_leaving = self.stopped.leaving.iter().any(|(leaving, _)| *leaving == id);
        let running = self.cluster.live_brokers().remove(&id).filter(|_| !is_leaving);
        if let Some(broker) = running {
            let host = self.cluster.machine(id).host();
            let stop = host.spawn("stop", async move { broker.stop().await });
            self.stopped.leaving.push((id, stop));
        }
    }

    fn fault(&mut self) {
        let broker = 11 + self.below(3) as i32;
        let other = 11 + (broker - 11 + 1 + self.below(2) as i32) % 3;
        let controller = 1 + self.below(3) as i32;
        let world = &self.cluster.world;
        match self.below(18) {
            0 | 1 if self.stopped.forgetful.is_none_or(|id| id == broker) => {
                self.crash_broker(broker, CrashKind::Process);
            }
            2..=4 if self.stopped.unclean.iter().all(|id| *id == broker) => {
                self.crash_broker(broker, CrashKind::Power);
            }
            5 | 6 => self.pause(broker),
            7 => world.partition(self.cluster.machine(broker), self.cluster.machine(other)),
            8 => world.partition_one_way(self.cluster.machine(broker), self.cluster.machine(other)),
            9 => (1..=3).for_each(|c| world.partition(self.cluster.machine(broker), self.cluster.machine(c))),
            10 => self.crash(self.cluster.active_controller(), CrashKind::Process),
            11 => self.crash(controller, CrashKind::Power),
            12 => self.pause(controller),
            13 => world.heal_all(),
            14 => self.stop(broker),
            15 => self.cluster.machine(broker).set_disk_faults(slow_disk()),
            _ => self.bring_back(),
        }
        // Somebody comes back at most faults: a cluster that is down as a whole shows nothing.
        if self.below(3) == 0 || self.stopped.down.len() + self.stopped.paused.len() > 3 {
            self.bring_back();
        }
    }

    fn crash_broker(&mut self, id: i32, kind: CrashKind) {
        if self.stopped.down.contains(&id) {
            return;
        }
        if !self.stopped.unclean.contains(&id) {
            self.stopped.unclean.push(id);
        }
        if kind == CrashKind::Power {
            self.stopped.forgetful = Some(id);
        }
        self.crash(id, kind);
    }

    fn crash(&mut self, id: i32, kind: CrashKind) {
        if self.stopped.down.contains(&id) {
            return;
        }
        self.resume(id);
        self.stopped.leaving.retain(|(leaving, _)| *leaving != id);
        self.cluster.crash(id, kind);
        self.stopped.down.push(id);
    }

    fn pause(&mut self, id: i32) {
        if !self.stopped.down.contains(&id) && !self.stopped.paused.contains(&id) {
            self.cluster.machine(id).pause();
            self.stopped.paused.push(id);
        }
    }

    fn resume(&mut self, id: i32) {
        if self.stopped.paused.contains(&id) {
            self.cluster.machine(id).resume();
            self.stopped.paused.retain(|paused| *paused != id);
        }
    }

    /// One machine that was stopped goes on.
    fn bring_back(&mut self) {
        if !self.stopped.down.is_empty() {
            let at = self.below(self.stopped.down.len() as u64) as usize;
            let id = self.stopped.down.remove(at);
            self.cluster.restart(id);
        } else if let Some(id) = self.stopped.paused.first().copied() {
            self.resume(id);
        }
    }

    fn heal(&mut self) {
        self.cluster.world.heal_all();
        self.cluster.brokers.iter().for_each(|(_, node)| node.set_disk_faults(DiskFaults::default()));
        for id in std::mem::take(&mut self.stopped.paused) {
            self.cluster.machine(id).resume();
        }
        // To leave takes a bounded time.
        while !self.stopped.leaving.is_empty() {
            self.let_pass(SECOND / 2);
        }
        while !self.stopped.down.is_empty() || !self.stopped.paused.is_empty() {
            self.bring_back();
        }
    }

    /// A cluster that is left alone has a leader and all replicas in sync everywhere; if not in time, that is a sentence.
    fn wait_until_in_sync(&mut self) -> Option<String> {
        let until = self.cluster.world.now() + RECOVERY_MAX;
        loop {
            let lacking = invariants::in_sync::lacking(&self.cluster);
            if lacking.is_empty() {
                return None;
            }
            if self.cluster.world.now() > until {
                return Some(format!("not in sync {RECOVERY_MAX:?} after the last fault: {lacking:?}"));
            }
            self.let_pass(SECOND / 2);
        }
    }

    /// What clients can read, and what lies in the logs.
    fn check_what_is_there(&mut self, topic_id: Uuid) -> Vec<String> {
        let (reader, host) = (self.client.clone(), self.cluster.world.host());
        let checked = self.cluster.world.block_on(LIMIT, async move {
            let deadline = host.clock().now() + SETTLING_MAX;
            loop {
                if let (Some(mut broken), Some(records), Some(commits)) = (
                    invariants::committed_metadata::check(&reader).await,
                    invariants::acknowledged_records::check(&reader).await,
                    committer::check(&reader, TOPIC, topic_id).await,
                ) {
                    broken.extend(records.into_iter().chain(commits));
                    // A broker may have been asked that has not heard yet who leads; what is lost stays lost.
                    if broken.is_empty() || host.clock().now() > deadline {
                        return broken;
                    }
                }
                host.clock().sleep(SECOND / 10).await;
            }
        });
        let mut broken =
            checked.unwrap_or_else(|stuck| vec![format!("nothing can be read at the end: {stuck}")]);
        let logs = invariants::equal_logs::check(&self.cluster.live_brokers());
        broken
            .extend(self.cluster.world.block_on(LIMIT, logs).unwrap_or_else(|stuck| vec![stuck.to_string()]));
        broken
    }
}

/// One job in fifty takes half a second.
fn slow_disk() -> DiskFaults {
    DiskFaults { stalls_per_million: 20_000, ..DiskFaults::default() }
}

/// Writes until it is told to stop.
async fn write(client: Client, host: host::Host, writer: u32) {
    for n in 0.. {
        if client.is_stopped() {
            return;
        }
        let partition = host.entropy().below(PARTITIONS as u64) as i32;
        client.produce(TOPIC, partition, &format!("{writer}-{n}")).await;
        host.clock().sleep(Duration::from_millis(20 + host.entropy().below(60))).await;
    }
}
