//! The run of one seed: a topic of three replicas, writers and readers, faults by the world's dice, and then peace.
//!
//! ```text
//!   start - topic -+- 14 faults, invariants looked at in between --+- heal - all replicas in sync - everything is checked
//!                  '-- writers (acks=all), readers ----------------'
//! ```
//! Machines pause, are cut off, have a slow disk or a wrong clock or stop in order in any number. A broker that stops without
//! closing its logs is not believed to have what it had (KIP-966), whether its process died or its machine, so while one has
//! lost power, and the page cache with it, or its disk, no other stops like that until it is in every ISR again: one is what
//! `min.insync.replicas=2` promises to survive. Processes alone die in any number.
//!
//! Seeds have three, four or five brokers, by turns; replicas move among them while all this happens. Every other seed has a
//! fourth controller and a quorum whose voters come and go, one of which may lose its disk.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use host::Task;
use host::sim::{CrashKind, DiskFaults};
use protocol::Uuid;

use super::client::Client;
use super::invariants::{self, Witness};
use super::{Broken, Cluster, committer, producer, voters};
use crate::history::{self, Event, Log};

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
/// So many anomalies tell the story.
const SHOWN: usize = 10;

/// What a run ended with.
pub struct Outcome {
    pub trace: u64,
    /// A sentence for each promise that was broken.
    pub broken: Vec<String>,
    /// Records whose append was acknowledged.
    pub acknowledged: usize,
    /// Sets of voters that were seen, if they can change.
    pub voter_sets: usize,
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
    /// The one of them that lost power, or its disk.
    forgetful: Option<i32>,
    /// The one whose disk fails, now and then, until its program has ended of it.
    failing: Option<i32>,
    /// A controller has lost its disk. Another one must not: it is counted among the voters for a while.
    has_lost_controller: bool,
}

struct Chaos {
    cluster: Cluster,
    client: Client,
    witness: Witness,
    stopped: Stopped,
}

