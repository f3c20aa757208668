//! The signals that tell a process to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::descriptors;

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    pub fn new() -> Result<Self, String> {
        let terminate =
            signal(SignalKind::terminate()).map_err(|error| descriptors::told(&error, ""))?;
        let interrupt =
            signal(SignalKind::interrupt()).map_err(|error| descriptors::told(&error, ""))?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    /// Waits for the next one; answers what the log says of it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "interrupted",
        }
    }
}
