//! Figures of a store: how its checkpoints went, and whether its disk has space.
//!
//! The writer's side of the store counts; whoever reads the figures never asks the store itself.

use bookd_metrics::{Counter, DURATION_BOUNDS, Gauge, Histogram};

/// The figures of one store. All of them stay 0 in a store without a file.
#[derive(Debug)]
pub struct StoreMetrics {
    /// How long the copies of the WAL into the database took, failed ones included.
    pub checkpoints: Histogram,
    /// Copies of the WAL that failed or had no space.
    pub checkpoints_failed: Counter,
    /// 1 while the reserve beside the database is given up.
    pub is_reserve_given_up: Gauge,
    /// 1 from when the disk was full until it has ample space again.
    pub is_disk_short: Gauge,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            checkpoints: Histogram::new(DURATION_BOUNDS),
            checkpoints_failed: Counter::default(),
            is_reserve_given_up: Gauge::default(),
            is_disk_short: Gauge::default(),
        }
    }
}
