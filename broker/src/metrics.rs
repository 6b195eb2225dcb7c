//! What a broker counts, and how `/metrics` tells it.
//!
//! ```text
//!   hot paths ─ hold ─► counters, histograms       (here)            one addition each, nothing is looked up
//!   /metrics  ─ asks ─► partitions, groups, image  (collect/)        when somebody asks, page by page
//! ```
//! **Invariant:** all names stand in `names.rs`. A series lives as long as what it is about: there is no registry that could
//! keep one longer; what a deleted topic had counted stays in the sums over all topics.

pub(crate) mod collect;
mod counters;
pub(crate) mod exposition;
mod histogram;
mod names;
mod requests;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use host::{Clock, Host, Instant};
use protocol::batch::{AppendError, RecordFault};
use protocol::{Str, bounds};
use wire::{Answered, Observer, Peer};

use crate::telemetry::Telemetry;
pub use counters::{Counter, Gauge, Held};
use histogram::{Histogram, Window};
use requests::Requests;

/// The counters of one topic.
#[derive(Debug, Default)]
pub struct TopicCounters {
    pub messages_in: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub bytes_rejected: Counter,
    pub produce_requests: Counter,
    pub failed_produce_requests: Counter,
    pub fetch_requests: Counter,
    pub failed_fetch_requests: Counter,
    pub invalid_magic: Counter,
    pub invalid_crc: Counter,
    pub invalid_sequence: Counter,
    pub no_key: Counter,
    /// Told over all topics only, like the next one.
    pub replication_bytes_in: Counter,
    pub replication_bytes_out: Counter,
}

impl TopicCounters {
    fn all(&self) -> [&Counter; 14] {
        [
            &self.messages_in,
            &self.bytes_in,
            &self.bytes_out,
            &self.bytes_rejected,
            &self.produce_requests,
            &self.failed_produce_requests,
            &self.fetch_requests,
            &self.failed_fetch_requests,
            &self.invalid_magic,
            &self.invalid_crc,
            &self.invalid_sequence,
            &self.no_key,
            &self.replication_bytes_in,
            &self.replication_bytes_out,
        ]
    }

    /// A batch that the rules of the topic refused.
    pub fn refused(&self, error: &AppendError) {
        use AppendError as E;
        match error {
            E::TooLarge { size, .. } => self.bytes_rejected.inc_by(*size as u64),
            E::OldFormat(_) => self.invalid_magic.inc(),
            E::Corrupt(_) | E::Malformed(_) => self.invalid_crc.inc(),
            E::BaseOffset(_) | E::Counts { .. } | E::Sequence(_) => self.invalid_sequence.inc(),
            E::Records(faults) => match faults.first().map(|record| &record.fault) {
                Some(RecordFault::NoKey) => self.no_key.inc(),
                Some(RecordFault::OffsetDelta { .. }) => self.invalid_sequence.inc(),
                _ => {}
            },
            E::BatchCount(_) | E::ZstdBefore7(_) | E::UnknownCompression(_) | E::Control => {}
        }
    }
}

/// The counters of one topic, shared by its partitions on this broker.
#[derive(Debug)]
pub struct TopicMetrics {
    topic: Str,
    counters: TopicCounters,
    shared: Arc<Shared>,
}

impl Deref for TopicMetrics {
    type Target = TopicCounters;

    fn deref(&self) -> &TopicCounters {
        &self.counters
    }
}

impl TopicMetrics {
    /// Notes how long a flush took, its wait for the disk included.
    pub fn flushed(&self, since: Instant) {
        self.shared.flush_count.inc();
        let took = (self.shared.clock.now() - since).as_micros() as u64;
        // Zero would not be recorded, and the histogram could not tell how many there were.
        self.shared.flushes.record(self.shared.window.open(), took.max(1));
    }

    /// The ISR of a partition that is led here had so many members and has so many now.
    pub fn isr_changed(&self, before: usize, after: usize) {
        match after.cmp(&before) {
            std::cmp::Ordering::Less => self.shared.replication.isr_shrinks.inc(),
            std::cmp::Ordering::Greater => self.shared.replication.isr_expands.inc(),
            std::cmp::Ordering::Equal => {}
        }
    }

    /// The clock by which flushes are timed.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }
}

