//! Forgets changes that are older than they are kept: a few at a time, between batches.
//!
//! Each step is a commit of its own, so that nobody waits for more than one of them.

use crate::store::{CommitError, Store};
use bookd_core::time::Instant;

/// How long changes are kept at least, in seconds: who pages through a list, or was away for a night, must find his place.
pub const KEEP_CHANGES_MIN: i64 = 24 * 60 * 60;
/// Seconds until the next look when there is nothing old left, or the store refused.
const PAUSE: i64 = 60;

pub(crate) struct Retention {
    /// Seconds.
    keep: i64,
    /// Changes that one step forgets at most.
    step_changes_max: usize,
    /// When there may be something to forget.
    pub(crate) due: Instant,
}

impl Retention {
    /// Keeps changes for so many seconds. One step forgets twice what a batch brings at most, so that forgetting wins.
    pub(crate) fn new(keep: i64, batch_changes_max: usize) -> Self {
        Self {
            keep: keep.max(KEEP_CHANGES_MIN),
            step_changes_max: 2 * batch_changes_max,
            due: Instant::default(),
        }
    }

    /// Forgets some. What the store refuses is tried again later.
    pub(crate) fn step(&mut self, store: &mut dyn Store, now: Instant) -> Result<(), CommitError> {
        let before = now.plus(-self.keep);
        let soon = now.plus(PAUSE);
        match store.compact_changes(before, self.step_changes_max) {
            // The last change stays, however old it is; and what is left may be old as well.
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
