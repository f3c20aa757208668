//! The settings of an engine: the threads that it uses, and its limits.

use super::deletion::DeletionSettings;
use crate::layout::Layout;
use crate::log::WatchSettings;
use bookd_core::quota::Quotas;

/// The number of commands that the mailbox holds; as many more may wait in the writer's queue. A
/// full mailbox refuses at once: waiting longer than this many decisions helps nobody.
pub const MAILBOX_MAX: usize = 8_192;
/// The largest number of commands that share a commit. It bounds what one failed commit undoes, and
/// how long readers wait.
pub const BATCH_MAX: usize = 1_024;
/// The number of calendars that stay in memory. Beyond it the least recently used are dropped, and
/// loaded again on demand.
pub const CALENDARS_IN_MEMORY_MAX: usize = 200_000;

/// The settings with which an engine starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether it runs on threads of its own.
    pub layout: Layout,
    /// The operator confirms that the clock is right at the start, though it may be far ahead of
    /// the last commit. This does not confirm jumps after the start.
    pub is_clock_confirmed: bool,
    /// The capacity of the mailbox; [`MAILBOX_MAX`] by default.
    pub mailbox_max: usize,
    /// The number of calendars that stay in memory; [`CALENDARS_IN_MEMORY_MAX`] by default.
    pub calendars_in_memory_max: usize,
    /// How long changes are kept, in seconds; none = for ever. At least [`KEEP_CHANGES_MIN`] is
    /// used.
    ///
    /// [`KEEP_CHANGES_MIN`]: crate::log::retention::KEEP_CHANGES_MIN
    pub keep_changes: Option<i64>,
    /// The limits and intervals of watches.
    pub watch: WatchSettings,
    /// Dry runs, and large commands that may be refused, are decided on a snapshot of the store.
    /// The proofs also run without it: only the writer's own decisions show what it has in memory.
    pub decides_on_snapshots: bool,
    /// When and in which slices the calendars with many appointments are deleted.
    pub deletion_settings: DeletionSettings,
    /// How much each tenant may have.
    pub quotas: Quotas,
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
            decides_on_snapshots: true,
            deletion_settings: DeletionSettings::default(),
            quotas: Quotas::default(),
        }
    }
}
