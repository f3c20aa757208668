//! The writer's clock: it never runs backwards, and does not believe a clock that is suddenly a day ahead.
//!
//! One wrong clock must not poison the file: a commit stamped with next year would keep `now` there for ever.

use std::time::Duration;

use tokio::time::Instant as Monotonic;

use crate::domain::time::{DAY, Instant};

/// A clock further behind the last commit than this is logged and counted, in seconds.
pub const CLOCK_BEHIND_LOGGED: i64 = 5;
/// A clock further ahead of the last commit than this is not believed at first, in seconds.
pub const CLOCK_AHEAD_MAX: i64 = DAY;
/// A clock that is far ahead is believed after running steadily for so long.
pub const CLOCK_STEADY: Duration = Duration::from_secs(60);

/// How far the clock and the machine's steady time may drift apart before the clock counts as unsteady, in seconds.
const DRIFT_MAX: i64 = 5;

pub(super) struct WriterClock {
    is_confirmed: bool,
    /// Since when the clock has run as the machine's steady time does: what both showed then.
    anchor: Option<(Instant, Monotonic)>,
    is_behind: bool,
}

/// The clock is more than a day ahead of the last commit, and nobody has confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock shows {clock}, more than a day after the last commit at {last}; writing goes on after {} seconds of \
     steady running, or at once with --confirm-clock", CLOCK_STEADY.as_secs()
)]
pub(super) struct ClockSuspect {
    clock: Instant,
    last: Instant,
}

impl WriterClock {
    pub(super) fn new(is_confirmed: bool) -> Self {
        Self { is_confirmed, anchor: None, is_behind: false }
    }

    /// `now` for a batch: `max(last, clock)`. An empty store, whose last commit is at the epoch, believes any clock, and
    /// a process that has been running steadily may have been idle for as long as it likes.
    pub(super) fn now(&mut self, clock: Instant, last: Instant, steady: Monotonic) -> Result<Instant, ClockSuspect> {
        self.note_behind(clock, last);
        let (seen, since) = *self.anchor.get_or_insert((clock, steady));
        let run = steady.duration_since(since);
        let drift = clock.since(seen) - i64::try_from(run.as_secs()).unwrap_or(i64::MAX);
        let is_steady = drift.abs() <= DRIFT_MAX;
        if !is_steady {
            self.anchor = Some((clock, steady));
        }
        let is_first = last == Instant::default();
        let is_near = clock.since(last) <= CLOCK_AHEAD_MAX;
        if self.is_confirmed || is_first || is_near || (is_steady && run >= CLOCK_STEADY) {
            return Ok(clock.max(last));
        }
        Err(ClockSuspect { clock, last })
    }

    fn note_behind(&mut self, clock: Instant, last: Instant) {
        let is_behind = last.since(clock) > CLOCK_BEHIND_LOGGED;
        if is_behind && !self.is_behind {
            tracing::warn!(%clock, %last, "the clock is behind the last commit; time stands still until it catches up");
        }
        self.is_behind = is_behind;
    }
}
