//! A histogram of counts by powers of two, each cut into four: what openraft keeps of its batch sizes and latencies.
//!
//! Has the names that openraft asks of the published crate `base2histogram`, and none of its tables: README.md says why.

use std::fmt;
use std::marker::PhantomData;

/// Bits of a value that are kept below its highest one.
const STEP_BITS: u32 = 2;
const STEPS: u64 = 1 << STEP_BITS;

/// Counts of values, exact below 8 and within a quarter of themselves above.
pub struct Histogram<T = ()> {
    /// By bucket; as long as the largest value seen needs.
    counts: Vec<u64>,
    samples: u64,
    /// openraft names the type with the parameter that the published crate has for labels.
    label: PhantomData<T>,
}

impl<T> Histogram<T> {
    pub fn new() -> Histogram<T> {
        Histogram { counts: Vec::new(), samples: 0, label: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// The same value, so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let bucket = bucket_of(value);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += times;
        self.samples += times;
    }

    /// How many values were recorded.
    pub fn total(&self) -> u64 {
        self.samples
    }

    /// The least value of the bucket below whose end lie so many thousandths of all values; 0 without values.
    pub fn per_mille(&self, per_mille: u64) -> u64 {
        let wanted = (u128::from(self.samples) * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= wanted
        });
        found.map_or(0, least_of)
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.samples,
            p0_1: self.per_mille(1),
            p1: self.per_mille(10),
            p5: self.per_mille(50),
            p10: self.per_mille(100),
            p50: self.per_mille(500),
            p90: self.per_mille(900),
            p99: self.per_mille(990),
            p99_9: self.per_mille(999),
        }
    }
}

// By hand, because a derive would ask the same of T.
impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> Clone for Histogram<T> {
    fn clone(&self) -> Histogram<T> {
        Histogram { counts: self.counts.clone(), samples: self.samples, label: PhantomData }
    }
}

impl<T> PartialEq for Histogram<T> {
    fn eq(&self, other: &Histogram<T>) -> bool {
        self.counts == other.counts
    }
}

impl<T> Eq for Histogram<T> {}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.percentile_stats(), f)
    }
}

/// Values below which lie so many percent of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "{samples} values, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

/// Histograms by name, shown one a line.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl AsciiChart {
    pub fn new() -> AsciiChart {
        AsciiChart::default()
    }

    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> AsciiChart {
        self.series.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series
            .iter()
            .try_for_each(|(name, histogram)| writeln!(f, "{name}: {}", histogram.percentile_stats()))
    }
}

fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

fn least_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    (bucket - shift * STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for value in powers.chain(0..5_000).chain([u64::MAX]) {
            let bucket = bucket_of(value);
            assert!(least_of(bucket) <= value, "{value}");
            assert!(
                value == u64::MAX || least_of(bucket_of(value + 1)) > value || bucket == bucket_of(value + 1)
            );
            assert!(value - least_of(bucket) <= value / STEPS, "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), 251);
    }

    #[test]
    fn percentiles_are_near_the_truth() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        (1..=1000).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!((histogram.total(), stats.samples), (1000, 1000));
        assert_eq!((stats.p0_1, stats.p1, stats.p50, stats.p99), (1, 10, 448, 896));
    }
}
