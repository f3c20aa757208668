//! When those come again who are not let in: one after the other, and within seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// After what time at least whoever is not let in is asked to come again.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// After what time at most whoever is not let in is asked to come again.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// What lies between two of them: told one time, all would come back together, and be refused together.
const RETRY_APART: Duration = Duration::from_micros(250);

/// When those come again who were not let in: one after the other.
#[derive(Debug)]
pub(crate) struct RetrySchedule {
    begin: Instant,
    /// The last turn that was given away, in microseconds since the beginning.
    last: AtomicU64,
}

impl RetrySchedule {
    pub(crate) fn new(begin: Instant) -> Self {
        Self {
            begin,
            last: AtomicU64::new(0),
        }
    }

    /// How long until a turn of its own.
    pub(crate) fn next(&self, now: Instant) -> Duration {
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let now = micros(now - self.begin);
        let (first, last) = (now + micros(RETRY_MIN), now + micros(RETRY_MAX));
        // Behind the last one there is no order any more.
        let turn = |before: u64| {
            if before >= last {
                first
            } else {
                first.max(before + micros(RETRY_APART))
            }
        };
        let before = self
            .last
            .fetch_update(Relaxed, Relaxed, |before| Some(turn(before)));
        Duration::from_micros(turn(before.unwrap_or(0)) - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_gets_a_turn_of_its_own_within_seconds() {
        let begin = Instant::now();
        let turns = RetrySchedule::new(begin);
        assert_eq!(
            [turns.next(begin), turns.next(begin)],
            [RETRY_MIN, RETRY_MIN + RETRY_APART]
        );
        let a_round = ((RETRY_MAX - RETRY_MIN).as_micros() / RETRY_APART.as_micros()) as usize;
        let all: Vec<Duration> = (0..3 * a_round).map(|_| turns.next(begin)).collect();
        assert!(all.iter().all(|it| (RETRY_MIN..=RETRY_MAX).contains(it)));
        assert!(
            all.iter().filter(|it| **it == RETRY_MIN).count() <= 3,
            "no two of one round at one time"
        );
        let later = begin + 2 * RETRY_MAX;
        assert_eq!(
            turns.next(later),
            RETRY_MIN,
            "who comes after the rush need not wait for it"
        );
    }
}