/// Runs a seed.
pub fn run(seed: u64, broken: Broken) -> Outcome {
    let brokers = 3 + (seed % 3) as i32;
    let cluster = match seed % 2 {
        0 => Cluster::start(seed, 3, brokers, broken),
        _ => Cluster::start_with_changing_voters(seed, 4, brokers, broken),
    };
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
        let client = || self.client.clone();
        let writers = [
            host.spawn("writer", producer::plain(client(), TOPIC, PARTITIONS)),
            host.spawn("writer", producer::idempotent(client(), TOPIC, PARTITIONS, "one")),
            host.spawn("writer", producer::idempotent(client(), TOPIC, PARTITIONS, "two")),
        ];
        for partition in 0..PARTITIONS {
            drop(host.spawn("reader", client().read_for_ever(TOPIC, partition)));
        }
        drop(host.spawn("elector", client().elect_for_ever()));
        drop(host.spawn("mover", client().move_for_ever(TOPIC, PARTITIONS)));
        if self.cluster.changes_voters {
            let controllers = self.cluster.controllers.iter().map(|(id, _)| *id).collect();
            drop(host.spawn("changer of voters", voters::change_for_ever(client(), controllers)));
        }
        let topic_id = self.client.promises().topics.get(TOPIC).copied().expect("it was created");
        let commits = host.spawn("committer", committer::run(client(), TOPIC, topic_id));
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
        let is_acknowledged = |event: &&Event| matches!(event, Event::Acknowledged { .. });
        let acknowledged = self.client.promises().history.iter().filter(is_acknowledged).count();
        let voter_sets = self.client.promises().voters.len();
        Outcome { trace: self.cluster.world.trace_hash(), broken, acknowledged, voter_sets }
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
        let failing = self.stopped.failing;
        let is_unclean = |id: &i32| failing == Some(*id) || !invariants::in_sync::is_everywhere(cluster, *id);
        self.stopped.unclean.retain(is_unclean);
        self.stopped.forgetful = self.stopped.forgetful.filter(|id| self.stopped.unclean.contains(id));
    }

    /// Brokers that have stopped in order are down; they closed their logs. So are those that cannot go on.
    fn let_go(&mut self) {
        for id in self.cluster.take_failed() {
            self.crash_broker(id, CrashKind::Process);
        }
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
        let count = self.cluster.brokers.len() as u64;
        let at = self.below(count);
        let (broker, other) = (11 + at as i32, 11 + ((at + 1 + self.below(count - 1)) % count) as i32);
        let controllers = self.cluster.controllers.len() as u64;
        let controller = 1 + self.below(controllers) as i32;
        let world = &self.cluster.world;
        // What the broker has may go for good.
        let may_forget = self.stopped.unclean.iter().all(|id| *id == broker);
        match self.below(25) {
            0 | 1 if self.stopped.forgetful.is_none_or(|id| id == broker) => {
                self.crash_broker(broker, CrashKind::Process);
            }
            2..=4 if may_forget => self.crash_broker(broker, CrashKind::Power),
            5 | 6 => self.pause(broker),
            7 => world.partition(self.cluster.machine(broker), self.cluster.machine(other)),
            8 => world.partition_one_way(self.cluster.machine(broker), self.cluster.machine(other)),
            9 => {
                let machine = self.cluster.machine(broker);
                self.cluster.controllers.iter().for_each(|(_, c)| world.partition(machine, c));
            }
            10 => self.crash(self.cluster.active_controller(), CrashKind::Process),
            11 => self.crash(controller, CrashKind::Power),
            12 => self.pause(controller),
            13 => world.heal_all(),
            14 => self.stop(broker),
            15 => self.cluster.machine(broker).set_disk_faults(slow_disk()),
            16 if may_forget => self.lose_disk(broker),
            17 if may_forget => self.let_disk_fail(broker),
            18 => world.set_losses(self.below(200_000)),
            19 => self.set_clock(broker),
            20 => self.set_clock(controller),
            21 if self.cluster.changes_voters && !self.stopped.has_lost_controller => {
                self.crash(controller, CrashKind::Power);
                self.cluster.machine(controller).replace_disk();
                self.stopped.has_lost_controller = true;
            }
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
        self.distrust(id, kind == CrashKind::Power);
        self.crash(id, kind);
    }

    /// A broker is not known to be in sync any more, and may have forgotten what it was.
    fn distrust(&mut self, id: i32, is_forgetful: bool) {
        if !self.stopped.unclean.contains(&id) {
            self.stopped.unclean.push(id);
        }
        if is_forgetful {
            self.stopped.forgetful = Some(id);
        }
    }

    /// The broker's machine goes, and comes back with an empty disk.
    fn lose_disk(&mut self, id: i32) {
        self.crash_broker(id, CrashKind::Power);
        self.distrust(id, true);
        self.cluster.machine(id).replace_disk();
    }

    /// Operations fail now and then; the broker ends at the first one that it cannot do without.
    fn let_disk_fail(&mut self, id: i32) {
        if !self.stopped.down.contains(&id) {
            self.distrust(id, true);
            self.stopped.failing = Some(id);
            self.cluster.machine(id).set_disk_faults(failing_disk());
        }
    }

    /// Wrong by up to ten minutes, and up to a twentieth too fast or too slow.
    fn set_clock(&mut self, id: i32) {
        let (skew_ms, drift_ppm) =
            (self.below(1_200_000) as i64 - 600_000, self.below(100_000) as i64 - 50_000);
        let machine = self.cluster.machine(id);
        machine.set_skew_ms(skew_ms);
        machine.set_drift_ppm(drift_ppm);
    }

    fn crash(&mut self, id: i32, kind: CrashKind) {
        if self.stopped.down.contains(&id) {
            return;
        }
        self.resume(id);
        self.stopped.leaving.retain(|(leaving, _)| *leaving != id);
        self.cluster.crash(id, kind);
        self.stopped.down.push(id);
        if self.stopped.failing == Some(id) {
            // Somebody sees to the disk before the machine starts again.
            self.cluster.machine(id).set_disk_faults(DiskFaults::default());
            self.stopped.failing = None;
        }
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
        self.cluster.world.set_losses(0);
        self.cluster.brokers.iter().for_each(|(_, node)| node.set_disk_faults(DiskFaults::default()));
        self.stopped.failing = None;
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
            // What has failed may be noticed only now.
            while !self.stopped.down.is_empty() {
                self.bring_back();
            }
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
                if let (Some(mut broken), Some(logs), Some(commits)) = (
                    invariants::committed_metadata::check(&reader).await,
                    logs(&reader).await,
                    committer::check(&reader, TOPIC, topic_id).await,
                ) {
                    let anomalies = history::check(&reader.promises().history, &logs);
                    broken.extend(anomalies.iter().take(SHOWN).map(|anomaly| format!("{anomaly:?}")));
                    broken.extend(commits);
                    // A broker may have been asked that has not heard yet who leads, and readers may have something left
                    // to read; what is lost stays lost.
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

/// All partitions as their leaders have them; None: one did not answer.
async fn logs(client: &Client) -> Option<BTreeMap<i32, Log>> {
    let mut logs = BTreeMap::new();
    for partition in 0..PARTITIONS {
        logs.insert(partition, client.read_all(TOPIC, partition).await?);
    }
    Some(logs)
}

/// One job in fifty takes half a second.
fn slow_disk() -> DiskFaults {
    DiskFaults { stalls_per_million: 20_000, ..DiskFaults::default() }
}

/// One operation in three hundred fails.
fn failing_disk() -> DiskFaults {
    DiskFaults {
        write_errors_per_million: 3000,
        read_errors_per_million: 3000,
        sync_errors_per_million: 3000,
        ..DiskFaults::default()
    }
}
