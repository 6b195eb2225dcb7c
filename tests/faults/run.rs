//! A run: load, one fault after the other, peace, and then everything is checked.
//!
//! ```text
//!   start ─ load ─┬─ fault, held for some seconds, healed, every partition acknowledges again ─┐
//!                 └────────────────────────────── as often as asked ──────────────────────────┘
//!   in sync ─ producers stop ─ the log is read ─ members have read it too ─ all stop ─ replicas compared ─ history checked
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::history::{self, Anomaly, Event, Log};
use tests::process::{root, runtimes};

use super::cluster::{BROKERS, Cluster, PARTITIONS, TOPIC};
use super::fault::{Deck, Random, inject, power_cut};
use super::load::{Load, Said};
use super::server::Server;
use super::{say, skipped, twice};

/// Until the cluster answers for the first time, and its clients have begun.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);
/// After a fault has been undone, every partition acknowledges again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(45);
/// ... and all replicas are in sync.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(60);
/// ... and members have read everything.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// Producers give up a record after a minute.
const STOPPED_WITHIN: Duration = Duration::from_secs(80);
/// Of each kind of line that explains a failure.
const SHOWN: usize = 25;
const LOG_LINES: usize = 12;

/// How long and how hard a run is.
pub(crate) struct Form {
    pub(crate) faults: u64,
    pub(crate) hold_max: Duration,
    /// Sometimes a second fault comes while the first one lasts.
    pub(crate) doubles: bool,
}

pub(crate) struct Outcome {
    /// The faults in their order, and what they cost.
    pub(crate) told: String,
    /// A sentence for each promise that was broken.
    pub(crate) broken: Vec<String>,
    pub(crate) anomalies: Vec<Anomaly>,
    /// What the nodes said at last, if anything is broken.
    pub(crate) logs: String,
}

/// One cluster at a time: two would want more loop devices than many machines have.
static ALONE: Mutex<()> = Mutex::new(());

/// A fault that has been.
struct Past {
    what: String,
    at: Instant,
    healed: Instant,
    /// Until every partition had acknowledged something that was told after it was healed.
    recovered: Option<Duration>,
}

