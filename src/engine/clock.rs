//! The clock of the engine: it never runs backwards, and does not follow a wall clock that jumps.
//!
//! ```text
//!   wall clock    12:00:00  12:00:01  11:00:02+23 h   …  +60 s   …
//!   boot clock           0         1              2   …     62   …
//!   changes          taken     taken        refused       taken
//!   reads use         wall      wall    boot clock, on    wall
//!                                       from 12:00:01
//! ```
//!
//! The boot clock counts evenly and is never set, so that a difference between the two is a step of
//! the wall clock. One wrong clock must not poison the file: a commit stamped with next year would
//! keep `now` there for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Reading, whole_seconds};
use bookd_core::time::{DAY, Instant, MINUTE};

/// A clock that is further behind the last commit is logged; in seconds.
pub const CLOCK_BEHIND_LOGGED: i64 = 5;
/// A clock that is further ahead of the last commit at the start is not believed at first; in
/// seconds.
pub const CLOCK_AHEAD_MAX: i64 = DAY;
/// A larger step of the wall clock against the boot clock, in either direction, is a jump; in
/// seconds.
pub const CLOCK_JUMP_MAX: i64 = MINUTE;
/// A clock that is not believed is believed again after it has run steadily for this long.
pub const CLOCK_STEADY: Duration = Duration::from_secs(60);
/// The writer reads the clock at least this often, so that a jump is logged even when nobody
/// writes.
pub(super) const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// The believed clock, by which reads see expiries and the writer stamps changes.
pub(super) struct EngineClock {
    pub(super) clock: Arc<dyn Clock>,
    /// The time of the boot by the believed wall clock, in seconds UTC.
    boot_time: AtomicI64,
    /// Whether the writer refuses changes because of the clock.
    pub(super) is_in_doubt: AtomicBool,
}

impl EngineClock {
    /// Starts by believing the wall clock.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let boot_time = AtomicI64::new(clock.read().boot_time().seconds());
        Self {
            clock,
            boot_time,
            is_in_doubt: AtomicBool::new(false),
        }
    }

    /// The wall clock or, while it is further than a jump from the expected time, the expected
    /// time.
    pub(super) fn now(&self) -> Instant {
        self.time_of(self.clock.read())
    }

    /// Whether the writer refuses changes because of the clock.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed)
    }

    /// The believed time of a reading.
    pub(super) fn time_of(&self, reading: Reading) -> Instant {
        if is_jump(self.offset(reading)) {
            self.expected(reading)
        } else {
            reading.wall
        }
    }

    /// The time that the wall clock would show had it not jumped: boot time plus uptime.
    pub(super) fn expected(&self, reading: Reading) -> Instant {
        self.boot_time().plus(whole_seconds(reading.uptime))
    }

    /// How far the wall clock is ahead of the expected time, in seconds.
    fn offset(&self, reading: Reading) -> i64 {
        reading.boot_time().since(self.boot_time())
    }

    fn boot_time(&self) -> Instant {
        Instant::from_seconds(self.boot_time.load(Ordering::Relaxed))
    }

    /// Believes the wall clock of this reading.
    pub(super) fn believe(&self, reading: Reading) {
        self.boot_time
            .store(reading.boot_time().seconds(), Ordering::Relaxed);
    }
}

/// Whether a step of the wall clock, in seconds, is a jump.
pub(super) fn is_jump(step: i64) -> bool {
    step.saturating_abs() > CLOCK_JUMP_MAX
}
