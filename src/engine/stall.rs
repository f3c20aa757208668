//! Logging of batches that are slow to decide: all other commands wait meanwhile.

use std::time::Duration;

use tokio::time::Instant as Deadline;

use super::batch::Envelope;

/// A batch whose decisions take longer is logged.
const STALL: Duration = Duration::from_millis(50);

/// The start of the decisions of a batch, and what a log line says of it.
pub(super) struct Stall {
    began: Deadline,
    /// The method of the command with the largest weight.
    method: &'static str,
    commands: usize,
}

impl Stall {
    pub(super) fn begin(envelopes: &[Envelope]) -> Self {
        let heaviest = envelopes.iter().max_by_key(|it| it.command.weight());
        Self {
            began: Deadline::now(),
            method: heaviest.map_or("", |it| it.options.method),
            commands: envelopes.len(),
        }
    }

    /// Ends the measurement when the batch is decided, and logs a slow one. True when it was slow.
    pub(super) fn end(self) -> bool {
        let Self {
            began,
            method,
            commands,
        } = self;
        let took = began.elapsed();
        let is_slow = took > STALL;
        if is_slow {
            tracing::warn!(
                method,
                commands,
                milliseconds = took.as_millis(),
                "a batch was slow to decide: all others waited"
            );
        }
        is_slow
    }
}
