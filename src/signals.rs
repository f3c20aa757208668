//! The signals that stop a process, SIGTERM and SIGINT, and the one that has it read its files
//! again, SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::descriptors;

/// The stream of stop signals of this process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to receive the signals, which no longer end the process by themselves.
    pub fn new() -> Result<Self, String> {
        let terminate =
            signal(SignalKind::terminate()).map_err(|error| descriptors::message(&error, ""))?;
        let interrupt =
            signal(SignalKind::interrupt()).map_err(|error| descriptors::message(&error, ""))?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    /// Waits for the next signal. Returns its name for the log.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "interrupted",
        }
    }
}

/// The stream of the SIGHUPs of this process.
pub struct Hangups {
    hangup: Signal,
}

impl Hangups {
    /// Starts to receive the signal, which no longer ends the process by itself.
    pub fn new() -> Result<Self, String> {
        let hangup =
            signal(SignalKind::hangup()).map_err(|error| descriptors::message(&error, ""))?;
        Ok(Self { hangup })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        // The stream never ends.
        self.hangup.recv().await;
    }
}