/// Runs a seed in a thread of its own, which leaves the machine's network.
pub(crate) fn run(seed: u64, form: &Form) -> Outcome {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let protocol = if seed.is_multiple_of(2) { "consumer" } else { "classic" };
        let run = scope.spawn(|| Run::start(seed, protocol, &[]).go(seed, form));
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// All brokers lose their power at once under load and have never flushed; None: there are no disks here.
pub(crate) fn all_power_lost_without_flushes() -> Option<Outcome> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let run = std::thread::spawn(|| {
        let mut run = Run::start(0, "consumer", &["weir.flush.on.acknowledge=false"]);
        if let Some(why) = run.cluster.lacks.get("disks") {
            skipped("power cuts", why);
            return None;
        }
        std::thread::sleep(Duration::from_secs(1));
        power_cut(&mut run.cluster, &BROKERS);
        run.cluster.heal();
        Some(run.finish(0, &[]))
    });
    run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct Run {
    load: Load,
    cluster: Cluster,
    broken: Vec<String>,
}

impl Run {
    fn start(seed: u64, protocol: &str, settings: &[&str]) -> Run {
        let cluster = Cluster::start(settings);
        cluster.create_topic(BEGUN_WITHIN);
        let load = Load::start(&cluster.bootstrap(), TOPIC, PARTITIONS, protocol);
        let run = Run { load, cluster, broken: Vec::new() };
        let (begun, mut waited) = (Instant::now(), Duration::ZERO);
        let has_begun = || {
            let said = run.load.said();
            let clients = ["java", "librdkafka"];
            clients
                .iter()
                .all(|client| said.events.iter().any(|(_, event)| is_acknowledged_to(event, client)))
        };
        while !has_begun() || run.load.polled().is_empty() {
            assert!(waited < BEGUN_WITHIN, "seed {seed}: the load does not begin\n{}", run.explained());
            std::thread::sleep(Duration::from_millis(50));
            waited = begun.elapsed();
        }
        run
    }

    fn go(mut self, seed: u64, form: &Form) -> Outcome {
        for (what, why) in &self.cluster.lacks {
            skipped(&format!("faults with {what}"), why);
        }
        let (mut random, mut deck) = (Random::new(seed), Deck::new(&self.cluster));
        let mut past = Vec::new();
        while (past.len() as u64) < form.faults && self.broken.is_empty() {
            let fault = self.fault(&mut random, &mut deck, form);
            say(&format!("{:3}. {}", past.len() + 1, fault.what));
            past.push(fault);
        }
        let mut outcome = self.finish(seed, &past);
        if !outcome.broken.is_empty() {
            self.keep(seed, &outcome.told);
            outcome.logs = self.explained();
        }
        outcome
    }

    /// One fault, or two at a time, until every partition acknowledges again.
    fn fault(&mut self, random: &mut Random, deck: &mut Deck, form: &Form) -> Past {
        let hold_max = u64::try_from(form.hold_max.as_millis()).expect("seconds");
        let at = Instant::now();
        let mut what = inject(deck.deal(random), &mut self.cluster, random);
        let hold = random.millis(300, hold_max);
        if form.doubles && random.below(4) == 0 {
            std::thread::sleep(hold / 3);
            let more = inject(deck.deal(random), &mut self.cluster, random);
            write!(what, "; then {more}").expect("a string takes it");
        }
        std::thread::sleep(hold.saturating_sub(at.elapsed()));
        for gone in self.cluster.ended() {
            self.broken.push(format!("{gone} ended by itself during: {what}"));
        }
        self.cluster.heal();
        let healed = Instant::now();
        let recovered = self.await_acknowledgements(healed);
        if recovered.is_none() {
            self.broken
                .push(format!("some partition acknowledges nothing {ACKNOWLEDGED_WITHIN:?} after: {what}"));
        }
        if random.below(2) == 0 {
            self.await_in_sync(&what);
        }
        Past { what, at, healed, recovered }
    }

    fn await_acknowledgements(&mut self, since: Instant) -> Option<Duration> {
        while since.elapsed() < ACKNOWLEDGED_WITHIN {
            self.cluster.servers.values_mut().for_each(Server::revive);
            if self.load.is_acknowledged_since(since, PARTITIONS) {
                return Some(since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    fn await_in_sync(&mut self, after: &str) {
        let since = Instant::now();
        loop {
            self.cluster.servers.values_mut().for_each(Server::revive);
            let lacking = self.cluster.lacking();
            if lacking.is_empty() {
                return self.cluster.is_whole();
            }
            if since.elapsed() > IN_SYNC_WITHIN {
                self.broken
                    .push(format!("not in sync {IN_SYNC_WITHIN:?} after: {after}: {}", lacking.join("\n")));
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Peace, and everything is checked.
    fn finish(&mut self, seed: u64, past: &[Past]) -> Outcome {
        self.cluster.heal();
        self.await_in_sync("the last fault");
        if self.load.ended() > 0 {
            self.broken.push("a client has ended by itself".to_owned());
        }
        if !self.load.stop_producing(STOPPED_WITHIN) {
            self.broken.push("a producer does not stop".to_owned());
        }
        let logs = self.read_logs();
        self.await_readers(&logs);
        let late = self.load.end(READ_WITHIN);
        self.broken.extend(late);
        self.await_followers();
        for gone in self.cluster.ended() {
            self.broken.push(format!("{gone} ended by itself at the end"));
        }
        for id in BROKERS {
            self.cluster.servers.get_mut(&id).expect("it is one of ours").stop();
        }
        let unequal = self.unequal();
        self.broken.extend(unequal);
        let events: Vec<Event> = self.load.said().events.iter().map(|(_, event)| event.clone()).collect();
        let anomalies = history::check(&events, &logs);
        self.broken.extend(anomalies.iter().take(SHOWN).map(|anomaly| format!("{anomaly:?}")));
        if anomalies.len() > SHOWN {
            self.broken.push(format!("... and {} anomalies more", anomalies.len() - SHOWN));
        }
        let told = tell(seed, past, &self.load.said()) + &self.tell_copies(&anomalies);
        Outcome { told, broken: std::mem::take(&mut self.broken), anomalies, logs: String::new() }
    }

    /// The whole log, from its leaders.
    fn read_logs(&self) -> BTreeMap<i32, Log> {
        let bootstrap = self.cluster.bootstrap();
        let format = ["-e", "-q", "-o", "beginning", "-f", "%p %o %s\\n"];
        let text = runtimes::kcat(&[&["-C", "-b", &bootstrap, "-t", TOPIC], &format[..]].concat(), b"");
        let mut logs: BTreeMap<i32, Log> = (0..PARTITIONS).map(|partition| (partition, Log::new())).collect();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().expect("as the format says");
            let partition: i32 = word().parse().expect("a partition");
            let offset = word().parse().expect("an offset");
            logs.get_mut(&partition).expect("it is one of ours").push((offset, word().to_owned()));
        }
        logs
    }

    /// Members read to the end of the log; what they did not, the history's check tells.
    fn await_readers(&self, logs: &BTreeMap<i32, Log>) {
        let since = Instant::now();
        let has_read = || {
            let polled = self.load.polled();
            let is_read = |(partition, log): (&i32, &Log)| match log.last() {
                Some((last, _)) => polled.get(partition).is_some_and(|next| next > last),
                None => true,
            };
            logs.iter().all(is_read)
        };
        while !has_read() && since.elapsed() < READ_WITHIN {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How the cluster was given what stands there twice.
    fn tell_copies(&self, anomalies: &[Anomaly]) -> String {
        let mut told = String::new();
        let twice = anomalies.iter().filter_map(|anomaly| match anomaly {
            Anomaly::Duplicate { partition, value, .. } => Some((*partition, value)),
            _ => None,
        });
        for (partition, value) in twice.take(SHOWN) {
            let copies = twice::copies(self.cluster.replica(BROKERS[0], partition).into(), value);
            writeln!(told, "{value} came as (producer, epoch, number) {copies:?}")
                .expect("a string takes it");
        }
        told
    }

    /// Partitions whose replicas do not hold the same bytes, as they lie in their files.
    fn unequal(&self) -> Vec<String> {
        let mut unequal = Vec::new();
        for partition in 0..PARTITIONS {
            let replicas = BROKERS.map(|id| self.cluster.replica(id, partition));
            if replicas.iter().any(|replica| *replica != replicas[0]) {
                let lengths = replicas.map(|replica| replica.len());
                unequal.push(format!(
                    "replicas of {TOPIC}-{partition} on {BROKERS:?} differ: {lengths:?} bytes"
                ));
            }
        }
        unequal
    }

    /// Nobody writes any more: followers have soon what their leaders have. What is unequal then is told at the end.
    fn await_followers(&self) {
        let since = Instant::now();
        while !self.unequal().is_empty() && since.elapsed() < READ_WITHIN {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What clients and nodes said at last.
    fn explained(&self) -> String {
        let said = self.load.said();
        let notes: Vec<&str> = said.notes.iter().rev().take(SHOWN).map(|(_, note)| note.as_str()).collect();
        let notes: Vec<&str> = notes.into_iter().rev().collect();
        format!("clients said at last:\n{}\n{}", notes.join("\n"), self.cluster.last_lines(LOG_LINES))
    }

    /// Nodes' logs, what is on their disks, and what clients said, outlive a run that failed.
    fn keep(&self, seed: u64, told: &str) {
        let kept = root().join(format!("target/faults/seed-{seed}"));
        std::fs::create_dir_all(&kept).expect("there is room");
        for server in self.cluster.servers.values() {
            std::fs::copy(&server.log, kept.join(format!("{}.log", server.id))).expect("there is room");
        }
        (0..PARTITIONS).for_each(|partition| self.cluster.keep_segments(partition, &kept));
        let said = self.load.said();
        let lines = |of: &dyn Fn(&mut String)| {
            let mut text = String::new();
            of(&mut text);
            text
        };
        let first = said.events.first().map(|(at, _)| *at);
        let since =
            |at: Instant| first.map_or(0.0, |first| at.saturating_duration_since(first).as_secs_f64());
        let events = lines(&|text| {
            said.events
                .iter()
                .for_each(|(at, e)| writeln!(text, "{:9.3} {e:?}", since(*at)).expect("it is memory"));
        });
        let notes = lines(&|text| {
            said.notes
                .iter()
                .for_each(|(at, e)| writeln!(text, "{:9.3} {e}", since(*at)).expect("it is memory"));
        });
        for (name, text) in [("events", events), ("notes", notes), ("faults", told.to_owned())] {
            std::fs::write(kept.join(name), text).expect("there is room");
        }
        say(&format!("logs are kept in {}", kept.display()));
    }
}

fn is_acknowledged_to(event: &Event, client: &str) -> bool {
    matches!(event, Event::Acknowledged { producer, .. } if producer.starts_with(client))
}

/// The faults in their order, and the longest time without an acknowledgement of the partition that waited longest.
fn tell(seed: u64, past: &[Past], said: &Said) -> String {
    let mut acknowledged: BTreeMap<i32, Vec<Instant>> = BTreeMap::new();
    let mut counts = [0; 3];
    for (at, event) in &said.events {
        match event {
            Event::Acknowledged { partition, .. } => {
                acknowledged.entry(*partition).or_default().push(*at);
                counts[0] += 1;
            }
            Event::Sent { .. } => counts[1] += 1,
            Event::Polled { .. } => counts[2] += 1,
            _ => {}
        }
    }
    let [acks, sent, polled] = counts;
    let mut told = format!(
        "seed {seed}: {} faults; {sent} records sent, {acks} acknowledged, {polled} read\n",
        past.len()
    );
    for (n, fault) in past.iter().enumerate() {
        let end = past.get(n + 1).map_or_else(Instant::now, |next| next.at);
        let silence =
            acknowledged.values().map(|times| silence(times, fault.at, end)).max().unwrap_or_default();
        let recovered = fault.recovered.map_or("never".to_owned(), |d| format!("{:.1} s", d.as_secs_f64()));
        writeln!(
            told,
            "{:3}. {}; held {:.1} s; silence {:.1} s; acknowledged {recovered} after",
            n + 1,
            fault.what,
            (fault.healed - fault.at).as_secs_f64(),
            silence.as_secs_f64(),
        )
        .expect("a string takes it");
    }
    told
}

/// The longest time without any of these moments between two others.
fn silence(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let gaps = times.windows(2).filter(|pair| pair[1] > from && pair[0] < to);
    gaps.map(|pair| pair[1].min(to) - pair[0].max(from)).max().unwrap_or_default()
}

#[test]
fn a_silence_counts_for_the_fault_in_whose_time_it_lies() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let times: Vec<Instant> = [0, 1, 2, 9, 10, 11].map(at).into();
    assert_eq!(silence(&times, at(1), at(4)), Duration::from_secs(2));
    assert_eq!(silence(&times, at(4), at(11)), Duration::from_secs(5));
    assert_eq!(silence(&times, at(9), at(11)), Duration::from_secs(1));
}
