//! Counts of values by size, cheap enough for every request: one addition each.
//!
//! ```text
//!   value   0  1  2  3 | 4  5  6  7 | 8 10 12 14 | 16 20 24 28 | ...   four buckets for each doubling
//! ```
//! Kafka's histograms weigh the last five minutes; here values lie in the window that is open or in the one before it, and
//! a timer turns the windows over (`bounds::METRICS_WINDOW`). Quantiles are interpolated within a bucket.
//!
//! **Invariant:** recording is one relaxed addition, reading walks over 140 numbers. Zero is not recorded at all: it is what
//! is missing to the number of values, which the caller knows.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

const PER_DOUBLING: u64 = 4;
/// Up to 2^35: nine hours in microseconds, 34 GB in bytes.
const BUCKETS: usize = 34 * PER_DOUBLING as usize;

/// What the JMX exporter's rules give of a histogram.
pub(crate) const QUANTILES: [(&str, f64); 6] =
    [("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999)];

/// See the module.
#[derive(Debug)]
pub(crate) struct Histogram {
    windows: [[AtomicU32; BUCKETS]; 2],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { windows: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0))) }
    }
}

/// Which of the two windows is open; shared by all histograms of a node.
#[derive(Debug, Default)]
pub(crate) struct Window(AtomicUsize);

impl Window {
    pub(crate) fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Opens the other window, after `clear` has emptied it.
    pub(crate) fn turn(&self, clear: impl FnOnce(usize)) {
        let next = 1 - self.open();
        clear(next);
        self.0.store(next, Ordering::Relaxed);
    }
}

fn bucket_of(value: u64) -> usize {
    if value < PER_DOUBLING {
        return value as usize;
    }
    let doubling = u64::from(63 - value.leading_zeros());
    let within = (value >> (doubling - 2)) & (PER_DOUBLING - 1);
    (((doubling - 1) * PER_DOUBLING + within) as usize).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
fn floor_of(bucket: usize) -> u64 {
    let (bucket, per) = (bucket as u64, PER_DOUBLING);
    if bucket < per { bucket } else { (per + bucket % per) << (bucket / per - 1) }
}

impl Histogram {
    pub(crate) fn record(&self, window: usize, value: u64) {
        let bucket = bucket_of(value);
        if bucket > 0 {
            self.windows[window][bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self, window: usize) {
        self.windows[window].iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }

    fn counts(&self) -> [u64; BUCKETS] {
        let of =
            |window: usize, bucket: usize| u64::from(self.windows[window][bucket].load(Ordering::Relaxed));
        std::array::from_fn(|bucket| of(0, bucket) + of(1, bucket))
    }

    /// How many values above zero both windows hold.
    pub(crate) fn recorded(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// The quantiles of `total` values, those that are zero among them.
    pub(crate) fn quantiles(&self, total: u64) -> [f64; QUANTILES.len()] {
        let mut counts = self.counts();
        counts[0] = total.saturating_sub(counts.iter().sum());
        let total: u64 = counts.iter().sum();
        QUANTILES.map(|(_, quantile)| quantile_of(&counts, total, quantile))
    }
}

fn quantile_of(counts: &[u64; BUCKETS], total: u64, quantile: f64) -> f64 {
    let wanted = quantile * total as f64;
    let mut before = 0;
    for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if (before + count) as f64 >= wanted {
            let (floor, next) = (floor_of(bucket) as f64, floor_of(bucket + 1) as f64);
            // A bucket of one value is that value.
            let width = (next - floor - 1.0).max(0.0);
            return floor + width * (wanted - before as f64).max(0.0) / *count as f64;
        }
        before += count;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_where_the_one_before_it_ends() {
        for bucket in 1..BUCKETS {
            assert_eq!(bucket_of(floor_of(bucket)), bucket);
            assert_eq!(bucket_of(floor_of(bucket) - 1), bucket - 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_a_tenth_of_the_truth() {
        let histogram = Histogram::default();
        (1..=10_000).for_each(|value| histogram.record(0, value));
        for ((_, quantile), told) in QUANTILES.iter().zip(histogram.quantiles(10_000)) {
            let truth = quantile * 10_000.0;
            assert!((told - truth).abs() < truth / 10.0, "{quantile}: {told} for {truth}");
        }
    }

    #[test]
    fn what_was_not_recorded_is_zero() {
        let histogram = Histogram::default();
        (0..10).for_each(|value| histogram.record(0, if value == 9 { 1000 } else { 0 }));
        let told = histogram.quantiles(10);
        assert_eq!(told[0], 0.0);
        assert!(told[5] > 900.0, "{told:?}");
        assert_eq!(Histogram::default().quantiles(0), [0.0; 6]);
    }

    #[test]
    fn a_value_is_forgotten_when_its_window_was_turned_over_twice() {
        let (histogram, window) = (Histogram::default(), Window::default());
        histogram.record(window.open(), 50);
        window.turn(|next| histogram.clear(next));
        histogram.record(window.open(), 70);
        assert_eq!(histogram.recorded(), 2);
        window.turn(|next| histogram.clear(next));
        assert_eq!(histogram.recorded(), 1);
        window.turn(|next| histogram.clear(next));
        assert_eq!(histogram.recorded(), 0);
    }
}
