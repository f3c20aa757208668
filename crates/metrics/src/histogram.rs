//! Histograms: how many observations were at most as large as each of some fixed bounds.
//!
//! An observation adds to exactly one bucket. The bounds never change, so that the histograms of
//! several threads can be added up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of durations, in nanoseconds: 100 µs, in which a small call is answered, to 10 s,
/// the usual deadline.
pub const DURATION_BOUNDS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Upper bounds of numbers of things that are handled together.
pub const COUNT_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// The observations of one kind.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// The observations of each bucket; the last one has those above all bounds.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Without observations. The bounds go up.
    pub fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.is_sorted_by(|one, next| one < next));
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Adds a number.
    pub fn observe(&self, number: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < number);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(number, Relaxed);
    }

    /// Adds a duration, in nanoseconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a number of things in memory.
    pub fn observe_len(&self, number: usize) {
        self.observe(u64::try_from(number).unwrap_or(u64::MAX));
    }

    /// The observations so far.
    pub fn values(&self) -> HistogramValues {
        HistogramValues {
            bounds: self.bounds,
            buckets: self.buckets.iter().map(|it| it.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// The observations of one kind, or of several histograms of that kind, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramValues {
    bounds: &'static [u64],
    buckets: Vec<u64>,
    sum: u64,
}

impl HistogramValues {
    /// Adds the observations of another histogram with the same bounds.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.bounds, other.bounds);
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket = bucket.wrapping_add(*more);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Each bound with the number of observations that are at most as large, and at last no bound
    /// with the number of all observations.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let mut total = 0_u64;
        bounds.zip(&self.buckets).map(move |(bound, bucket)| {
            total = total.wrapping_add(*bucket);
            (bound, total)
        })
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.cumulative().last().map_or(0, |(_, total)| total)
    }

    /// The sum of the observed numbers.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_for_every_bound_that_is_not_below_it() {
        let histogram = Histogram::new(&[1, 10]);
        for number in [0, 1, 2, 10, 11, u64::from(u32::MAX)] {
            histogram.observe(number);
        }
        let values = histogram.values();
        let cumulative: Vec<_> = values.cumulative().collect();
        assert_eq!(cumulative, [(Some(1), 2), (Some(10), 4), (None, 6)]);
        assert_eq!(
            (values.count(), values.sum()),
            (6, 24 + u64::from(u32::MAX))
        );
    }

    #[test]
    fn histograms_of_several_threads_add_up() {
        let (one, other) = (
            Histogram::new(DURATION_BOUNDS),
            Histogram::new(DURATION_BOUNDS),
        );
        one.observe_duration(Duration::from_micros(100));
        one.observe_duration(Duration::from_secs(11));
        other.observe_duration(Duration::from_micros(101));
        let mut all = one.values();
        all.merge(&other.values());
        assert_eq!((all.count(), all.sum()), (3, 11_000_201_000));
        assert_eq!(all.cumulative().next(), Some((Some(100_000), 1)));
        assert_eq!(all.cumulative().nth(1), Some((Some(250_000), 2)));
    }
}
