//! How long a batch takes to load and to decide what it is about: while it does, everybody else waits.

use std::time::Duration;

use tokio::time::Instant as Deadline;

use super::batch::Envelope;

/// A batch that takes longer than this before its commit is logged.
const STALL: Duration = Duration::from_millis(50);

/// A batch under way.
pub(super) struct Stall {
    began: Deadline,
    /// The method of the command that weighs most.
    method: &'static str,
    commands: usize,
}

impl Stall {
    pub(super) fn begin(envelopes: &[Envelope]) -> Self {
        let heaviest = envelopes.iter().max_by_key(|it| it.command.weight());
        Self {
            began: Deadline::now(),
            method: heaviest.map_or("", |it| it.terms.method),
            commands: envelopes.len(),
        }
    }

    /// It is decided.
    pub(super) fn end(self) {
        let Self {
            began,
            method,
            commands,
        } = self;
        let took = began.elapsed();
        if took > STALL {
            tracing::warn!(
                method,
                commands,
                milliseconds = took.as_millis(),
                "a batch was slow to decide: all others waited"
            );
        }
    }
}
