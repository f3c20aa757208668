//! The signals that stop a process: SIGTERM and SIGINT.

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
