//! Forgets changes that are older than they are kept: a few at a time, between batches.
//!
//! Each step is a commit of its own, so that nobody waits for more than one of them.

use crate::store::{CommitError, Store, StoreError};
use bookd_core::time::Instant;

/// Changes that one step forgets at most: twice what a batch brings, so that forgetting wins.
const STEP_CHANGES_MAX: usize = 2 * super::BATCH_MAX;
/// Seconds until the next look when there is nothing old left, or the store refused.
const PAUSE: i64 = 60;

pub(super) struct Compaction {
    /// Seconds.
    keep: i64,
    /// When there may be something to forget.
    pub(super) due: Instant,
}

impl Compaction {
    /// Keeps changes for so many seconds.
    pub(super) fn new(keep: i64) -> Self {
        Self { keep: keep.max(super::KEEP_CHANGES_MIN), due: Instant::default() }
    }

    /// Forgets some. An error is damage; what the store merely refuses is tried again later. False when nobody knows
    /// what is on disk.
    pub(super) fn step(&mut self, store: &mut dyn Store, now: Instant) -> Result<bool, StoreError> {
        let before = now.plus(-self.keep);
        let soon = now.plus(PAUSE);
        match store.compact_changes(before, STEP_CHANGES_MAX) {
            // The last change stays, however old it is; and what is left may be old as well.
            Ok(oldest) => {
                let next = oldest.map_or(soon, |it| it.time.plus(self.keep + 1));
                let is_cut = oldest.is_some_and(|it| it.is_followed) && next <= now;
                self.due = if is_cut { now } else { next.max(soon) };
                Ok(true)
            }
            Err(CommitError::Unknown(error)) => {
                tracing::error!(%error, "old changes could not be removed, and the disk failed");
                Ok(false)
            }
            Err(error) => {
                let error = error.into_store_error();
                self.due = soon;
                tracing::warn!(%error, "old changes could not be removed");
                if error.is_fatal() { Err(error) } else { Ok(true) }
            }
        }
    }
}
