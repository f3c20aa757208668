//! The clock of the engine: it never runs backwards, and does not believe a wall clock that jumps.
//!
//! ```text
//!   wall clock    12:00:00  12:00:01  11:00:02+23 h   …  +60 s   …
//!   boot clock           0         1              2   …     62   …
//!   changes          taken     taken        refused       taken
//!   reads go by       wall      wall    boot clock, on    wall
//!                                       from 12:00:01
//! ```
//!
//! The boot clock counts evenly and nobody sets it, so a step of the wall clock against it is a step of the wall clock.
//! One wrong clock must not poison the file: a commit stamped with next year would keep `now` there for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Reading, whole_seconds};
use bookd_core::time::{DAY, Instant, MINUTE};

/// A clock further behind the last commit than this is logged, in seconds.
pub const CLOCK_BEHIND_LOGGED: i64 = 5;
/// A clock that is further ahead of the last commit at the start is not believed at first, in seconds.
pub const CLOCK_AHEAD_MAX: i64 = DAY;
/// A step of the wall clock against the clock of the boot that is larger than this, either way, is a jump; in seconds.
pub const CLOCK_JUMP_MAX: i64 = MINUTE;
/// A clock that is not believed is believed after it has run steadily for so long.
pub const CLOCK_STEADY: Duration = Duration::from_secs(60);
/// The writer looks at the clock at least so often, so that a jump is logged though nobody writes.
pub(super) const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// The clock as far as it is believed: what reads go by, and what the writer stamps on changes.
pub(super) struct EngineClock {
    pub(super) clock: Arc<dyn Clock>,
    /// When the machine was booted, by the wall clock that is believed; in seconds.
    boot_time: AtomicI64,
    /// Whether the writer refuses changes for the clock.
    pub(super) is_in_doubt: AtomicBool,
}

impl EngineClock {
    /// Believes what the clock shows.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let boot_time = AtomicI64::new(clock.read().boot_time().seconds());
        Self {
            clock,
            boot_time,
            is_in_doubt: AtomicBool::new(false),
        }
    }

    /// The wall clock or, while it is further than a jump from where it must be, the clock of the boot.
    pub(super) fn now(&self) -> Instant {
        self.time_of(self.clock.read())
    }

    /// Whether the writer refuses changes for the clock.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed)
    }

    pub(super) fn time_of(&self, reading: Reading) -> Instant {
        if is_jump(self.off(reading)) {
            self.expected(reading)
        } else {
            reading.wall
        }
    }

    /// What the wall clock would show had it not jumped.
    pub(super) fn expected(&self, reading: Reading) -> Instant {
        self.boot_time().plus(whole_seconds(reading.uptime))
    }

    /// How far the wall clock is from where it must be, in seconds; positive when it is ahead.
    fn off(&self, reading: Reading) -> i64 {
        reading.boot_time().since(self.boot_time())
    }

    fn boot_time(&self) -> Instant {
        Instant::from_seconds(self.boot_time.load(Ordering::Relaxed))
    }

    pub(super) fn believe(&self, reading: Reading) {
        self.boot_time
            .store(reading.boot_time().seconds(), Ordering::Relaxed);
    }
}

pub(super) fn is_jump(step: i64) -> bool {
    step.saturating_abs() > CLOCK_JUMP_MAX
}
