//! What committed changes mean to readers: the tail of the log in memory, who is told of what, and how long it is kept.

pub(crate) mod registry;
pub mod retention;
pub(crate) mod subscriptions;
pub(crate) mod tail;

use std::time::Duration;

use crate::store::log_reader::PART_EVENTS_MAX;
use tail::TAIL_CHANGES_MAX;

/// How often a watcher is told that it has missed nothing.
pub const PROGRESS: Duration = Duration::from_secs(30);
/// A watcher that does not read for longer is cut.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(60);
/// A watcher that was up to date, and then falls further behind than so many changes, is cut.
pub const LAG_CHANGES_MAX: u64 = 100_000;
/// Watches that are open at a time, of both kinds together.
pub const WATCHES_MAX: usize = 4_096;
/// The slots of one watch are looked for at most once in such a time.
pub(crate) const SLOTS_PAUSE: Duration = Duration::from_millis(100);

/// How changes are told to watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// See `PROGRESS`.
    pub progress: Duration,
    /// See `STALL_MAX`.
    pub stall_max: Duration,
    /// See `LAG_CHANGES_MAX`.
    pub lag_changes_max: u64,
    /// See `WATCHES_MAX`.
    pub watches_max: usize,
    /// See `SLOTS_PAUSE`.
    pub slots_pause: Duration,
    /// See `TAIL_CHANGES_MAX`.
    pub tail_changes_max: usize,
    /// See `PART_EVENTS_MAX`.
    pub part_events_max: usize,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            progress: PROGRESS,
            stall_max: STALL_MAX,
            lag_changes_max: LAG_CHANGES_MAX,
            watches_max: WATCHES_MAX,
            slots_pause: SLOTS_PAUSE,
            tail_changes_max: TAIL_CHANGES_MAX,
            part_events_max: PART_EVENTS_MAX,
        }
    }
}
