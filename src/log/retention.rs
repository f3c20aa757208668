//! Retention of the change log: removes old changes, a few at a time, between batches.
//!
//! Each step is a commit of its own, so that no command waits for more than one of them.

use crate::store::{CommitError, Store};
use bookd_core::time::Instant;

/// The least time for which changes are kept, in seconds: a client that pages through a list, or
/// was away for a night, must be able to go on.
pub const KEEP_CHANGES_MIN: i64 = 24 * 60 * 60;
/// Seconds until the next step when no old change is left, or the store refused.
const PAUSE: i64 = 60;

/// The state of the removal of old changes.
pub(crate) struct Retention {
    /// How long changes are kept, in seconds.
    keep: i64,
    /// The largest number of changes that one step removes.
    step_changes_max: usize,
    /// When there may be changes to remove.
    pub(crate) due: Instant,
}

impl Retention {
    /// Keeps changes for `keep` seconds. One step removes twice the largest batch, so that removal
    /// keeps up with writing.
    pub(crate) fn new(keep: i64, batch_changes_max: usize) -> Self {
        Self {
            keep: keep.max(KEEP_CHANGES_MIN),
            step_changes_max: 2 * batch_changes_max,
            due: Instant::default(),
        }
    }

    /// Removes some old changes. A step that the store refuses is tried again later.
    pub(crate) fn step(&mut self, store: &mut dyn Store, now: Instant) -> Result<(), CommitError> {
        let before = now.plus(-self.keep);
        let soon = now.plus(PAUSE);
        match store.compact_changes(before, self.step_changes_max) {
            // The last change stays, however old. The oldest one that is left may be old too, when
            // the step was full.
            Ok(oldest) => {
                let next = oldest.map_or(soon, |it| it.time.plus(self.keep + 1));
                let is_cut = oldest.is_some_and(|it| it.is_followed) && next <= now;
                self.due = if is_cut { now } else { next.max(soon) };
                Ok(())
            }
            Err(error) => {
                self.due = soon;
                Err(error)
            }
        }
    }
}
