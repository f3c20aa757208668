//! The one place that reads the system's clocks; everything below is handed its `now`.
//!
//! Each reading has two clocks: the wall clock, which people and programs set, and the time since the machine was
//! booted, which nobody sets. A wall clock that jumps is seen by the other one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bookd_core::time::Instant;

/// What both clocks showed at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The wall clock, in whole seconds UTC. It may jump.
    pub wall: Instant,
    /// How long the machine has been up, suspension included. It never jumps; only differences of it mean something.
    pub uptime: Duration,
}

impl Reading {
    /// When the machine was booted, by its wall clock: it stays the same as long as that does not jump, to a second.
    pub fn boot_time(self) -> Instant {
        self.wall.plus(-whole_seconds(self.uptime))
    }
}

/// So many whole seconds.
pub(crate) fn whole_seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::MAX)
}

/// Tells the time. The wall clock may jump; the writer sees to it that its `now` does not follow at once, and never
/// runs backwards.
pub trait Clock: Send + Sync {
    /// What both clocks show.
    fn read(&self) -> Reading;

    /// What the wall clock shows.
    fn now(&self) -> Instant {
        self.read().wall
    }
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A process that is stopped between the readings of the two clocks reads them again, so many times.
const READINGS_MAX: usize = 4;
/// The clocks count as read at one moment when no more than this passed between the readings.
const ONE_MOMENT: Duration = Duration::from_secs(1);

impl SystemClock {
    /// Milliseconds since 1970, for what must not be the same twice.
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

/// The clock of the boot, which counts suspension.
#[cfg(target_os = "linux")]
fn uptime() -> Duration {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(up).unwrap_or_default()
}

/// The monotonic clock, counted from the first reading. It may stand still while the machine is suspended: then the wall
/// clock seems to have jumped ahead afterwards. What happened before the first reading it does not see.
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

    /// Lets time pass until the wall clock shows `now`. Time does not pass backwards: to an earlier `now` it jumps.
    pub fn set(&self, now: Instant) {
        self.change(|reading| Reading {
            wall: now,
            uptime: later(reading.uptime, now.since(reading.wall)),
        });
    }

    /// Lets so many seconds pass; so many back it jumps.
    pub fn advance(&self, seconds: i64) {
        self.change(|Reading { wall, uptime }| Reading {
            wall: wall.plus(seconds),
            uptime: later(uptime, seconds),
        });
    }

    /// Sets the wall clock ahead by so many seconds, or back, while no time passes.
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
