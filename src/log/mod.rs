//! The readers' side of the change log: the log tail in memory, the subscriptions of watchers, and
//! the retention of old changes.

pub(crate) mod committed;
pub(crate) mod registry;
pub mod retention;
pub(crate) mod subscriptions;
pub(crate) mod tail;

use std::time::Duration;

use crate::store::log_reader::PART_EVENTS_MAX;
pub use committed::WholeChange;
use tail::TAIL_CHANGES_MAX;

/// The interval of progress marks, which tell a watcher that it has missed nothing.
pub const PROGRESS: Duration = Duration::from_secs(30);
/// A watcher that does not read for longer is cut off.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(60);
/// A watcher that was up to date and then falls behind by more changes is cut off.
pub const LAG_CHANGES_MAX: u64 = 100_000;
/// The largest number of open watches, of appointments and of slots together.
pub const WATCHES_MAX: usize = 4_096;
/// The least time between two searches for the slots of one watch.
pub(crate) const SLOTS_PAUSE: Duration = Duration::from_millis(100);

/// The limits and intervals of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The interval of progress marks; [`PROGRESS`] by default.
    pub progress: Duration,
    /// A watcher that does not read for longer is cut off; a minute by default.
    pub stall_max: Duration,
    /// A current watcher that falls behind by more changes is cut off; [`LAG_CHANGES_MAX`] by
    /// default.
    pub lag_changes_max: u64,
    /// The largest number of open watches; [`WATCHES_MAX`] by default.
    pub watches_max: usize,
    /// The least time between two searches for the slots of one watch; 100 ms by default.
    pub slots_pause: Duration,
    /// The largest number of changes in the log tail.
    pub tail_changes_max: usize,
    /// The largest number of events in one part of a change; [`PART_EVENTS_MAX`] by default.
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
