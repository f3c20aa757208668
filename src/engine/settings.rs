//! How an engine runs: where, and with which limits.

use super::deletion::Slices;
use crate::layout::Layout;
use crate::log::WatchSettings;

/// How many commands may wait for the writer to take them up, and as many more for their turn. A full mailbox refuses at once: waiting longer than this many decisions helps nobody.
pub const MAILBOX_MAX: usize = 8_192;
/// How many commands share a commit at most: bounds what a failed commit takes with it, and how long readers wait.
pub const BATCH_MAX: usize = 1_024;
/// How many calendars stay in memory; the least recently used beyond are dropped and come back on demand.
pub const CALENDARS_IN_MEMORY_MAX: usize = 200_000;

/// What the engine needs to know when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How it runs.
    pub layout: Layout,
    /// The operator says that the clock is right at the start, though it is far ahead of the last commit. What it jumps
    /// afterwards is not confirmed by that.
    pub is_clock_confirmed: bool,
    /// See `MAILBOX_MAX`.
    pub mailbox_max: usize,
    /// See `CALENDARS_IN_MEMORY_MAX`.
    pub calendars_in_memory_max: usize,
    /// How long changes are kept, in seconds; none = for ever. At least `log::retention::KEEP_CHANGES_MIN`.
    pub keep_changes: Option<i64>,
    /// How changes are told to watchers.
    pub watch: WatchSettings,
    /// Dry runs, and large commands that may be refused, are decided beside the writer. Proofs ask the writer, too: what
    /// it has in memory shows in its own decisions alone.
    pub decides_beside: bool,
    /// How calendars with many appointments are deleted.
    pub slices: Slices,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layout: Layout::Threads,
            is_clock_confirmed: false,
            mailbox_max: MAILBOX_MAX,
            calendars_in_memory_max: CALENDARS_IN_MEMORY_MAX,
            keep_changes: None,
            watch: WatchSettings::default(),
            decides_beside: true,
            slices: Slices::default(),
        }
    }
}