impl Drop for TopicMetrics {
    fn drop(&mut self) {
        for (retired, own) in self.shared.retired.all().into_iter().zip(self.counters.all()) {
            retired.inc_by(own.get());
        }
    }
}

/// What topics share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    window: Arc<Window>,
    /// What topics had counted that are gone.
    retired: TopicCounters,
    flushes: Histogram,
    flush_count: Counter,
    replication: Arc<Replication>,
}

/// Requests that wait, by Kafka's name of what they wait to do.
#[derive(Debug, Default)]
pub struct Waiting {
    pub fetch: Arc<Gauge>,
    pub produce: Arc<Gauge>,
    pub produce_expires: Counter,
}

/// Changes of the ISRs of partitions that are led here.
#[derive(Debug, Default)]
pub struct Replication {
    pub isr_shrinks: Counter,
    pub isr_expands: Counter,
    pub failed_isr_updates: Counter,
}

/// How busy the node's threads had been when the window was turned.
#[derive(Clone, Copy, Debug)]
struct Busy {
    at: Instant,
    time: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    host: Host,
    shared: Arc<Shared>,
    topics: Mutex<BTreeMap<Str, Weak<TopicMetrics>>>,
    requests: Requests,
    pub waiting: Waiting,
    pub replication: Arc<Replication>,
    busy: Mutex<Busy>,
}

impl Metrics {
    pub fn new(host: &Host) -> Metrics {
        let replication: Arc<Replication> = Arc::default();
        let (window, clock) = (Arc::new(Window::default()), host.clock().clone());
        let busy = Busy { at: clock.now(), time: host.busy().map_or(Duration::ZERO, |busy| busy.time) };
        let shared = Shared {
            clock,
            window: Arc::clone(&window),
            retired: TopicCounters::default(),
            flushes: Histogram::default(),
            flush_count: Counter::default(),
            replication: Arc::clone(&replication),
        };
        Metrics {
            host: host.clone(),
            shared: Arc::new(shared),
            topics: Mutex::default(),
            requests: Requests::new(window),
            waiting: Waiting::default(),
            replication,
            busy: Mutex::new(busy),
        }
    }

    /// The counters of a topic: the same for all of its partitions.
    pub fn topic(&self, topic: &str) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock().expect("no code that holds this lock panics");
        if let Some(known) = topics.get(topic).and_then(Weak::upgrade) {
            return known;
        }
        topics.retain(|_, known| known.strong_count() > 0);
        let metrics = Arc::new(TopicMetrics {
            topic: Str::from(topic),
            counters: TopicCounters::default(),
            shared: Arc::clone(&self.shared),
        });
        topics.insert(metrics.topic.clone(), Arc::downgrade(&metrics));
        metrics
    }

    /// The topics of this broker, in the order of their names.
    fn topics(&self) -> Vec<Arc<TopicMetrics>> {
        let topics = self.topics.lock().expect("no code that holds this lock panics");
        topics.values().filter_map(Weak::upgrade).collect()
    }

    /// Turns the histograms' window over, now and then.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.shared.clock.sleep(bounds::METRICS_WINDOW).await;
            self.shared.window.turn(|window| {
                self.requests.clear(window);
                self.shared.flushes.clear(window);
            });
            if let Some(busy) = self.host.busy() {
                let now = Busy { at: self.shared.clock.now(), time: busy.time };
                *self.busy.lock().expect("no code that holds this lock panics") = now;
            }
        }
    }

    /// The part of the time in which the node's threads had nothing to do, since the window was turned.
    fn idle_ratio(&self) -> Option<f64> {
        let now = self.host.busy()?;
        let then = *self.busy.lock().expect("no code that holds this lock panics");
        let passed = (self.shared.clock.now() - then.at).max(Duration::from_millis(1));
        let of_threads = passed.as_secs_f64() * now.threads.max(1) as f64;
        Some((1.0 - now.time.saturating_sub(then.time).as_secs_f64() / of_threads).clamp(0.0, 1.0))
    }
}

/// Who is told of what happens on the connections of a broker.
pub(crate) struct Watcher {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl Observer for Watcher {
    fn closed(&self, peer: &Peer) {
        self.telemetry.disconnected(peer);
    }

    fn answered(&self, answered: &Answered<'_>) {
        self.metrics.requests.record(answered);
    }
}
