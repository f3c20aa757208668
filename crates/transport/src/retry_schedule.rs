//! When those come again who are not let in: one after the other, and within seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// After what time whoever is not let in is asked to come again, at least and at most.
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// The longest.
pub const AGAIN_MAX: Duration = Duration::from_secs(5);
/// What lies between two of them: told one time, all would come back together, and be refused together.
const AGAIN_APART: Duration = Duration::from_micros(250);

/// When those come again who were not let in: one after the other.
#[derive(Debug)]
pub struct RetrySchedule {
    begin: Instant,
    /// The last turn that was given away, in microseconds since the beginning.
    last: AtomicU64,
}

impl RetrySchedule {
    /// A schedule that begins now.
    pub fn new(begin: Instant) -> Self {
        Self { begin, last: AtomicU64::new(0) }
    }

    /// How long until a turn of its own.
    pub fn next(&self, now: Instant) -> Duration {
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let now = micros(now - self.begin);
        let (first, last) = (now + micros(AGAIN_MIN), now + micros(AGAIN_MAX));
        // Behind the last one there is no order any more.
        let turn = |before: u64| if before >= last { first } else { first.max(before + micros(AGAIN_APART)) };
        let before = self.last.fetch_update(Relaxed, Relaxed, |before| Some(turn(before)));
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
        assert_eq!([turns.next(begin), turns.next(begin)], [AGAIN_MIN, AGAIN_MIN + AGAIN_APART]);
        let a_round = ((AGAIN_MAX - AGAIN_MIN).as_micros() / AGAIN_APART.as_micros()) as usize;
        let all: Vec<Duration> = (0..3 * a_round).map(|_| turns.next(begin)).collect();
        assert!(all.iter().all(|it| (AGAIN_MIN..=AGAIN_MAX).contains(it)));
        assert!(all.iter().filter(|it| **it == AGAIN_MIN).count() <= 3, "no two of one round at one time");
        let later = begin + 2 * AGAIN_MAX;
        assert_eq!(turns.next(later), AGAIN_MIN, "who comes after the rush need not wait for it");
    }
}
