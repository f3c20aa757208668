//! The only file that reads the system's clocks; all other code is given its `now`.
//!
//! Each reading has two clocks: the wall clock, which people and programs set, and the time since
//! the boot, which is never set. A jump of the wall clock shows in the difference between the two.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bookd_core::time::Instant;

/// A reading of both clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The wall clock, in whole seconds UTC. It may jump.
    pub wall: Instant,
    /// The time since the boot, suspension included. It never jumps; only differences of it have a
    /// meaning.
    pub uptime: Duration,
}

impl Reading {
    /// The time of the boot by the wall clock. It stays the same, to a second, as long as the wall
    /// clock does not jump.
    pub fn boot_time(self) -> Instant {
        self.wall.plus(-whole_seconds(self.uptime))
    }
}

/// The whole seconds of a duration.
pub(crate) fn whole_seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::MAX)
}

/// A source of time. The wall clock may jump; the writer ensures that its `now` does not follow at
/// once, and never runs backwards.
pub trait Clock: Send + Sync {
    /// Reads both clocks.
    fn read(&self) -> Reading;

    /// Reads the wall clock.
    fn now(&self) -> Instant {
        self.read().wall
    }
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The number of attempts to read both clocks at one moment: a process may be stopped between the
/// two readings.
const READINGS_MAX: usize = 4;
/// The clocks count as read at one moment when at most this time passed between the readings.
const ONE_MOMENT: Duration = Duration::from_secs(1);

impl SystemClock {
    /// The time now as the system has it, for those who show it to other programs.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that may ask the system for the time"
    )]
    pub fn system_time(self) -> SystemTime {
        SystemTime::now()
    }

    /// Milliseconds since 1970, for numbers that must not repeat.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that may ask the system for the time"
    )]
    pub fn milliseconds(self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        let mut before = uptime();
        for _ in 1..READINGS_MAX {
            let (wall, after) = (self.now(), uptime());
            if after.saturating_sub(before) <= ONE_MOMENT {
                return Reading {
                    wall,
                    uptime: after,
                };
            }
            before = after;
        }
        Reading {
            wall: self.now(),
            uptime: uptime(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_seconds(self.milliseconds().div_euclid(1_000))
    }
}

/// The boot clock, which counts suspension.
#[cfg(target_os = "linux")]
fn uptime() -> Duration {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(up).unwrap_or_default()
}

/// The monotonic clock, counted from the first reading. It may stand still while the machine is
/// suspended: then the wall clock seems to have jumped ahead. A jump before the first reading does
/// not show.
#[cfg(not(target_os = "linux"))]
fn uptime() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// Clocks that stand still until they are moved.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Reading>>);

impl ManualClock {
    /// A machine whose wall clock shows `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Reading {
            wall: now,
            uptime: Duration::ZERO,
        })))
    }

    /// Lets time pass until the wall clock shows `now`. To an earlier `now` the wall clock jumps,
    /// and no time passes.
    pub fn set(&self, now: Instant) {
        self.change(|reading| Reading {
            wall: now,
            uptime: later(reading.uptime, now.since(reading.wall)),
        });
    }

    /// Lets seconds pass. A negative number makes the wall clock jump back, and no time passes.
    pub fn advance(&self, seconds: i64) {
        self.change(|Reading { wall, uptime }| Reading {
            wall: wall.plus(seconds),
            uptime: later(uptime, seconds),
        });
    }

    /// Sets the wall clock ahead or back by `seconds`, while no time passes.
    pub fn jump(&self, seconds: i64) {
        self.change(|reading| Reading {
            wall: reading.wall.plus(seconds),
            ..reading
        });
    }

    fn change(&self, changed: impl FnOnce(Reading) -> Reading) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *reading = changed(*reading);
    }
}

fn later(uptime: Duration, seconds: i64) -> Duration {
    uptime.saturating_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

impl Clock for ManualClock {
    fn read(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
