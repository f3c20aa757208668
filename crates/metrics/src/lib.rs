//! Counters, gauges and histograms, as plain atomics: whoever counts owns them, and whoever exports
//! them reads them.
//!
//! Counting takes no lock and allocates nothing. The crate knows no names, no labels and no format:
//! these belong to the exporter alone. A reader may see a histogram between two of its additions,
//! so that its sum can be ahead of its buckets by the observations of that moment.

mod histogram;

pub use histogram::{COUNT_BOUNDS, DURATION_BOUNDS, Histogram, HistogramValues};

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds 1.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number; the counter starts again at 0 above `u64::MAX`.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    /// The sum of what was added.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    /// Replaces the number by one that counts things in memory.
    pub fn set_len(&self, number: usize) {
        self.set(u64::try_from(number).unwrap_or(u64::MAX));
    }

    /// Replaces the number by 1 for true and 0 for false.
    pub fn set_flag(&self, is_set: bool) {
        self.set(u64::from(is_set));
    }

    /// Adds 1.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Subtracts 1, after an `increment`.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_and_gauges_are_what_they_were_last_set_to() {
        let (counter, gauge) = (Counter::default(), Gauge::default());
        counter.increment();
        counter.add(41);
        assert_eq!(counter.value(), 42);
        gauge.set(7);
        gauge.increment();
        assert_eq!(gauge.value(), 8);
        gauge.decrement();
        gauge.decrement();
        assert_eq!(gauge.value(), 6);
        gauge.set_len(3);
        assert_eq!(gauge.value(), 3);
        gauge.set_flag(true);
        assert_eq!(gauge.value(), 1);
        gauge.set_flag(false);
        assert_eq!(gauge.value(), 0);
    }
}
