//! The retry schedule of calls that are not let in: one after the other, and within seconds.
//!
//! No two clients of one round get the same time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest delay after which a client is asked to retry.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest delay after which a client is asked to retry.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// The time between two retries: clients with one common time would come back together and be
/// refused together.
const RETRY_APART: Duration = Duration::from_micros(250);

/// Gives each refused call a time of its own to retry.
#[derive(Debug)]
pub(crate) struct RetrySchedule {
    begin: Instant,
    /// The latest time that was given, in microseconds since `begin`.
    last: AtomicU64,
}

impl RetrySchedule {
    pub(crate) fn new(begin: Instant) -> Self {
        Self {
            begin,
            last: AtomicU64::new(0),
        }
    }

    /// The delay until the next free time.
    pub(crate) fn next(&self, now: Instant) -> Duration {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let now = micros(now - self.begin);
        let (first, last) = (now + micros(RETRY_MIN), now + micros(RETRY_MAX));
        // A full schedule begins again at its first time, so that the times of two rounds may
        // coincide.
        let slot = |before: u64| {
            if before >= last {
                first
            } else {
                first.max(before + micros(RETRY_APART))
            }
        };
        let before = self
            .last
            .fetch_update(Relaxed, Relaxed, |before| Some(slot(before)));
        Duration::from_micros(slot(before.unwrap_or(0)) - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_gets_a_turn_of_its_own_within_seconds() {
        let begin = Instant::now();
        let schedule = RetrySchedule::new(begin);
        assert_eq!(
            [schedule.next(begin), schedule.next(begin)],
            [RETRY_MIN, RETRY_MIN + RETRY_APART]
        );
        let a_round = ((RETRY_MAX - RETRY_MIN).as_micros() / RETRY_APART.as_micros()) as usize;
        let all: Vec<Duration> = (0..3 * a_round).map(|_| schedule.next(begin)).collect();
        assert!(all.iter().all(|it| (RETRY_MIN..=RETRY_MAX).contains(it)));
        assert!(
            all.iter().filter(|it| **it == RETRY_MIN).count() <= 3,
            "no two of one round at one time"
        );
        let later = begin + 2 * RETRY_MAX;
        assert_eq!(
            schedule.next(later),
            RETRY_MIN,
            "a call after the rush does not wait for the rush"
        );
    }
}
