//! Figures of the engine: what the writer committed, how long it took, and what it was refused.
//!
//! The writer and the watches count; whoever reads the figures asks neither of them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bookd_metrics::{COUNT_BOUNDS, Counter, DURATION_BOUNDS, Gauge, Histogram};
use tokio::time::Instant as Deadline;

use crate::store::StoreError;

/// After a refusal of the store the engine counts as refusing for this long, unless a commit goes
/// well before. A server that is told to take no calls commits nothing, so that no commit could end
/// a state without an end.
const REFUSING: Duration = Duration::from_secs(30);

/// Why the store refused changes, in words for a person who looks.
const REFUSALS: [&str; 6] = [
    "disk full",
    "store is read-only",
    "no file descriptor is left",
    "store is locked by another program",
    "disk failed",
    "store refuses",
];

/// The number of an error in `REFUSALS`.
fn refusal_number(error: &StoreError) -> u8 {
    match error {
        StoreError::Full => 0,
        StoreError::ReadOnly => 1,
        StoreError::Descriptors => 2,
        StoreError::Busy => 3,
        StoreError::Io(_) => 4,
        _ => 5,
    }
}

/// The figures of one engine.
#[derive(Debug)]
pub struct EngineMetrics {
    began: Deadline,
    /// How long commits took that went well: the transaction until it is on disk.
    pub(crate) commits: Histogram,
    /// Commits that the store refused. Nothing of them happened.
    pub(crate) commits_refused: Counter,
    /// The number of commands that were decided together, of batches with commands.
    pub(crate) batch_commands: Histogram,
    /// Batches that were slow to decide.
    pub(crate) stalls: Counter,
    /// Commands that the writer has taken from the mailbox and not decided yet.
    pub(crate) queued: Gauge,
    /// Calendars that met damage and are not written to until a restart.
    pub(crate) damaged_calendars: Gauge,
    /// Watches that were cut because they were too slow.
    pub(crate) watches_lagged: Counter,
    /// When the writer looked for work last, in milliseconds since `began`.
    looked: AtomicU64,
    /// When the store last refused a change, in milliseconds since `began` plus one; 0 = the last
    /// commit went well.
    refused: AtomicU64,
    /// The number in `REFUSALS` of what was refused then.
    refused_why: AtomicU8,
}

impl EngineMetrics {
    pub(super) fn new() -> Self {
        Self {
            began: Deadline::now(),
            commits: Histogram::new(DURATION_BOUNDS),
            commits_refused: Counter::default(),
            batch_commands: Histogram::new(COUNT_BOUNDS),
            stalls: Counter::default(),
            queued: Gauge::default(),
            damaged_calendars: Gauge::default(),
            watches_lagged: Counter::default(),
            looked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_why: AtomicU8::new(0),
        }
    }

    fn milliseconds(&self, now: Deadline) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes that the writer looks for work, which it does at least once a second.
    pub(super) fn note_look(&self, now: Deadline) {
        self.looked.store(self.milliseconds(now), Relaxed);
    }

    /// How long ago the writer looked for work last.
    pub fn silence(&self, now: Deadline) -> Duration {
        Duration::from_millis(
            self.milliseconds(now)
                .saturating_sub(self.looked.load(Relaxed)),
        )
    }

    /// Notes a commit that went well.
    pub(super) fn note_commit(&self, took: Duration) {
        self.commits.observe_duration(took);
        self.refused.store(0, Relaxed);
    }

    /// Notes that the store refused changes. Damage is of some calendars, and the store takes
    /// changes of the others all the same.
    pub(super) fn note_refused(&self, error: &StoreError, now: Deadline) {
        self.commits_refused.increment();
        if error.is_damage() {
            return;
        }
        self.refused_why.store(refusal_number(error), Relaxed);
        let at = self.milliseconds(now).saturating_add(1);
        self.refused.store(at, Relaxed);
    }

    /// Why the store refuses changes, if it has refused one lately and taken none since.
    pub fn refusing(&self, now: Deadline) -> Option<&'static str> {
        let at = self.refused.load(Relaxed).checked_sub(1)?;
        let since = self.milliseconds(now).saturating_sub(at);
        let why = usize::from(self.refused_why.load(Relaxed));
        (u128::from(since) < REFUSING.as_millis()).then(|| REFUSALS[why])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refused_refuses_until_it_takes_a_change_or_half_a_minute_is_over() {
        let metrics = EngineMetrics::new();
        let refusing = || metrics.refusing(Deadline::now());
        assert_eq!(refusing(), None);
        metrics.note_refused(&StoreError::Full, Deadline::now());
        assert_eq!(refusing(), Some("disk full"));
        metrics.note_commit(Duration::from_millis(1));
        assert_eq!(refusing(), None);
        metrics.note_refused(&StoreError::Other("no".to_owned()), Deadline::now());
        assert_eq!(refusing(), Some("store refuses"));
        tokio::time::advance(REFUSING).await;
        assert_eq!(refusing(), None);
        metrics.note_refused(&StoreError::Damaged("a page".to_owned()), Deadline::now());
        assert_eq!(refusing(), None, "the others are served");
        assert_eq!(metrics.commits_refused.value(), 3);
        assert_eq!(metrics.commits.values().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_is_silent_since_it_looked_for_work_last() {
        let metrics = EngineMetrics::new();
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(metrics.silence(Deadline::now()), second);
        metrics.note_look(Deadline::now());
        tokio::time::advance(2 * second).await;
        assert_eq!(metrics.silence(Deadline::now()), 2 * second);
    }
}
