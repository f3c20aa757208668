//! Whether the process is alive, and whether it is ready for calls.
//!
//! A process that is not alive does not come back by itself: it is to be started again. One that is
//! not ready is to get no calls for now. While the server drains it is alive, so that nobody cuts
//! the drain short.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bookd_transport::Liveness;
use tokio::time::Instant as Deadline;

use crate::engine::EngineStatus;

/// Writer and workers count as stuck after so long a silence: far longer than any of them is busy
/// with one thing on a machine that works, and shorter than people wait.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What probes are answered by.
pub(super) struct Health {
    pub(super) engine: EngineStatus,
    workers: Liveness,
    is_draining: AtomicBool,
    silence_max: Duration,
}

impl Health {
    /// The health of a service with this engine and these workers, which count as stuck after a
    /// silence of `silence_max`.
    pub(super) fn new(engine: EngineStatus, workers: Liveness, silence_max: Duration) -> Self {
        Self {
            engine,
            workers,
            is_draining: AtomicBool::new(false),
            silence_max,
        }
    }

    /// Notes that the server drains, from which on it is never ready again.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, SeqCst);
    }

    /// Asks the workers for a sign of life. The writer gives one by itself.
    pub(super) fn ask(&self, now: Deadline) {
        self.workers.ask(now);
    }

    /// Whether the process responds; an error says what does not.
    pub(super) fn alive(&self, now: Deadline) -> Result<(), String> {
        if self.is_draining.load(SeqCst) {
            return Ok(());
        }
        if self.engine.mailbox_depth().is_none() {
            return Err("writer stopped".to_owned());
        }
        let silence = self.engine.metrics().silence(now);
        if silence > self.silence_max {
            return Err(stuck("writer", silence));
        }
        match self.workers.silent(now) {
            Some((worker, silence)) if silence > self.silence_max => {
                Err(stuck(&format!("worker {worker}"), silence))
            }
            _ => Ok(()),
        }
    }

    /// Whether calls are served, those that change something included; an error says why not.
    pub(super) fn ready(&self, now: Deadline) -> Result<(), String> {
        if self.is_draining.load(SeqCst) {
            return Err("draining".to_owned());
        }
        self.alive(now)?;
        if let Some(why) = self.engine.metrics().refusing(now) {
            return Err(why.to_owned());
        }
        if self.engine.is_clock_in_doubt() {
            return Err("clock not confirmed".to_owned());
        }
        Ok(())
    }
}

fn stuck(who: &str, silence: Duration) -> String {
    format!("{who} stuck for {} s", silence.as_secs())
}
