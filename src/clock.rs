//! The one place that reads the system's clock; everything below is handed its `now`.
//!
//! Two clocks exist: the system's, and one that tests and simulations move by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::Instant;

/// Tells the time in whole seconds UTC. It may jump; the writer sees to it that `now` never runs backwards.
pub trait Clock: Send + Sync {
    /// What the clock shows.
    fn now(&self) -> Instant;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Milliseconds since 1970, for what must not be the same twice.
    #[allow(clippy::disallowed_methods, reason = "the one place that may ask the system for the time")]
    pub fn milliseconds(self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::from_seconds(self.milliseconds().div_euclid(1_000))
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(AtomicI64::new(now.seconds())))
    }

    /// Moves it to `now`, forwards or backwards.
    pub fn set(&self, now: Instant) {
        self.0.store(now.seconds(), Ordering::SeqCst);
    }

    /// Moves it on by so many seconds.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_seconds(self.0.load(Ordering::SeqCst))
    }
}
