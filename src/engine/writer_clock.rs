//! The writer's clock: it never runs backwards, and does not believe a clock that is suddenly a day ahead.
//!
//! One wrong clock must not poison the file: a commit stamped with next year would keep `now` there for ever.

use std::time::Duration;

use tokio::time::Instant as Monotonic;

use crate::domain::time::{DAY, Instant};
use crate::sabotage::Bug;

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
            return Ok(if Bug::ClockRunsBack.is_on() { clock } else { clock.max(last) });
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Instant = Instant::from_seconds(1_800_000_000);

    #[test]
    fn now_never_runs_backwards() {
        let mut clock = WriterClock::new(false);
        let steady = Monotonic::now();
        assert_eq!(clock.now(LAST.plus(-3_600), LAST, steady), Ok(LAST));
        assert_eq!(clock.now(LAST.plus(7), LAST, steady), Ok(LAST.plus(7)));
    }

    #[test]
    fn a_clock_a_day_ahead_is_believed_after_a_minute_of_steady_running_and_not_before() {
        let mut clock = WriterClock::new(false);
        let (far, steady) = (LAST.plus(CLOCK_AHEAD_MAX + 1), Monotonic::now());
        assert!(clock.now(far, LAST, steady).is_err());
        assert!(clock.now(far.plus(59), LAST, steady + Duration::from_secs(59)).is_err());
        assert_eq!(clock.now(far.plus(60), LAST, steady + CLOCK_STEADY), Ok(far.plus(60)));
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_of_a_steady_run_must_run_steadily_again() {
        let mut clock = WriterClock::new(false);
        let (steady, run) = (Monotonic::now(), Duration::from_secs(3_600));
        assert!(clock.now(LAST, LAST, steady).is_ok());
        let far = LAST.plus(400 * DAY);
        assert!(clock.now(far, LAST, steady + run).is_err());
        assert!(clock.now(far.plus(60), LAST, steady + run + CLOCK_STEADY).is_ok());
    }

    #[test]
    fn an_idle_weekend_an_empty_store_and_a_confirmed_clock_are_believed_at_once() {
        let steady = Monotonic::now();
        let mut idle = WriterClock::new(false);
        assert!(idle.now(LAST, LAST, steady).is_ok());
        assert!(idle.now(LAST.plus(3 * DAY), LAST, steady + Duration::from_secs(3 * 86_400)).is_ok());
        assert!(WriterClock::new(false).now(LAST, Instant::default(), steady).is_ok());
        assert!(WriterClock::new(true).now(LAST.plus(9 * DAY), LAST, steady).is_ok());
    }
}
