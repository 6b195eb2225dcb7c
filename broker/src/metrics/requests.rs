//! Requests by their API: how many, how large, how long, and with which error codes.
//!
//! A slot is made when its API is asked for the first time. Fetch is counted twice, as in Kafka: as Fetch, and as
//! FetchConsumer or FetchFollower; its error codes once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use protocol::{ApiKey, ErrorCode, ErrorTally};
use wire::Answered;

use super::exposition::{Pages, ReaderGone};
use super::histogram::{Histogram, QUANTILES, Window};
use super::names::{self, Summary};

/// Kafka's largest key is below 100.
const KEYS: usize = 128;
const FETCH_CONSUMER: usize = KEYS;
const FETCH_FOLLOWER: usize = KEYS + 1;
const VERSIONS: usize = 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Requests {
    window: Arc<Window>,
    slots: [OnceLock<Box<OfApi>>; KEYS + 2],
}

#[derive(Debug)]
struct OfApi {
    name: &'static str,
    by_version: [AtomicU64; VERSIONS],
    no_error: AtomicU64,
    errors: Mutex<BTreeMap<i16, u64>>,
    bytes: Histogram,
    /// Microseconds, like all that follow.
    total: Histogram,
    local: Histogram,
    remote: Histogram,
    queued: Histogram,
    sending: Histogram,
}

type Of = fn(&OfApi) -> Option<&Histogram>;

/// Microseconds are told in milliseconds.
const MS: f64 = 1e-3;

const SUMMARIES: [(&Summary, f64, Of); 7] = [
    (&names::REQUEST_BYTES, 1.0, |api| Some(&api.bytes)),
    (&names::REQUEST_TOTAL, MS, |api| Some(&api.total)),
    // A complete frame is handled at once: nothing waits.
    (&names::REQUEST_QUEUE, MS, |_| None),
    (&names::REQUEST_LOCAL, MS, |api| Some(&api.local)),
    (&names::REQUEST_REMOTE, MS, |api| Some(&api.remote)),
    (&names::RESPONSE_QUEUE, MS, |api| Some(&api.queued)),
    (&names::RESPONSE_SEND, MS, |api| Some(&api.sending)),
];

impl OfApi {
    fn new(name: &'static str) -> OfApi {
        OfApi {
            name,
            by_version: Default::default(),
            no_error: AtomicU64::new(0),
            errors: Mutex::default(),
            bytes: Histogram::default(),
            total: Histogram::default(),
            local: Histogram::default(),
            remote: Histogram::default(),
            queued: Histogram::default(),
            sending: Histogram::default(),
        }
    }

    fn histograms(&self) -> [&Histogram; 6] {
        [&self.bytes, &self.total, &self.local, &self.remote, &self.queued, &self.sending]
    }

    fn count(&self) -> u64 {
        self.by_version.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn record(&self, window: usize, answered: &Answered<'_>) {
        let us = |duration: std::time::Duration| duration.as_micros() as u64;
        let (local, remote) = (us(answered.local), us(answered.remote));
        let (queued, sending) = (us(answered.queued), us(answered.sending));
        let version = usize::try_from(answered.version).unwrap_or(0).min(VERSIONS - 1);
        self.by_version[version].fetch_add(1, Ordering::Relaxed);
        self.bytes.record(window, answered.request_bytes);
        self.total.record(window, local + remote + queued + sending);
        self.local.record(window, local);
        self.remote.record(window, remote);
        self.queued.record(window, queued);
        self.sending.record(window, sending);
    }

    fn record_errors(&self, tally: &ErrorTally) {
        if tally.none > 0 {
            self.no_error.fetch_add(u64::from(tally.none), Ordering::Relaxed);
        }
        if !tally.others.is_empty() {
            let mut errors = self.errors.lock().expect("no code that holds this lock panics");
            for (code, count) in &tally.others {
                *errors.entry(*code).or_default() += u64::from(*count);
            }
        }
    }
}

impl Requests {
    pub(crate) fn new(window: Arc<Window>) -> Requests {
        Requests { window, slots: std::array::from_fn(|_| OnceLock::new()) }
    }

    pub(crate) fn record(&self, answered: &Answered<'_>) {
        let window = self.window.open();
        let code = usize::try_from(answered.key.code()).unwrap_or(KEYS - 1).min(KEYS - 1);
        let slot = self.slot(code, answered.key.name());
        slot.record(window, answered);
        slot.record_errors(answered.errors);
        if answered.key == ApiKey::Fetch {
            let (slot, name) = match answered.peer.is_follower() {
                true => (FETCH_FOLLOWER, "FetchFollower"),
                false => (FETCH_CONSUMER, "FetchConsumer"),
            };
            self.slot(slot, name).record(window, answered);
        }
    }

    fn slot(&self, slot: usize, name: &'static str) -> &OfApi {
        self.slots[slot].get_or_init(|| Box::new(OfApi::new(name)))
    }

    /// Empties a window of all histograms.
    pub(crate) fn clear(&self, window: usize) {
        self.asked().for_each(|api| api.histograms().iter().for_each(|histogram| histogram.clear(window)));
    }

    /// The APIs that were asked for.
    fn asked(&self) -> impl Iterator<Item = &OfApi> {
        self.slots.iter().filter_map(|slot| slot.get().map(Box::as_ref))
    }

    pub(crate) async fn write(&self, pages: &mut Pages) -> Result<(), ReaderGone> {
        pages.family(&names::REQUESTS);
        for api in self.asked() {
            for (version, count) in api.by_version.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    pages.sample(&[("request", api.name), ("version", &version.to_string())], count as f64);
                }
            }
        }
        pages.family(&names::REQUEST_ERRORS);
        for api in self.asked() {
            let none = api.no_error.load(Ordering::Relaxed);
            if none > 0 {
                pages.sample(&[("error", "NONE"), ("request", api.name)], none as f64);
            }
            let errors = api.errors.lock().expect("no code that holds this lock panics").clone();
            for (code, count) in errors {
                let error = ErrorCode::from_code(code).name();
                pages.sample(&[("error", error), ("request", api.name)], count as f64);
            }
        }
        pages.turn().await?;
        for (summary, unit, of) in SUMMARIES {
            self.write_summary(pages, summary, unit, of);
            pages.turn().await?;
        }
        Ok(())
    }

    fn write_summary(&self, pages: &mut Pages, summary: &Summary, unit: f64, of: Of) {
        pages.family(&summary.quantiles);
        for api in self.asked() {
            // No request is empty: the histogram of bytes knows how many there were.
            let told =
                of(api).map_or([0.0; QUANTILES.len()], |values| values.quantiles(api.bytes.recorded()));
            for ((quantile, _), value) in QUANTILES.iter().zip(told) {
                pages.sample(&[("quantile", quantile), ("request", api.name)], value * unit);
            }
        }
        pages.family(&summary.count);
        for api in self.asked() {
            pages.sample(&[("request", api.name)], api.count() as f64);
        }
    }
}
