//! The signals of a process: SIGTERM and SIGINT, which stop it, and SIGHUP, after which it reads its
//! configuration and its files again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::descriptors;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// To stop; with the name of the signal.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals of this process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to receive the signals, which no longer end the process by themselves.
    pub fn new() -> Result<Self, String> {
        let of = |kind| signal(kind).map_err(|error| descriptors::message(&error, ""));
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalAction::Stop("interrupted"),
            _ = self.hangup.recv() => SignalAction::Reload,
        }
    }

    /// Waits for the next signal that stops the process. Returns its name for the log.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let SignalAction::Stop(name) = self.next().await {
                return name;
            }
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
